"""A run.lock deleted or replaced under its worker: nobody trains the run beside it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.base.folder import Folder
from engine.base.processes import file_identity, has_open, start_time
from engine.runs.directory import Assignment, Labels, RunDirectory
from engine.runs.held_lock import HeldLock, RunTaken
from engine.runs.identity import Identity
from engine.runs.journal import WorkerStart, read_events
from engine.runs.launcher import TAKEN, signal_holder
from engine.runs.open_run import OpenRun
from tests.conftest import TestHome
from tests.engine.scripted import spec_of
from tests.faults.killing import check_rows, metrics, same_weights

EPOCHS = ("--epochs", "8")


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    other.rename(path)


def train_until_checkpoint(home: Any, wait_until: Callable[..., Any]) -> tuple[str, int]:
    """Start a run and suspend its worker after its first checkpoint; return both."""
    run = home.train(*EPOCHS)
    wait_until(home.directory(run).checkpoint.exists)
    home.halt(run)
    return run, home.worker_pid(run)


def starts(home: Any, run: str) -> list[WorkerStart]:
    return [event for event in read_events(home.directory(run).journal) if isinstance(event, WorkerStart)]


def kinds(home: Any, run: str) -> list[str]:
    with home.reader() as reader:
        return [event.kind for event in reader.events(run)]


@pytest.mark.parametrize("spoil", [delete, pytest.param(replace, marks=pytest.mark.slow)])
def test_a_worker_whose_lock_is_gone_stays_the_only_one(
    home: Any, wait_until: Callable[..., Any], spoil: Callable[[Path], None]
):
    """The next engine knows it by its process; at its next checkpoint it locks the new file."""
    run, worker = train_until_checkpoint(home, wait_until)
    directory = home.directory(run)
    spoil(directory.lock_file)
    home.kill(home.engine_pid())
    wait_until(lambda: home.engine_pid() is None)
    home.cli("engine", "start")
    assert directory.is_alive()
    assert not directory.is_locked()
    os.kill(worker, signal.SIGCONT)
    home.cli("wait", run)

    (start,) = starts(home, run)
    assigned = directory.read_labels().assigned
    assert (start.pid, start.worker) == (worker, assigned.worker)
    assert directory.read_exit().worker == assigned.worker
    assert "crashed" not in kinds(home, run)
    check_rows(home, run, 8)
    undisturbed = home.train(*EPOCHS)
    home.cli("wait", undisturbed)
    assert same_weights(home, undisturbed, run)
    assert metrics(home, undisturbed) == metrics(home, run)


@pytest.mark.slow
def test_a_worker_leaves_a_run_whose_new_lock_another_holds(home: Any, wait_until: Callable[..., Any]):
    """It writes nothing more and is no crash; the run continues when the other has gone."""
    run, worker = train_until_checkpoint(home, wait_until)
    directory = home.directory(run)
    replace(directory.lock_file)
    before = directory.checkpoint.read_bytes()
    with directory.lock_file.open("r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        os.kill(worker, signal.SIGCONT)
        wait_until(lambda: start_time(worker) is None)
        assert directory.read_exit() is None
        assert directory.checkpoint.read_bytes() == before
        assert "another process holds the new one; this worker left" in directory.log.read_text()
    home.cli("wait", run)

    with home.reader() as reader:
        texts = [event.text for event in reader.events(run)]
    assert f"its worker {TAKEN}" in texts
    assert "crashed" not in kinds(home, run)
    assert len(starts(home, run)) == 2
    check_rows(home, run, 8)


def test_a_worker_without_its_lock_file_still_stops_on_request(home: Any, wait_until: Callable[..., Any]):
    """An engine that is not its parent reaches it through the assignment."""
    run = home.train("--epochs", "2000")
    wait_until(home.directory(run).checkpoint.exists)
    worker = home.worker_pid(run)
    home.kill(home.engine_pid())
    wait_until(lambda: home.engine_pid() is None)
    home.directory(run).lock_file.unlink()
    home.cli("engine", "start")
    home.cli("stop", run)
    home.cli("wait", run, status=4)

    assert start_time(worker) is None
    assert kinds(home, run)[-1] == "finished"
    with home.reader() as reader:
        assert reader.run(run).outcome == "cancelled"


def assigned_to(path: Path, **fields: Any) -> RunDirectory:
    """Create a run directory whose assignment names this process, a descriptor of whose it returns."""
    directory = RunDirectory(path)
    path.mkdir()
    lock = directory.open_lock()
    process = {"pid": os.getpid(), "started": start_time(os.getpid()), "lock": file_identity(os.fstat(lock))}
    fields = {"worker": "ours", "boot": None, "process": process | fields.pop("process", {}), **fields}
    assigned = msgspec.convert({"device": "cpu", "visible": "", "at": 0.0, **fields}, Assignment)
    directory.write_labels(Labels(name="a", experiment="e", position=0, created_at=0.0, assigned=assigned))
    return directory


def test_the_assigned_process_lives_as_long_as_pid_start_boot_lock_and_place_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Any one that differs is another process, which nobody signals."""
    same = assigned_to(tmp_path / "same")
    monkeypatch.chdir(same.path)
    assert same.is_alive()
    moved = RunDirectory(same.path.rename(tmp_path / "moved"))
    assert moved.is_alive()
    others = [RunDirectory(Path(shutil.copytree(moved.path, tmp_path / "copy")))]
    for name, fields in {
        "start": {"process": {"started": 1}},
        "pid": {"process": {"pid": os.getppid()}},
        "boot": {"boot": "another"},
        "lock": {"process": {"lock": "1:1"}},
    }.items():
        others.append(assigned_to(tmp_path / name, **fields))
    for directory in others:
        monkeypatch.chdir(moved.path if directory is others[0] else directory.path)
        assert not directory.is_alive(), directory
        # A real signal, which would end the test.
        signal_holder(directory, signal.SIGKILL)


def test_the_engine_of_a_copied_home_leaves_the_workers_of_the_original(
    home: Any, wait_until: Callable[..., Any], tmp_path: Path
):
    """The copy names them, but they work elsewhere; its own runs were interrupted."""
    run = home.train("--epochs", "2000")
    wait_until(home.directory(run).checkpoint.exists)
    worker = home.worker_pid(run)
    copy = TestHome(Path(shutil.copytree(home.home.root, tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))))
    assert not copy.directory(run).is_alive()
    assert "running" not in copy.cli("ls")
    copy.cli("engine", "stop")

    assert home.worker_pid(run) == worker
    assert start_time(worker) is not None
    assert "stopped" not in " ".join(kinds(home, run))
    home.cli("stop", run)


def test_a_lock_is_taken_again_only_by_the_assigned_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And only if nobody holds it."""
    directory = assigned_to(tmp_path / "run")
    monkeypatch.setenv("DEPTHSCOPE_WORKER", "ours")
    run = OpenRun(directory.id, Folder(directory.path), Identity(spec_of(0, "cpu"), None, ""))
    lock = HeldLock.take(run)
    lock.check()
    directory.lock_file.unlink()
    lock.check()
    assert directory.is_locked()
    assert has_open(os.getpid(), file_identity(directory.lock_file.stat()))

    replace(directory.lock_file)
    other = HeldLock(run, "theirs", -1)
    other.descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(RunTaken, match="another worker was started"):
        other.check()
    with directory.lock_file.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RunTaken, match="another process holds"):
            lock.check()
