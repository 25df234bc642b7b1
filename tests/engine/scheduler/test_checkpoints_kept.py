"""Checkpoints go once a run has succeeded, whenever the engine is killed; any other run keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.base.paths import Home
from engine.runs.directory import ExitReason
from engine.runs.run import RunOutcome, RunStatus
from engine.spec.devices import CPU
from engine.spec.settings import Settings
from tests.engine.scripted import Scene, scene


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Scene]:
    found = scene(Home(tmp_path / "home").create(), [CPU])
    yield found
    found.supervisor.reader.close()
    found.supervisor.store.close()


def trained(engine: Scene) -> str:
    """A running run whose worker has written everything but its exit record."""
    (run,) = engine.submit(None)
    directory = engine.supervisor.directory(run)
    for path in (directory.checkpoint, directory.previous_checkpoint, directory.weights):
        path.write_bytes(b"content")
    return run


def num_checkpoints(engine: Scene, run: str) -> int:
    return len(list(engine.supervisor.directory(run).path.glob("checkpoint*")))


@pytest.mark.parametrize("reason", [reason for reason in ExitReason if reason.is_final])
def test_only_success_deletes_checkpoints(reason: ExitReason, engine: Scene):
    """The final weights stay in any case."""
    run = trained(engine)

    assert engine.end(run, reason).outcome == reason.value

    assert num_checkpoints(engine, run) == (0 if reason is ExitReason.SUCCEEDED else 2)
    assert engine.supervisor.directory(run).weights.exists()


def test_setting_keeps_checkpoints(tmp_path: Path):
    """keep-checkpoints = true."""
    found = scene(Home(tmp_path / "home").create(), [CPU], Settings(keep_checkpoints=True))
    run = trained(found)

    assert found.end(run, ExitReason.SUCCEEDED).succeeded
    assert num_checkpoints(found, run) == 2
    found.supervisor.reader.close()
    found.supervisor.store.close()


@pytest.mark.parametrize("deleted", [False, True])
def test_next_engine_finishes_what_a_killed_one_began(deleted: bool, engine: Scene):
    """Killed before or after the deletion: the run has its outcome and no checkpoint, and is not trained again."""
    run = trained(engine)
    directory = engine.supervisor.directory(run)
    engine.launcher.end(directory, ExitReason.SUCCEEDED)
    if deleted:
        directory.checkpoint.unlink()
        directory.previous_checkpoint.unlink()

    after = engine.successor()

    found = after.supervisor.reader.run(run)
    assert (found.status, found.outcome) == (RunStatus.FINISHED, RunOutcome.SUCCEEDED)
    assert num_checkpoints(after, run) == 0
    assert len(after.started) == 1
    after.supervisor.reader.close()
    after.supervisor.store.close()
