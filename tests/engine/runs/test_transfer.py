"""Importing runs of another machine: complete and private, or refused if damaged or inconsistent."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.base.errors import UsageError
from engine.base.locks import hold
from engine.base.paths import Home
from engine.control.protocol import Import
from engine.runs.directory import RunDirectory
from engine.runs.run import RunStatus
from engine.runs.transfer import is_here, look_at, staged
from engine.spec.devices import CPU
from tests import recorded_runs
from tests.engine.scripted import Scene, scene

RECORDED = recorded_runs.RECORDED / "quickstart"
RUN = "2da12d5497"
TOKEN = "0" * 32


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A run of another machine, readable by everyone."""
    path = tmp_path / "usb" / RUN
    shutil.copytree(RECORDED / RUN, path)
    path.chmod(0o755)
    return path


def taken_in(engine: Scene, *paths: Path, experiment: str | None = None) -> None:
    """Import runs like the command, with the engine's part in this process."""
    runs = [look_at(path) for path in paths]
    with staged(engine.home, runs, TOKEN, lambda _text: None):
        engine.ask(Import(token=TOKEN, runs=tuple(run.id for run in runs), experiment=experiment))


def of_home(tmp_path: Path) -> Scene:
    return scene(Home(tmp_path / "home").create(), [CPU])


def test_an_imported_run_is_complete_private_and_survives_a_lost_index(copied: Path, tmp_path: Path):
    """Metrics, outcome and labels are kept, the original is unchanged, and repeating does nothing."""
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    engine = of_home(tmp_path)
    taken_in(engine, copied)

    for index_lost in (False, True):
        engine = engine.successor(index_lost=index_lost)
        run = engine.supervisor.reader.run(RUN)
        assert (run.name, run.experiment, run.outcome, run.epoch) == ("he-plain44-w8-s0", "exp1", "succeeded", 6)
        assert run.test_error_percent == pytest.approx(87.2)
    here = engine.home.runs / RUN
    assert stat.S_IMODE(here.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in here.iterdir()} == {0o600}
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    assert is_here(look_at(copied), engine.home)
    assert not engine.home.incoming.exists()


def test_an_unfinished_imported_run_is_paused_until_resumed(copied: Path, tmp_path: Path):
    """It must not train in two places by itself; a torn last line is normal after a kill."""
    (copied / "exit.json").unlink()
    with (copied / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"seq":')
    engine = of_home(tmp_path)
    taken_in(engine, copied)

    assert engine.supervisor.reader.run(RUN).status is RunStatus.PAUSED
    assert engine.started == []


def without(name: str) -> Callable[[Path], object]:
    return lambda path: (path / name).unlink()


def with_text(name: str, text: str) -> Callable[[Path], object]:
    return lambda path: (path / name).write_text(text)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (without("spec.json"), "spec.json is missing"),
        (with_text("spec.json", "{}"), "model"),
        (with_text("labels.json", "{"), "labels.json is damaged"),
        (with_text("exit.json", "[]"), "exit.json is damaged"),
        (without("journal.jsonl"), "it succeeded, but its journal has no epoch"),
        (with_text("journal.jsonl", "x\n"), r"is damaged: journal, line 1"),
        (lambda path: (path / "weights.pt").symlink_to("/etc/passwd"), "weights.pt is a link"),
        (lambda path: os.mkfifo(path / "worker.log"), "worker.log is not a regular file"),
        (lambda path: (path / "more").mkdir(), "more is not a regular file"),
    ],
)
def test_an_incomplete_run_is_refused(damage: Callable[[Path], object], text: str, copied: Path):
    """The error names the damaged file, and nothing is copied."""
    damage(copied)

    with pytest.raises(UsageError, match=text):
        look_at(copied)


def test_a_directory_without_a_run_is_refused(copied: Path, tmp_path: Path):
    """Nor is a link to one accepted, since its target may change."""
    link = tmp_path / "0123456789"
    link.symlink_to(copied)
    renamed = copied.rename(copied.with_name("best-run"))

    for path, text in ((link, "is not a directory"), (renamed, "ten hexadecimal digits"), (tmp_path / "no", "No such")):
        with pytest.raises(UsageError, match=text):
            look_at(path)


def test_another_state_of_a_run_that_is_here_is_refused(copied: Path, tmp_path: Path):
    """Neither replaces the other; a note added here does not count as a difference."""
    engine = of_home(tmp_path)
    taken_in(engine, copied)
    labels = json.loads((copied / "labels.json").read_text())
    (copied / "labels.json").write_text(json.dumps({**labels, "notes": "written there"}))
    assert is_here(look_at(copied), engine.home)

    (copied / "weights.pt").write_bytes(b"more")
    with pytest.raises(UsageError, match=f"{RUN} already exists here, but its weights.pt differs"):
        is_here(look_at(copied), engine.home)


def test_a_run_that_a_worker_holds_is_not_copied(copied: Path, tmp_path: Path):
    """A checkpoint being written could be copied halfway."""
    engine = of_home(tmp_path)
    lock = RunDirectory(copied).open_lock()
    assert hold(lock, patience_seconds=1.0)

    with pytest.raises(UsageError, match="is being trained: pause or stop it first"):
        taken_in(engine, copied)
    os.close(lock)
    assert not engine.home.incoming.exists()
    taken_in(engine, copied)


def test_runs_do_not_slip_into_an_experiment_that_is_here(copied: Path, tmp_path: Path):
    """A comparison would mix them, so no run is imported; -e allows it."""
    engine = of_home(tmp_path)
    engine.submit(None)
    other = copied.with_name("151f002271")
    shutil.copytree(RECORDED / other.name, other)
    labels = json.loads((other / "labels.json").read_text())
    (other / "labels.json").write_text(json.dumps({**labels, "experiment": "elsewhere"}))

    with pytest.raises(UsageError, match="experiment 'exp1' already exists here: -e NAME"):
        taken_in(engine, other, copied)
    assert not (engine.home.runs / other.name).exists()
    taken_in(engine, other, copied, experiment="exp1")
    assert {run.experiment for run in engine.supervisor.reader.runs()} == {"exp1"}


def test_what_a_killed_import_left_is_swept_away(copied: Path, tmp_path: Path):
    """An engine killed between moving a run and indexing it finds the run at the next start."""
    engine = of_home(tmp_path)
    left = engine.home.incoming / ("f" * 32) / RUN
    left.mkdir(parents=True)
    shutil.copytree(copied, engine.home.runs / RUN)

    engine = engine.successor()
    assert engine.supervisor.reader.run(RUN).succeeded
    other = copied.with_name("151f002271")
    shutil.copytree(RECORDED / other.name, other)
    taken_in(engine, other, experiment="new")
    assert not engine.home.incoming.exists()
