"""A request changes all the runs it names or none, both in the index and in files."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.control.protocol import Hold, Move, Pause, Remove, Retry, SetQueue, Stop
from engine.control.queue_state import QueueState, read_queue
from engine.index.database import IndexNotWritten
from engine.runs.directory import ExitReason, RunDirectory
from engine.runs.run import Intent, RunOutcome, RunStatus
from engine.scheduler.handlers import handle
from engine.scheduler.labels import Labelling
from engine.spec.devices import CPU
from tests.engine.scripted import Scene, scene


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    """One CPU and a held queue."""
    found = scene(Home(tmp_path / "home").create(), [CPU])
    found.ask(SetQueue(state=QueueState.HELD))
    return found


def labels(here: Scene, runs: list[str]) -> list[bytes]:
    return [here.supervisor.directory(run).labels_file.read_bytes() for run in runs]


def ask_and_be_killed(here: Scene, request: Any) -> None:
    """Run the part of a request that an engine completes before being killed after the commit."""
    handle(request, here.supervisor, started_at=0.0)


@pytest.mark.parametrize("request_of", [Stop, Pause, Hold, Remove, Move])
def test_a_batch_that_is_refused_half_way_changes_no_file(here: Scene, request_of: Any):
    """The last run's directory is missing, which shows only after the others were changed."""
    runs = here.submit(None, None, None)
    shutil.rmtree(here.supervisor.directory(runs[2]).path)
    before = labels(here, runs[:2])
    with pytest.raises(UsageError, match=rf"the run directory of {runs[2]} is gone, .* `depthscope show {runs[2]}`"):
        here.ask(request_of(runs=tuple(runs)))
    here.supervisor.tick()

    assert labels(here, runs[:2]) == before
    assert [run.status for run in here.supervisor.reader.unfinished_runs()] == [RunStatus.QUEUED] * 3


def test_the_control_files_written_before_the_commit_are_left_changed(here: Scene, monkeypatch: pytest.MonkeyPatch):
    """Control: writing each file as soon as its run is changed would fail the test above."""
    change = Labelling.change

    def change_and_write(self: Labelling, run: str, **changes: object) -> None:
        change(self, run, **changes)
        RunDirectory(here.home.runs / run).write_labels(self.read(run))

    monkeypatch.setattr(Labelling, "change", change_and_write)
    runs = here.submit(None, None)
    shutil.rmtree(here.supervisor.directory(runs[1]).path)
    before = labels(here, runs[:1])
    with pytest.raises(FileNotFoundError):
        here.ask(Stop(runs=tuple(runs)))

    assert labels(here, runs[:1]) != before


def test_a_refused_retry_forgets_nothing_of_how_runs_ended(here: Scene):
    """exit.json is needed to rebuild the index, so it is removed only after the commit."""
    here.ask(SetQueue(state=QueueState.OPEN))
    first, second = here.submit(None, None)
    here.end(first, ExitReason.FAILED)
    here.end(second, ExitReason.FAILED)
    shutil.rmtree(here.supervisor.directory(second).path)
    with pytest.raises(FileNotFoundError):
        here.ask(Retry(runs=(first, second)))

    assert here.supervisor.directory(first).read_exit() is not None
    assert here.supervisor.reader.run(first).outcome is RunOutcome.FAILED
    here.ask(Retry(runs=(first,)))
    assert here.supervisor.reader.run(first).status is not RunStatus.FINISHED


def test_files_not_written_before_an_engine_was_killed_are_written_by_the_next(here: Scene):
    """Labels in the index reach the run directory in the end."""
    runs = here.submit(None, None)
    before = labels(here, runs)
    ask_and_be_killed(here, Stop(runs=tuple(runs)))
    assert labels(here, runs) == before

    after = here.successor()
    assert [after.supervisor.directory(run).read_labels().intent for run in runs] == [Intent.STOP] * 2
    # They are then no longer listed as unwritten, so a third engine has nothing to do.
    after.ask(SetQueue(state=QueueState.OPEN))
    assert after.supervisor.store.unwritten_labels() == {}
    assert after.successor(index_lost=True).supervisor.reader.run(runs[0]).outcome is RunOutcome.CANCELLED


def test_labels_that_do_not_fit_on_the_disk_are_written_later(here: Scene, monkeypatch: pytest.MonkeyPatch):
    """Acknowledged changes are kept; the engine continues and tries again."""
    (run,) = here.submit(None)
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as without_room:

        def write(_self: RunDirectory, _labels: Any) -> None:
            raise full

        without_room.setattr(RunDirectory, "write_labels", write)
        here.ask(Stop(runs=(run,)))
        assert here.supervisor.reader.run(run).outcome is RunOutcome.CANCELLED
        assert here.supervisor.directory(run).read_labels().intent is Intent.RUN
        assert here.supervisor.needs_ticks()
    here.supervisor.tick()

    assert here.supervisor.directory(run).read_labels().intent is Intent.STOP
    assert not here.supervisor.needs_ticks()


def test_a_queue_whose_change_is_not_committed_stays_as_it_was(here: Scene, monkeypatch: pytest.MonkeyPatch):
    """Its state is a file, which a transaction cannot roll back."""

    def fail(*_: object) -> None:
        raise IndexNotWritten("the database could not be written")

    monkeypatch.setattr(here.supervisor.store, "remember_answer", fail)
    with pytest.raises(IndexNotWritten):
        here.ask(SetQueue(state=QueueState.OPEN))

    assert read_queue(here.home).state is here.supervisor.dispatcher.queue.state is QueueState.HELD


def test_a_run_that_is_named_twice_is_changed_once(here: Scene):
    """Named once by id and once by name."""
    (run,) = here.submit(None)

    assert here.ask(Pause(runs=(run, "run0"))).runs == (run,)
    with here.supervisor.reader as reader:
        assert [event.kind for event in reader.events(run)].count("paused") == 1
