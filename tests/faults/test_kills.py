"""Processes killed for real, at random places: nothing lost, nothing doubled, the same weights to the last bit."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import torch

from engine.checkpoint import read_archive, write_archive
from engine.journal import Epoch, Gradients, Step, read_journal
from engine.run import RunOutcome

NUM_KILLS = 20
EPOCHS = 160
"""Several for each kill, so that a test that is slow to kill still finds the run under way."""
RUN = ("--epochs", str(EPOCHS), "--seed", "5")


def weights(home: Any, run: str) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(home.directory(run).weights, weights_only=True)
    return loaded


def same_weights(home: Any, first: str, second: str) -> bool:
    """Whether two runs ended with the same tensors, bit for bit."""
    one, other = weights(home, first), weights(home, second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def check_rows(home: Any, run: str, epochs: int) -> None:
    """Every epoch once, in journal and index alike; no step twice; seq without gap or repetition."""
    events = read_journal(home.directory(run).journal).events
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.epoch for event in events if isinstance(event, Epoch)] == list(range(1, epochs + 1))
    steps = [event.step for event in events if isinstance(event, Step)]
    assert steps == sorted(set(steps))
    assert [event.epoch for event in events if isinstance(event, Gradients)] == list(range(epochs + 1))
    with home.reader() as reader:
        num_layers = len(reader.gradients(run)) // (epochs + 1)
        assert [(row.epoch, row.position) for row in reader.gradients(run)] == [
            (epoch, position) for epoch in range(epochs + 1) for position in range(num_layers)
        ]
        rows = reader.epochs(run)
        assert [row.epoch for row in rows] == list(range(1, epochs + 1))
        assert [row.step for row in reader.steps(run)] == steps
        assert len([event for event in reader.events(run) if event.kind == "checkpoint"]) == len(
            [event for event in events if event.__struct_config__.tag == "checkpoint"]
        )
    measured = [event for event in events if isinstance(event, Epoch)]
    assert [row.test_loss for row in rows] == [event.test_loss for event in measured]


def metrics(home: Any, run: str) -> list[Any]:
    """What was measured, without what a clock measured."""
    with home.reader() as reader:
        rows, gradients = reader.epochs(run), reader.gradients(run)
    measured = [(row.train_loss, row.train_error_percent, row.test_loss, row.test_error_percent) for row in rows]
    return [*measured, *gradients]


def state_of(home: Any, run: str) -> str:
    with home.reader() as reader:
        return str(reader.run(run).status)


def epoch_of(home: Any, run: str) -> int:
    """Epochs done; each was saved in a checkpoint."""
    with home.reader() as reader:
        return int(reader.run(run).epoch)


def is_finished(home: Any, run: str) -> bool:
    with home.reader() as reader:
        return bool(reader.run(run).is_finished)


def step_of(home: Any, run: str) -> int:
    with home.reader() as reader:
        return int(reader.run(run).step)


@pytest.mark.long
def test_a_worker_killed_at_random_places_ends_with_the_weights_of_one_never_killed(
    home: Any, wait_until: Callable[..., Any]
):
    """Twenty kills, each behind a new epoch: in an epoch, in an evaluation, in the writing of a checkpoint."""
    undisturbed = home.train(*RUN)
    home.cli("wait", undisturbed)
    run = home.train(*RUN)
    draws = random.Random(1)
    for _ in range(NUM_KILLS):
        before = epoch_of(home, run)
        wait_until(lambda seen=before: epoch_of(home, run) > seen or is_finished(home, run))
        threading.Event().wait(draws.uniform(0, 0.15))
        pid = home.worker_pid(run)
        assert pid is not None, "the run ended before it was killed often enough"
        home.kill(pid)
        wait_until(lambda dead=pid: home.worker_pid(run) not in (dead, None) or is_finished(home, run))
    home.cli("wait", run)

    check_rows(home, run, EPOCHS)
    assert same_weights(home, undisturbed, run)
    assert metrics(home, undisturbed) == metrics(home, run)
    with home.reader() as reader:
        assert [event.kind for event in reader.events(run)].count("resumed") == NUM_KILLS


@pytest.mark.long
def test_an_engine_killed_at_random_places_leaves_training_alone_and_loses_no_row(
    home: Any, wait_until: Callable[..., Any]
):
    """Twenty kills; the next command's engine adopts the worker that never noticed."""
    run = home.train("--epochs", "2000")
    wait_until(lambda: step_of(home, run) > 0)
    worker = home.worker_pid(run)
    draws = random.Random(2)
    for _ in range(NUM_KILLS):
        threading.Event().wait(draws.uniform(0, 0.3))
        engine = home.engine_pid()
        home.kill(engine)
        wait_until(lambda: home.engine_pid() is None)
        home.cli("ls")
        assert home.engine_pid() not in (None, engine)
        assert home.worker_pid(run) == worker
    home.cli("stop", run)
    wait_until(lambda: is_finished(home, run))

    check_rows(home, run, epoch_of(home, run))
    with home.reader() as reader:
        assert [event.kind for event in reader.events(run)].count("started") == 1
        assert reader.run(run).outcome is RunOutcome.CANCELLED


@pytest.mark.parametrize("left_out", ["optimizer", "generator", "schedule", "buffers"])
def test_a_checkpoint_that_forgets_something_would_be_seen(home: Any, wait_until: Callable[..., Any], left_out: str):
    """The control: with momentum, the order of images, the place in the schedule or running statistics left out of
    what a resumed worker gets, its final weights are others."""
    undisturbed = home.train("--epochs", "8")
    run = home.train("--epochs", "8", "--seed", "0")
    wait_until(lambda: home.directory(run).checkpoint.exists() or step_of(home, run) >= 40)
    home.cli("pause", run)
    wait_until(lambda: state_of(home, run) in ("paused", "finished"))
    directory = home.directory(run)
    state = read_archive(directory.checkpoint)
    assert 0 < state["next_step"] < 80
    match left_out:
        case "optimizer":
            state["optimizer"]["state"] = {}
        case "buffers":
            state["model"] = {
                name: torch.zeros_like(tensor) if "running" in name else tensor
                for name, tensor in state["model"].items()
            }
        case "generator" | "schedule":
            # Order of images and learning rate are functions of the step: another step is another place in both.
            state["next_step"] += 10 if left_out == "generator" else -10
            state["loss_sum"], state["wrong_sum"] = (
                torch.zeros_like(state["loss_sum"]),
                torch.zeros_like(state["wrong_sum"]),
            )
            state["num_images"] = 0
    write_archive(directory.checkpoint, state)
    home.cli("resume", run)
    home.cli("wait", undisturbed, run)

    assert not same_weights(home, undisturbed, run)


def test_a_damaged_checkpoint_costs_one_generation_and_is_told(home: Any, wait_until: Callable[..., Any]):
    """The epoch is trained again, to the same weights, and its row is there once."""
    undisturbed = home.train("--epochs", "12")
    run = home.train("--epochs", "12")
    wait_until(lambda: home.directory(run).previous_checkpoint.exists())
    home.cli("pause", run)
    wait_until(lambda: state_of(home, run) in ("paused", "finished"))
    directory = home.directory(run)
    content = bytearray(directory.checkpoint.read_bytes())
    content[-100] ^= 1
    directory.checkpoint.write_bytes(content)
    home.cli("resume", run)
    home.cli("wait", undisturbed, run)

    assert "went back one checkpoint" in home.cli("logs", run)
    assert same_weights(home, undisturbed, run)
    with home.reader() as reader:
        assert [row.epoch for row in reader.epochs(run)] == list(range(1, 13))


def test_a_worker_that_keeps_dying_without_progress_fails_and_the_queue_goes_on(
    home: Any, wait_until: Callable[..., Any]
):
    """Three crashes with no new checkpoint in between; the reason names the signal."""
    # So deep that no epoch ends, and no checkpoint is written, before the kill, however slow the test is.
    deep = ("-a", "he-resnet", "-d", "110", "--width", "64", "--data", "tiny", "--batch-size", "20")
    (asked,) = home.json("train", *deep, "--detach")["runs"]
    run = asked["id"]
    other = home.train("--epochs", "1")
    killed: set[int] = set()
    for _ in range(3):
        pid = wait_until(lambda: {home.worker_pid(run)} - {None} - killed).pop()
        home.kill(pid)
        killed.add(pid)
    home.cli("wait", run, status=4)
    home.cli("wait", other)
    shown = home.json("show", run)

    assert shown["run"]["outcome"] == "failed"
    assert "SIGKILL" in shown["run"]["error"]
    assert [event["kind"] for event in shown["events"]].count("crashed") == 3


def test_a_run_that_diverges_is_stopped_and_keeps_its_last_good_checkpoint(home: Any):
    """A rate that no network stands: outcome diverged, status 4, and nothing that is not finite on disk."""
    run = home.train("--epochs", "30", "--lr", "1e30", "--norm", "none", "--schedule", "constant")
    home.cli("wait", run, status=4)

    assert home.json("show", run)["run"]["outcome"] == "diverged"
    assert "not finite at step" in home.cli("logs", run)
    for path in (home.directory(run).checkpoint, home.directory(run).previous_checkpoint):
        if path.exists():
            assert all(torch.isfinite(tensor.float()).all() for tensor in read_archive(path)["model"].values())
    assert not home.directory(run).weights.exists()


def test_pending_rows_reach_the_journal_when_a_worker_died_before_it_wrote_them(home: Any):
    """Killed between the checkpoint and the row: the next worker appends what the checkpoint carries."""
    run = home.train("--epochs", "4")
    home.cli("wait", run)
    home.cli("engine", "stop")
    directory = home.directory(run)
    whole = directory.journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    last = next(index for index, line in enumerate(lines) if b'"epoch":4,' in line and b'"kind":"epoch"' in line)
    directory.journal.write_bytes(b"".join(lines[:last]))
    directory.exit_file.unlink()
    for path in home.home.root.glob("depthscope.db*"):
        path.unlink()
    home.cli("engine", "start")
    home.cli("wait", run)

    check_rows(home, run, 4)
    rows = [event for event in read_journal(directory.journal).events if isinstance(event, Epoch)]
    assert msgspec.json.encode(rows[-1]) + b"\n" == lines[last]
