"""Invalid input gives one line with the value and the remedy, status 2, and writes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import samples
from tests.conftest import TestHome

TRAIN = ("train", "-a", "he-resnet", "-d", "8", "--data", "tiny", "--batch-size", "20")


def refused(home: Any, *words: str) -> str:
    """Run a command that exits with status 2; check that it creates no run, and return its one line."""
    before = sorted(home.home.runs.iterdir())
    said = home.cli(*words, status=2)
    assert said.startswith("depthscope: "), said
    assert said.count("\n") == 1, said
    assert sorted(home.home.runs.iterdir()) == before
    return str(said)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "-a", "rsnet", "-d", "20", "--data", "tiny"), "unknown architecture 'rsnet': did you mean resnet?"),
        (("train", "-a", "he-resnet", "-d", "57", "--data", "tiny"), "depth 57 does not exist for he-resnet: depths are 6n+2, the nearest are 56 and 62"),  # noqa: E501
        (("train", "-a", "resnet", "-d", "19", "--data", "tiny"), "depth 19 does not exist for resnet: depths are 18, 20,"),  # noqa: E501
        (("train", "-a", "resnet", "--data", "tiny"), "a depth is needed, such as -d 20,56,110"),
        (("train", "-a", "resnet", "-d", "x", "--data", "tiny"), "depth must be whole numbers such as 20,56, got 'x'"),
        ((*TRAIN, "--width", "0"), "width must be in 1..2048"),
        ((*TRAIN, "--batch-size", "201"), "--batch-size must be at most 200 (the training set), got 201"),
        ((*TRAIN, "--train-images", "201"), "--train-images must be in 4..200 for tiny, got 201"),
        ((*TRAIN, "--recipe", "quik"), "recipe 'quik' is not known: there are reference, constant, quick, report; did you mean quick?"),  # noqa: E501
        ((*TRAIN, "--schedule", "sine"), "schedule must be one of step, constant, one-cycle, cosine, got 'sine'"),
        ((*TRAIN, "--mean", "0.5,0.5"), "--mean must be three numbers in 0..1, got 0.5,0.5"),
        ((*TRAIN, "--epochs", "0"), "--epochs must be at least 1, got 0"),
        ((*TRAIN, "--drops", "a"), "drops must be fractions such as 0.5,0.75, got 'a'"),
        ((*TRAIN, "--seeds", "0"), "seeds must be at least 1, got 0"),
        ((*TRAIN, "--seeds", "2", "--seed", "1"), "choose one: --seed lists seeds"),
        ((*TRAIN, "--seed", "1,1"), "the same run is listed twice"),
        ((*TRAIN, "--device", "gpu"), "device must be cpu or cuda:N"),
        ((*TRAIN, "--memory-limit", "6Gig"), "--memory-limit must be a size such as 6GiB, 6144MiB, 6GB or a number of bytes, got '6Gig'"),  # noqa: E501
        ((*TRAIN, "--memory-limit", "0"), "--memory-limit must be at least 1 byte, or left out for none, got '0'"),
        ((*TRAIN, "--memory-limit", "1MiB"), "the process alone needs at least 1.00 GiB: no network fits"),
        ((*TRAIN, "--memory-limit", "1MiB", "--fit-batch"), "the process alone needs"),
        (("train", "-a", "resnet", "-d", "20", "--data", "cifra10"), "cifra10"),
        (("plan", *TRAIN[1:], "--until", "25:99"), "--until must be a time such as 08:00, '2026-11-25 08:00' or +6h, got '25:99'"),  # noqa: E501
        (("plan", *TRAIN[1:], "--until", "2020-01-01 08:00"), "--until must be in the future, got '2020-01-01 08:00'"),
        (("plan", "-a", "resnet", "-d", "19", "--data", "tiny"), "depth 19 does not exist for resnet"),
        (("show", "nothing"), "no run is called 'nothing': `depthscope ls` shows ids and names"),
        (("plot", "--metric", "los"), "unknown metric 'los'"),
        (("compare", "nothing"), "no experiment is called 'nothing'"),
    ],
)  # fmt: skip
def test_the_line_names_the_value_and_the_remedy(home: Any, words: tuple[str, ...], expected: str):
    """Without contacting the engine."""
    assert expected in refused(home, *words)
    assert home.engine_pid() is None


def test_an_unknown_device_is_refused_by_the_engine(home: Any):
    """Only the engine knows the devices; still nothing is written."""
    assert "device must be one of cpu, got cuda:7" in refused(home, *TRAIN, "--device", "cuda:7")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestHome]:
    """A home with runs of many names, for read-only commands."""
    home = TestHome(tmp_path_factory.mktemp("named") / "home")
    samples.fill_small(home.home)
    yield home
    home.end_everything()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("report", "dept"), "no experiment is called 'dept': `depthscope ls` shows their names; did you mean depths?"),
        (("ls", "deptsh"), "did you mean depths?"),
        (("compare", "xyz"), "no experiment is called 'xyz': `depthscope ls` shows their names\n"),
        (("show", "he-resnet20"), "no run is called 'he-resnet20': `depthscope ls` shows ids and names; did you mean he-resnet20-s0, he-resnet20-s1, he-resnet20-s2?"),  # noqa: E501
        (("show", "he-resnet"), "did you mean he-resnet20-s0, he-resnet20-s1, he-resnet20-s2, he-resnet56-s0?"),
        (("plot", "he-plan56-s0"), "did you mean he-plain56-s0?"),
        (("plot", "depht"), "did you mean depths?"),
        (("show", "xyz"), "no run is called 'xyz': `depthscope ls` shows ids and names\n"),
        (("show", "deep"), "'deep' is an experiment, but a single run is needed, such as deep/"),
        (("stop", "deep"), "; `depthscope ls deep` lists its runs; `compare`, `plot`, `follow` and `wait` accept"),
        (("note", "deep", "x"), "'deep' is an experiment, "),
    ],
)  # fmt: skip
def test_errors_suggest_the_nearest_name(named: Any, words: tuple[str, ...], expected: str):
    """Suggests runs and experiments with that prefix, else the closest, and nothing if none is close."""
    assert expected in refused(named, *words)


def test_an_ambiguous_name_lists_what_it_could_be(home: Any):
    """Two experiments with runs of the same name."""
    home.cli("queue", "hold")
    first, second = home.train("--epochs", "1", "-e", "one"), home.train("--epochs", "1", "-e", "two")
    home.cli("stop", "one/he-resnet8-w4-c4-s0", "two/he-resnet8-w4-c4-s0")

    said = refused(home, "show", "he-resnet8-w4-c4-s0")
    assert "matches 2 runs" in said
    assert first in said
    assert second in said
    assert home.json("show", "one/he-resnet8-w4-c4-s0")["run"]["id"] == first
    assert home.json("show", first[:6])["run"]["id"] == first


def test_an_ambiguous_prefix_lists_what_it_could_be(home: Any):
    """Of seventeen hexadecimal ids, two share their first digit."""
    home.cli("queue", "hold")
    runs = home.json(*TRAIN, "--width", "4", "--seeds", "17", "--detach")["runs"]
    firsts = [run["id"][0] for run in runs]
    shared = next(first for first in firsts if firsts.count(first) > 1)

    assert f"{shared!r} matches {firsts.count(shared)} runs: " in refused(home, "show", shared)


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path):
    """One line, no retry; as an unprivileged user, because root sees no modes."""
    if os.geteuid() != 0:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        target, options = locked / "home", {}
    else:
        target, options = Path("/proc/depthscope"), {}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "console.cli", "engine", "start"],
        env={**os.environ, "DEPTHSCOPE_HOME": str(target)},
        capture_output=True,
        text=True,
        **options,
    )

    assert done.returncode == 2
    assert done.stderr.startswith(f"depthscope: cannot create {target} (")
    assert done.stderr.count("\n") == 1


def test_a_home_that_is_a_link_is_refused(tmp_path: Path):
    """Whoever can move the link could make us write elsewhere."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "console.cli", "engine", "start"],
        env={**os.environ, "DEPTHSCOPE_HOME": str(tmp_path / "link")},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert "is not a directory" in done.stderr
    assert list((tmp_path / "real").iterdir()) == []


def test_an_empty_home_answers_and_makes_nothing(bare_home: Any):
    """Read-only commands such as a first `ls` create no files."""
    assert "no runs yet" in bare_home.start("ls").communicate(timeout=30)[1]
    assert bare_home.json("ls")["runs"] == []
    assert "no runs yet" in bare_home.cli("compare", status=2)
    assert "no runs yet" in bare_home.cli("plot", status=2)
    assert bare_home.engine_pid() is None
    assert not bare_home.home.database.exists()
