"""Tests of isolation: whatever one run directory does, the others go on, and it is named with the reason."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.control.protocol import Remove, Resume, Retry
from engine.runs.directory import ExitReason, RunDirectory
from engine.runs.journal import JournalWriter, Notice
from engine.runs.run import RunOutcome, RunStatus
from engine.scheduler import supervisor as supervising
from engine.spec.devices import CPU
from tests.engine.scripted import GPUS, Scene, scene


@pytest.fixture
def two(tmp_path: Path) -> Scene:
    """Two GPUs and the CPU."""
    return scene(Home(tmp_path / "home").create(), (*GPUS, CPU))


def put_aside(path: Path) -> None:
    if path.exists():
        path.rename(path.with_name(f"{path.name}.aside"))


def mend(path: Path) -> None:
    """Remove what lies at a path, and restore what was there."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    if path.with_name(f"{path.name}.aside").exists():
        path.with_name(f"{path.name}.aside").rename(path)


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "directory": (Path.mkdir, "is a directory, not a file"),
    "fifo": (os.mkfifo, "is a FIFO, not a file"),
    "link": (lambda path: path.symlink_to("/dev/zero"), "is a symbolic link, not a file"),
    "damaged": (lambda path: path.write_bytes(b'{"a":' * 100_000), "is damaged (JSON is nested too deeply)"),
    "huge": (lambda path: [path.touch(), os.truncate(path, 5 << 40)], "has 5.00 TiB"),
}
FILES = ("spec.json", "labels.json", "journal.jsonl", "exit.json", "run.lock")


CASES = [(file, kind) for file in FILES for kind in ODD if kind != "damaged" or file == "exit.json"]
"""Damaged labels and journals are read as far as possible, and a damaged spec is not a FIFO or the like."""


def spoil(directory: RunDirectory, file: str, kind: str) -> str:
    """Replace a file of a run by something odd; returns the reason given for it."""
    put_aside(directory.path / file)
    ODD[kind][0](directory.path / file)
    return f"{directory.path / file} {ODD[kind][1]}"


@pytest.mark.parametrize(("file", "kind"), CASES)
def test_an_odd_file_of_a_queued_run_stops_that_run_alone(two: Scene, file: str, kind: str) -> None:
    """The others start; once the file is mended, so does the run, by itself."""
    first, second, third = two.submit("cuda:0", "cuda:0", "cuda:0")
    why = spoil(two.supervisor.directory(second), file, kind)

    two.end(first, ExitReason.SUCCEEDED)
    assert [run for run, _ in two.started] == [first, third]
    run = two.supervisor.reader.run(second)
    assert run.unreadable is not None
    assert run.unreadable.startswith(why)
    assert run.status is RunStatus.QUEUED
    two.end(third, ExitReason.SUCCEEDED)
    assert len(two.started) == 2

    mend(two.supervisor.directory(second).path / file)
    two.supervisor.tick()
    assert two.supervisor.reader.run(second).unreadable is None
    assert two.started[-1] == (second, "cuda:0")
    assert [event.kind for event in two.supervisor.reader.events(second)].count("unreadable") == 1


@pytest.mark.parametrize("index_lost", [False, True])
@pytest.mark.parametrize(("file", "kind"), CASES)
def test_an_odd_file_does_not_keep_the_next_engine_from_starting(
    two: Scene, file: str, kind: str, index_lost: bool
) -> None:
    """All runs are listed, and the odd one ends as its files say once they can be read."""
    runs = two.submit(*["cuda:0"] * 3)
    two.end(runs[0], ExitReason.SUCCEEDED)
    directory = two.supervisor.directory(runs[0])
    writer = JournalWriter.open(directory.journal)
    writer.append(Notice(text="n"))
    writer.close()
    why = spoil(directory, file, kind)

    after = two.successor(index_lost=index_lost)
    reader = after.supervisor.reader
    assert {run.id for run in reader.runs()} >= set(runs[1:])
    if file == "spec.json" and index_lost:
        ((name, said),) = reader.unreadable_directories()
        assert name == runs[0]
    elif kind == "damaged" and not index_lost:
        # What the index knows of a finished run is enough.
        assert reader.run(runs[0]).succeeded
        return
    else:
        said = reader.run(runs[0]).unreadable or ""
        assert reader.unreadable_directories() == []
    assert said.startswith(why)
    assert {run.id for run in reader.unreadable_runs()} <= {runs[0]}

    mend(directory.path / file)
    after.supervisor.tick()
    found = reader.run(runs[0])
    assert (found.unreadable, found.outcome, found.name) == (None, RunOutcome.SUCCEEDED, "run0")
    assert reader.unreadable_directories() == []
    assert [run for run, _ in after.started].count(runs[0]) == 1


@pytest.mark.parametrize("file", ["exit.json", "journal.jsonl"])
def test_a_running_run_with_an_odd_file_keeps_its_slot_until_its_worker_is_gone(two: Scene, file: str) -> None:
    first, second = two.submit("cuda:0", "cuda:0")
    directory = two.supervisor.directory(first)
    spoil(directory, file, "directory")
    two.supervisor.tick()
    assert two.supervisor.reader.run(first).unreadable is not None
    assert len(two.started) == 1

    two.launcher.alive.discard(first)
    two.supervisor.tick()
    two.supervisor.tick()
    assert two.started[-1] == (second, "cuda:0")
    assert two.supervisor.reader.run(first).status is RunStatus.RUNNING

    mend(directory.path / file)
    directory.write_exit(ExitReason.SUCCEEDED, step=1)
    two.supervisor.tick()
    two.supervisor.tick()
    found = two.supervisor.reader.run(first)
    assert (found.unreadable, found.outcome) == (None, RunOutcome.SUCCEEDED)


def test_any_error_in_handling_a_run_is_isolated_and_logged_once(
    two: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = two.submit("cuda:0", "cuda:1")
    real = supervising.ingest

    def failing(store: object, directory: RunDirectory) -> object:
        if directory.id == first:
            raise OverflowError("int too big to convert")
        return real(store, directory)  # type: ignore[arg-type]

    monkeypatch.setattr(supervising, "ingest", failing)
    for _ in range(3):
        two.supervisor.tick()
    found = two.end(second, ExitReason.SUCCEEDED)
    assert found.succeeded
    assert "OverflowError: int too big to convert: restore" in (two.supervisor.reader.run(first).unreadable or "")
    (record,) = [record for record in caplog.records if "is unreadable" in record.message]
    assert record.exc_info is not None

    monkeypatch.setattr(supervising, "ingest", real)
    two.supervisor.tick()
    assert two.supervisor.reader.run(first).unreadable is None


def test_an_unreadable_run_is_not_resumed_retried_or_removed(two: Scene) -> None:
    (run,) = two.submit("cuda:0")
    two.end(run, ExitReason.FAILED)
    spoil(two.supervisor.directory(run), "labels.json", "directory")
    after = two.successor()
    for request in (Resume(runs=(run,)), Retry(runs=(run,)), Remove(runs=(run,))):
        with pytest.raises(UsageError, match=r"run0\) is unreadable: .*labels.json is a directory"):
            after.ask(request)
    assert len(after.started) == 1


def test_directories_that_are_no_runs_are_named_and_forgotten_once_they_are_gone(two: Scene) -> None:
    two.submit("cuda:0")
    strange = two.home.runs / os.fsdecode(b"caf\xe9")
    strange.mkdir()
    (strange / "spec.json").write_bytes(b"{}")
    nested = two.home.runs / "0123456789"
    nested.mkdir()
    (nested / "spec.json").write_bytes(b'{"model":' + b"[" * 100_000)
    without = two.home.runs / "1123456789"
    without.mkdir()
    (without / "journal.jsonl").write_bytes(b"")
    # An engine died while it made this one.
    (two.home.runs / "2123456789").mkdir()

    after = two.successor()
    strays = dict(after.supervisor.reader.unreadable_directories())
    assert sorted(strays) == ["0123456789", "1123456789"]
    assert "spec.json: not a run specification: " in strays["0123456789"]
    assert f"move {nested} out of {two.home.runs}" in strays["0123456789"]
    assert "spec.json is missing" in strays["1123456789"]
    for path in (strange, nested, without):
        shutil.rmtree(path)
    after.supervisor.tick()
    assert after.supervisor.reader.unreadable_directories() == []


def test_labels_that_cannot_be_written_do_not_keep_others_from_being_written(two: Scene) -> None:
    first, second = two.submit("cuda:0", "cuda:0")
    labelling = two.supervisor.labelling
    with labelling.transaction():
        for run in (first, second):
            labelling.change(run, name=f"renamed-{run}")
    spoil(two.supervisor.directory(first), "labels.json", "directory")
    assert two.supervisor.write_labels() is False
    assert two.supervisor.directory(second).read_labels().name == f"renamed-{second}"
    mend(two.supervisor.directory(first).labels_file)
    two.supervisor.tick()
    two.supervisor.tick()
    assert two.supervisor.directory(first).read_labels().name == f"renamed-{first}"


def test_positions_of_damaged_labels_do_not_use_up_the_numbers(two: Scene) -> None:
    (run,) = two.submit("cuda:0")
    path = two.supervisor.directory(run).labels_file
    path.write_bytes(path.read_bytes().replace(b'"position":1', b'"position":9007199254740992'))
    after = two.successor(index_lost=True)
    (second,) = after.submit("cuda:1")
    assert after.supervisor.reader.run(run).position == 2**53
    assert after.supervisor.reader.run(second).position == 1
