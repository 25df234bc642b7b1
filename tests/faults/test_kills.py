"""Killing processes loses nothing, duplicates nothing and gives bit-identical weights."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from engine.runs.journal import Epoch, read_journal
from tests.checkpoints import read_at
from tests.conftest import TestHome
from tests.faults.killing import (
    Executioner,
    check_nothing_lost,
    check_rows,
    draw_plan,
    epochs_needed,
    kill_engines,
    points_fallen,
    sabotaged,
    same_weights,
    train_planned,
)
from tests.faults.sabotage.kill_points import HALF_CHECKPOINT, OFTEN, ONCE, STEP, TORN_LINE, UNTOLD_CHECKPOINT

CONTROL_WORDS = ("--schedule", "one-cycle")
CONTROLS = {
    "momentum": f"{STEP}|1|5",
    "statistics": f"{STEP}|1|5",
    "generator keys": f"{STEP}|1|5",
    "schedule position": f"{STEP}|1|5",
    "checkpoint in place": f"{HALF_CHECKPOINT}|1|1",
    "row with checkpoint": f"{UNTOLD_CHECKPOINT}|1|1",
    "torn line cut": f"{TORN_LINE}|1|1",
}
"""Removed safeguards, and where a worker is then killed."""


def state_of(home: Any, run: str) -> str:
    with home.reader() as reader:
        return str(reader.run(run).status)


def step_of(home: Any, run: str) -> int:
    with home.reader() as reader:
        return int(reader.run(run).step)


@pytest.fixture(scope="module")
def undisturbed_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Directory of an undisturbed run with all safeguards, trained once for all controls."""
    home = TestHome(tmp_path_factory.mktemp("undisturbed") / "home")
    home.add_tiny()
    run = home.train(*CONTROL_WORDS, "--epochs", str(epochs_needed([f"{STEP}|1|5"])))
    home.cli("wait", run)
    yield home.directory(run).path
    home.end_everything()


def train_by_plan(
    home: Any, words: tuple[str, ...], plan: list[str], *, undisturbed_run: Path | None = None
) -> tuple[str, str]:
    """Train an undisturbed run, and one whose workers kill themselves by a plan; return both.

    Args:
        home: Home whose engine is not running yet.
        words: Arguments of `train`.
        plan: One line per worker.
        undisturbed_run: Directory of an undisturbed run in another home; None trains one here.
    """
    words = (*words, "--epochs", str(epochs_needed(plan)))
    if undisturbed_run is None:
        undisturbed = home.train(*words)
    else:
        undisturbed = shutil.copytree(undisturbed_run, home.home.runs / undisturbed_run.name).name
    (run,) = train_planned(home, (words, plan))
    home.cli("wait", undisturbed)
    home.cli("wait", run, status=None, patience_seconds=1500)
    return undisturbed, run


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_workers_killed_at_every_point_end_with_identical_weights(home: Any):
    """Once each during start-up, loading, a step, an evaluation, a journal line and each part of a checkpoint."""
    sabotaged(home)
    plan = draw_plan(random.Random(1), len(ONCE + OFTEN))
    undisturbed, run = train_by_plan(home, ("--seed", "5"), plan)

    check_nothing_lost(home, undisturbed, run, epochs=epochs_needed(plan), num_kills=len(plan))
    assert points_fallen(home, run) == Counter(ONCE + OFTEN)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_workers_killed_at_random_moments_end_with_identical_weights(home: Any):
    """Killed from outside, with the product unmodified."""
    words = ("--epochs", "25", "--seed", "6")
    undisturbed, run = home.train(*words), home.train(*words)
    (victim,) = Executioner(home, random.Random(2)).kill([run], 5, most_a_run=5, patience_seconds=900)
    home.cli("wait", undisturbed, run, patience_seconds=900)

    assert victim.num_kills == 5, "the run ended before it was killed often enough"
    check_nothing_lost(home, undisturbed, run, epochs=25, num_kills=5)


@pytest.mark.slow
@pytest.mark.parametrize(("left_out", "plan"), CONTROLS.items())
def test_with_a_safeguard_taken_out_of_the_worker_a_kill_is_seen(
    home: Any, left_out: str, plan: str, undisturbed_run: Path
):
    """Control: the same check fails."""
    sabotaged(home, left_out)
    undisturbed, run = train_by_plan(home, CONTROL_WORDS, [plan], undisturbed_run=undisturbed_run)

    with pytest.raises(AssertionError):
        check_nothing_lost(home, undisturbed, run, epochs=epochs_needed([plan]), num_kills=1)
    assert points_fallen(home, run) == {plan.split("|")[0]: 1}


@pytest.mark.soak
@pytest.mark.parametrize("left_out", [None, *CONTROLS])
def test_neither_a_removed_safeguard_nor_a_kill_alone_changes_the_weights(
    home: Any, left_out: str | None, undisturbed_run: Path
):
    """The controls detect only the combination of both."""
    sabotaged(home, left_out)
    plan = [f"{STEP}|1|5"] if left_out is None else []
    epochs = epochs_needed([f"{STEP}|1|5"])
    words = (*CONTROL_WORDS, "--epochs", str(epochs))
    undisturbed = shutil.copytree(undisturbed_run, home.home.runs / undisturbed_run.name).name
    (run,) = train_planned(home, (words, plan))
    home.cli("wait", run)

    check_nothing_lost(home, undisturbed, run, epochs=epochs, num_kills=len(plan))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_engines_killed_at_random_instants_leave_training_alone_and_lose_no_row(bare_home: Any):
    """The next engine adopts both workers, which are unaffected; some engines die during start-up."""
    kill_engines(bare_home, 8, random.Random(3))


def test_a_damaged_checkpoint_costs_one_generation_and_is_reported(home: Any, wait_until: Callable[..., Any]):
    """The epoch is trained again, to the same weights, and its row appears once."""
    undisturbed = home.train("--epochs", "12")
    run = home.train("--epochs", "12")
    wait_until(home.directory(run).previous_checkpoint.exists)
    home.halt(run)
    home.cli("pause", run)
    home.go_on(run)
    wait_until(lambda: state_of(home, run) == "paused")
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


def test_a_worker_that_keeps_dying_without_progress_fails_and_the_queue_continues(
    home: Any, wait_until: Callable[..., Any]
):
    """Three crashes without a new checkpoint; the reason names the signal."""
    # So deep that no epoch ends and no checkpoint is written before the kill, even if the test is slow.
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
    """With an excessive learning rate: outcome diverged, status 4, and no non-finite number on disk."""
    run = home.train("--epochs", "30", "--lr", "1e30", "--norm", "none", "--schedule", "constant")
    home.cli("wait", run, status=4)

    assert home.json("show", run)["run"]["outcome"] == "diverged"
    assert "not finite at step" in home.cli("logs", run)
    for path in (home.directory(run).checkpoint, home.directory(run).previous_checkpoint):
        if path.exists():
            assert all(torch.isfinite(tensor.float()).all() for tensor in read_at(path)["model"].values())
    assert not home.directory(run).weights.exists()


def test_pending_rows_of_a_dead_worker_reach_the_journal(home: Any):
    """Killed between the checkpoint and the row: the next worker appends what the checkpoint carries."""
    home.home.config.write_text("keep-checkpoints = true\n")
    run = home.train("--epochs", "1")
    home.cli("wait", run)
    home.cli("engine", "stop")
    directory = home.directory(run)
    whole = directory.journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    last = next(index for index, line in enumerate(lines) if b'"epoch":1,' in line and b'"kind":"epoch"' in line)
    directory.journal.write_bytes(b"".join(lines[:last]))
    directory.exit_file.unlink()
    for path in home.home.root.glob("depthscope.db*"):
        path.unlink()
    home.cli("engine", "start")
    home.cli("wait", run)

    check_rows(home, run, 1)
    rows = [event for event in read_journal(directory.journal).events if isinstance(event, Epoch)]
    assert msgspec.json.encode(rows[-1]) + b"\n" == lines[last]
