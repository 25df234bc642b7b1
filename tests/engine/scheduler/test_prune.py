"""Hidden runs and spent checkpoints are deleted for good, completely or not at all, whenever the engine is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.base.errors import UsageError
from engine.base.locks import hold
from engine.base.paths import Home
from engine.control.protocol import Prune, Remove, Restore
from engine.runs.directory import ExitReason
from engine.scheduler import prune as pruning
from engine.scheduler.prune import complete_deletion
from engine.spec.devices import CPU
from engine.spec.settings import Settings
from tests.engine.scripted import Scene, scene

OTHER_OUTCOMES = [reason for reason in ExitReason if reason.is_final and reason is not ExitReason.SUCCEEDED]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Scene]:
    found = scene(Home(tmp_path / "home").create(), [CPU], Settings(slots={"cpu": 4}, keep_checkpoints=True))
    yield found
    found.supervisor.reader.close()
    found.supervisor.store.close()


def finished(engine: Scene, *reasons: ExitReason) -> list[str]:
    """Finished runs with checkpoints and weights."""
    runs = engine.submit(*[None] * len(reasons))
    for run, reason in zip(runs, reasons, strict=True):
        directory = engine.supervisor.directory(run)
        for path in (directory.checkpoint, directory.previous_checkpoint, directory.weights):
            path.write_bytes(b"content")
        engine.end(run, reason)
    return runs


def files(engine: Scene, run: str) -> set[str]:
    path = engine.supervisor.directory(run).path
    return {entry.name for entry in path.iterdir()} - {"run.lock"} if path.exists() else set()


def known(engine: Scene) -> list[str]:
    return [run.id for run in engine.supervisor.reader.runs(with_deleted=True)]


def test_checkpoints_go_and_weights_stay(engine: Scene):
    """A succeeded run keeps everything else; a repeated request does nothing."""
    (run,) = finished(engine, ExitReason.SUCCEEDED)
    before = files(engine, run)

    for _ in range(2):
        engine.ask(Prune(checkpoints=(run,)))
        assert before - files(engine, run) == {"checkpoint.pt", "checkpoint.prev.pt"}
    assert known(engine) == [run]


def test_hidden_runs_go_with_all_their_rows(engine: Scene):
    """Another run keeps its files and rows; a rebuilt index does not bring the deleted run back."""
    gone, kept = finished(engine, ExitReason.SUCCEEDED, ExitReason.FAILED)
    before = files(engine, kept)
    engine.ask(Remove(runs=(gone,)))
    revision = engine.supervisor.reader.newest_revision()

    assert engine.ask(Prune(hidden=(gone,))).runs == (gone,)

    assert (known(engine), files(engine, gone), files(engine, kept)) == ([kept], set(), before)
    assert not engine.home.pruned.exists()
    assert engine.supervisor.reader.events(gone) == []
    assert engine.supervisor.reader.newest_revision() > revision, "a console would miss the next change"
    after = engine.successor(index_lost=True)
    assert known(after) == [kept]
    after.supervisor.reader.close()
    after.supervisor.store.close()


@pytest.mark.parametrize("reason", OTHER_OUTCOMES)
def test_checkpoints_that_a_retry_needs_stay(reason: ExitReason, engine: Scene):
    """And those of the other run in the request, too."""
    good, bad = finished(engine, ExitReason.SUCCEEDED, reason)
    before = files(engine, good), files(engine, bad)

    with pytest.raises(UsageError, match=f"{bad} .*{reason.value}, so its checkpoints stay: nothing was deleted"):
        engine.ask(Prune(checkpoints=(good, bad)))

    assert (files(engine, good), files(engine, bad)) == before


def test_run_restored_meanwhile_stays(engine: Scene):
    """Someone restored it after the list was shown."""
    first, second = finished(engine, ExitReason.SUCCEEDED, ExitReason.SUCCEEDED)
    engine.ask(Remove(runs=(first, second)))
    engine.ask(Restore(runs=(second,)))

    with pytest.raises(UsageError, match=f"{second} .* is no longer hidden: nothing was deleted"):
        engine.ask(Prune(hidden=(first, second)))
    assert known(engine) == [first, second]
    assert "weights.pt" in files(engine, first)


def test_run_in_use_stays(engine: Scene):
    """A worker of whatever origin, or an import elsewhere, holds its lock."""
    first, second = finished(engine, ExitReason.SUCCEEDED, ExitReason.SUCCEEDED)
    engine.ask(Remove(runs=(first, second)))
    descriptor = engine.supervisor.directory(second).open_lock()
    assert hold(descriptor, patience_seconds=1)

    with pytest.raises(UsageError, match="is in use by a worker or an import: nothing was deleted"):
        engine.ask(Prune(hidden=(first, second)))
    assert known(engine) == [first, second]
    assert "weights.pt" in files(engine, first)
    os.close(descriptor)
    engine.ask(Prune(hidden=(first, second)))
    assert known(engine) == []


def test_run_in_the_directory_of_a_hidden_one_stays(engine: Scene):
    """Someone swapped two directories by hand: what would be deleted is the other run."""
    first, second = finished(engine, ExitReason.SUCCEEDED, ExitReason.SUCCEEDED)
    engine.ask(Remove(runs=(first,)))
    one, other = (engine.supervisor.directory(run).path for run in (first, second))
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)

    with pytest.raises(UsageError, match="nothing was deleted"):
        engine.ask(Prune(hidden=(first,)))
    assert "weights.pt" in files(engine, first)


def test_running_run_stays(engine: Scene):
    """Whatever a client asks for."""
    (run,) = engine.submit(None)

    with pytest.raises(UsageError, match="is running: nothing was deleted"):
        engine.ask(Prune(hidden=(run,)))
    with pytest.raises(UsageError, match="is running: nothing was deleted"):
        engine.ask(Prune(checkpoints=(run,)))


@pytest.mark.parametrize("step", ["delete_contents", "encode", "remove_directories"])
def test_next_engine_completes_a_deletion(step: str, engine: Scene, monkeypatch: pytest.MonkeyPatch):
    """Killed after the directory was moved, after it was emptied, and after the index forgot the run."""
    gone, kept = finished(engine, ExitReason.SUCCEEDED, ExitReason.SUCCEEDED)
    engine.ask(Remove(runs=(gone,)))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pruning, step, killed)
        with pytest.raises(KeyboardInterrupt):
            engine.ask(Prune(hidden=(gone,)))
    assert (engine.home.pruned / gone).is_dir()
    complete_deletion(engine.home, engine.supervisor.store)
    after = engine.successor()

    assert known(after) == [kept]
    assert not after.home.pruned.exists()
    assert after.ask(Prune(hidden=(gone,))).runs == (), "the client repeats its request"
    after.supervisor.reader.close()
    after.supervisor.store.close()


def test_link_in_place_of_a_run_is_unlinked(engine: Scene, tmp_path: Path):
    """What it points to is someone else's."""
    (run,) = finished(engine, ExitReason.SUCCEEDED)
    engine.ask(Remove(runs=(run,)))
    path = engine.supervisor.directory(run).path
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")

    engine.ask(Prune(hidden=(run,)))

    assert known(engine) == []
    assert not path.is_symlink()
    assert (tmp_path / "elsewhere" / "weights.pt").exists()
