"""Tests of odd files in a home at process level: the engine starts, everything else is listed, and each is named."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.base.paths import Home
from tests.conftest import TestHome
from tests.recorded_runs import RECORDED


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[TestHome]:
    """A home with recorded runs, without an index."""
    home = TestHome(tmp_path / "home")
    for run in (RECORDED / "quickstart").iterdir():
        shutil.copytree(run, home.home.runs / run.name)
    yield home
    home.end_everything()


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    make(path)


def ask(home: TestHome, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(home.command(*words), env=home.env, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_odd_runs_are_named_by_ls_show_and_doctor_and_healthy_ones_are_listed(recorded: TestHome):
    """Half of the runs cannot be read, one of them not even its spec."""
    first, second, *healthy = sorted(path.name for path in recorded.home.runs.iterdir())
    replaced(recorded.home.runs / first / "exit.json", os.mkfifo)
    replaced(recorded.home.runs / second / "spec.json", Path.mkdir)

    listed = ask(recorded, "ls")
    assert listed.returncode == 0, listed.stderr
    assert all(run in listed.stdout for run in (first, *healthy))
    assert f"{first}/exit.json is a FIFO, not a file: restore the file or move it away" in listed.stderr
    assert f"unreadable: {second}: " in listed.stderr
    document = recorded.json("ls")
    assert {run["id"]: run["unreadable"] is None for run in document["runs"]} == {
        first: False,
        **dict.fromkeys(healthy, True),
    }
    assert [one["name"] for one in document["unreadable"]] == [second]
    assert "exit.json is a FIFO" in recorded.cli("show", first)
    assert "unreadable" in recorded.cli("show", first)
    checked = ask(recorded, "doctor", "--json")
    assert checked.returncode == 1
    assert "exit.json is a FIFO" in checked.stdout
    assert "spec.json is a directory" in checked.stdout
    refused = ask(recorded, "rm", first)
    assert refused.returncode == 2
    assert "is unreadable" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["engine.sock", "engine.lock"])
def test_an_engine_that_cannot_start_is_told_by_ls_and_doctor(recorded: TestHome, name: str):
    recorded.cli("ls")
    recorded.cli("engine", "stop")
    replaced(recorded.home.root / name, Path.mkdir)

    started = ask(recorded, "engine", "start")
    why = f"{recorded.home.root / name} is a directory, not a {'socket' if name == 'engine.sock' else 'file'}"
    assert started.returncode in (2, 3)
    assert started.stderr.count("\n") == 1
    assert why in started.stderr
    listed = ask(recorded, "ls")
    assert why in listed.stderr
    assert "Traceback" not in listed.stderr
    checked = ask(recorded, "doctor")
    assert checked.returncode == 1
    assert why in checked.stdout

    (recorded.home.root / name).rmdir()
    recorded.cli("engine", "start")
    assert "could not start" not in ask(recorded, "ls").stderr
    assert not recorded.home.engine_failed.exists()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("x = " + "[" * 100_000), "is not TOML: it is nested too deeply"),
        (lambda path: path.write_text("x = " + "9" * 5000), "is not TOML: "),
        (lambda path: path.write_bytes(b"\xff"), "is not TOML: "),
        (os.mkfifo, "is a FIFO, not a file: move it away"),
        (Path.mkdir, "is a directory, not a file: move it away"),
    ],
    ids=["nested", "long", "binary", "fifo", "directory"],
)
def test_odd_settings_are_one_clear_line(bare_home: TestHome, make: Callable[[Path], object], words: str):
    make(Home(bare_home.home.root).config)
    done = ask(bare_home, "engine", "start")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"config.toml {words}" in done.stderr
