"""Run directories exchanged or copied under the engine: no run goes on with the state of another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.runs.directory import FileName, RunDirectory
from engine.runs.journal import Checkpointed, read_journal
from engine.runs.run import RunStatus
from engine.spec.devices import CPU
from tests.conftest import TestHome
from tests.engine.runs.test_open_run import exchange
from tests.engine.scripted import scene
from tests.faults.killing import check_rows, same_weights
from tests.samples import an_epoch

EPOCHS = 60


def num_checkpoints(directory: RunDirectory) -> int:
    return sum(isinstance(event, Checkpointed) for event in read_journal(directory.journal).events)


@pytest.mark.slow
def test_exchanged_runs_end_with_their_own_weights(home: TestHome, wait_until: Callable[..., Any]):
    """Both train, their directories change names, both workers are killed: both are refused, and end well later."""
    home.home.config.write_text("[slots]\ncpu = 2\n")
    words = {seed: ("--epochs", str(EPOCHS), "--seed", str(seed)) for seed in (1, 2)}
    undisturbed = {seed: home.train(*words[seed]) for seed in words}
    home.cli("wait", *undisturbed.values())
    runs = {seed: home.train(*words[seed]) for seed in words}
    for run in runs.values():
        wait_until(lambda run=run: num_checkpoints(home.directory(run)) >= 3)
        home.halt(run)
    workers = {home.worker_pid(run) for run in runs.values()}
    one, other = map(home.directory, runs.values())
    exchange(one, other)
    for worker in workers:
        home.kill(worker)

    def are_refused() -> bool:
        with home.reader() as reader:
            return all(reader.run(run).unreadable for run in runs.values())

    def are_back() -> bool:
        with home.reader() as reader:
            return not any(reader.run(run).unreadable for run in runs.values())

    wait_until(are_refused)
    with home.reader() as reader:
        for run, wrong in zip(runs.values(), reversed(runs.values()), strict=True):
            found = reader.run(run)
            assert f"runs/{run} contains run {wrong}: move it back" in str(found.unreadable)
            assert found.epoch < EPOCHS
    assert not one.weights.exists()
    assert f"contains run {runs[2]}" in home.cli("ls", status=None)
    refused = home.cli("tag", runs[1], "+mine", status=2)
    assert f"contains run {runs[2]}" in refused
    exchange(one, other)
    wait_until(are_back)
    home.cli("wait", *runs.values())
    for seed, run in runs.items():
        check_rows(home, run, EPOCHS)
        assert same_weights(home, run, undisturbed[seed])


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused(home: TestHome, wait_until: Callable[..., Any]):
    """Equal spec and seed, so that only the origin tells them apart."""
    runs = [home.train("--epochs", "2000", "--seed", "1") for _ in range(2)]
    for run in runs:
        wait_until(lambda run=run: num_checkpoints(home.directory(run)) >= 2)
        home.cli("pause", run)
    wait_until(lambda: not any(map(home.worker_pid, runs)))
    one, other = map(home.directory, runs)
    for name in (FileName.CHECKPOINT, FileName.PREVIOUS_CHECKPOINT):
        (one.path / name).write_bytes((other.path / name).read_bytes())
    home.cli("resume", one.id)

    assert f"checkpoint.pt belongs to run {other.id}" in home.cli("wait", one.id, status=4)


def test_nothing_is_read_or_started_in_the_directory_of_another_run(tmp_path: Path):
    """While it is exchanged a worker's rows stay out of the other run, and its labels are not written there."""
    here = scene(TestHome(tmp_path / "home").home, [CPU])
    one, other = here.submit("cpu", "cpu")
    here.supervisor.tick()
    assert [run for run, _ in here.started] == [one]
    exchange(here.supervisor.directory(one), here.supervisor.directory(other))
    here.journal(one, an_epoch(1))
    here.supervisor.tick()
    assert here.supervisor.reader.epochs(one) == []
    here = here.successor()
    assert here.supervisor.reader.epochs(one) == []
    assert here.supervisor.reader.run(one).status is RunStatus.RUNNING, "its worker lives"

    here.end(one, None)
    here.supervisor.tick()

    ended, waiting = map(here.supervisor.reader.run, (one, other))
    assert f"contains run {other}" in str(ended.unreadable)
    assert f"contains run {one}" in str(waiting.unreadable)
    assert [run for run, _ in here.started] == [one]

    exchange(here.supervisor.directory(one), here.supervisor.directory(other))
    for _ in range(3):
        here.supervisor.tick()
    assert here.supervisor.reader.run(one).unreadable is None
    assert [run for run, _ in here.started] == [one, one], "it goes on by itself"
