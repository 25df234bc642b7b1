"""Kill workers, from outside at random times or by themselves at planned points, and check their runs."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

from engine.control.launch import ensure_engine
from engine.runs.journal import Checkpointed, Epoch, Gradients, Step, WorkerStart, read_journal
from engine.runs.run import RunOutcome
from tests.conftest import wait_until
from tests.faults.sabotage import kill_points as at

SABOTAGE = Path(__file__).parent / "sabotage"
MAX_IN_VAIN = 2
"""Consecutive kills without a new checkpoint that a run survives."""
EPOCH_SECONDS = 0.15
"""Approximate duration of a tiny run's epoch with evaluation and checkpoint."""


def sabotaged(home: Any, what: str | None = None) -> None:
    """Make a home's workers follow their plans and apply a function from sabotage/; call before its engine starts."""
    home.env["PYTHONPATH"] = str(SABOTAGE)
    if what is not None:
        home.env["DEPTHSCOPE_SABOTAGE"] = what
    (home.home.root / "kills").mkdir(exist_ok=True)


def weights(home: Any, run: str) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(home.directory(run).weights, weights_only=True)
    return loaded


def same_weights(home: Any, first: str, second: str) -> bool:
    """Return whether two runs ended with bit-identical tensors."""
    one, other = weights(home, first), weights(home, second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def check_rows(home: Any, run: str, epochs: int) -> None:
    """Check journal and index: every epoch once, no step twice, seq without gaps or repetitions."""
    journal = home.directory(run).journal
    reading = read_journal(journal, limit=journal.stat().st_size)
    assert not reading.garbage
    events = reading.events
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.epoch for event in events if isinstance(event, Epoch)] == list(range(1, epochs + 1))
    steps = [event.step for event in events if isinstance(event, Step)]
    assert steps == sorted(set(steps))
    assert [event.epoch for event in events if isinstance(event, Gradients)] == list(range(epochs + 1))
    with home.reader() as reader:
        gradients = reader.gradients(run)
        assert [row.epoch for row in gradients] == list(range(epochs + 1))
        layers = [layer.name for layer in gradients[0].layers]
        assert layers
        assert all([layer.name for layer in row.layers] == layers for row in gradients)
        rows = reader.epochs(run)
        assert [row.epoch for row in rows] == list(range(1, epochs + 1))
        assert [row.step for row in reader.steps(run)] == steps
        told = [event for event in reader.events(run) if event.kind == "checkpoint"]
        assert len(told) == len([event for event in events if isinstance(event, Checkpointed)])
    measured = [event for event in events if isinstance(event, Epoch)]
    assert [row.test_loss for row in rows] == [event.test_loss for event in measured]


def metrics(home: Any, run: str) -> list[Any]:
    """Return the metrics of a run, without times."""
    with home.reader() as reader:
        rows, gradients = reader.epochs(run), reader.gradients(run)
    measured = [(row.train_loss, row.train_error_percent, row.test_loss, row.test_error_percent) for row in rows]
    return [*measured, *gradients]


def check_nothing_lost(home: Any, undisturbed: str, run: str, *, epochs: int, num_kills: int) -> None:
    """Check that a run killed many times ends identical to an undisturbed one."""
    with home.reader() as reader:
        found = reader.run(run)
        crashes = [event.kind for event in reader.events(run)].count("crashed")
    assert found.outcome is RunOutcome.SUCCEEDED, found.error
    assert crashes == num_kills
    check_rows(home, run, epochs)
    assert same_weights(home, undisturbed, run)
    assert metrics(home, undisturbed) == metrics(home, run)


def draw_plan(draws: random.Random, num_kills: int, points: tuple[str, ...] = at.ONCE + at.OFTEN) -> list[str]:
    """Draw kills spread evenly over all points, never three in a row without a new checkpoint."""
    lines: list[str] = []
    waiting: list[str] = []
    in_vain = 0
    while len(lines) < num_kills:
        if not waiting:
            waiting = draws.sample(points, len(points))
        allowed = [point for point in waiting if in_vain < MAX_IN_VAIN or point in at.OFTEN]
        point = allowed[0] if allowed else draws.choice(at.OFTEN)
        if point in waiting:
            waiting.remove(point)
        epochs = 0 if point in at.ONCE or (in_vain < MAX_IN_VAIN and draws.random() < 0.3) else draws.choice((1, 1, 2))
        in_vain = in_vain + 1 if epochs == 0 else 1
        times = {at.STEP: 10, at.GRADIENT: 10, at.UPDATED: 10, at.TORN_LINE: 3, at.FILE: 8}.get(point, 1)
        lines.append(f"{point}|{epochs}|{draws.randint(1, times)}")
    return lines


def epochs_needed(plan: list[str]) -> int:
    """Return a number of epochs sufficient for a plan."""
    return sum(int(line.split("|")[1]) + 2 for line in plan) + 2


def train_planned(home: Any, *asked: tuple[tuple[str, ...], list[str]]) -> list[str]:
    """Queue runs whose workers follow a plan each, holding the queue meanwhile; return their ids."""
    home.cli("queue", "hold")
    runs = []
    for words, plan in asked:
        runs.append(str(home.train(*words)))
        (home.home.root / "kills" / runs[-1]).write_text("".join(f"{line}\n" for line in plan))
    home.cli("queue", "release")
    return runs


def points_fallen(home: Any, run: str) -> Counter[str]:
    """Return the points at which a run's workers killed themselves."""
    fell = home.home.root / "kills" / f"{run}.fell"
    return Counter(fell.read_text().splitlines() if fell.exists() else [])


@dataclass
class Victim:
    """A run whose workers are killed from outside."""

    run: str
    num_kills: int = 0
    dead: int | None = None
    """Worker killed last."""
    alive: int | None = None
    seen_at: float = 0.0
    """When the current worker was first seen, monotonic clock."""
    is_early: bool = False
    """Whether to kill it before it starts training."""
    wanted: int = 0
    """Number of checkpoints to let it write first."""
    has_begun: bool = False
    """Whether the current worker has reported that it is training."""
    due_at: float | None = None
    """When to kill it; None until drawn."""
    in_vain: int = 0
    checkpoints: int = 0
    """Number of checkpoints in the journal when its last worker died."""
    offset: int = 0
    seen_checkpoints: int = 0
    begun: set[int] = field(default_factory=set)
    """Pids of workers that have started."""

    def read(self, home: Any) -> None:
        """Read new journal lines."""
        reading = read_journal(home.directory(self.run).journal, self.offset)
        self.offset = reading.end
        self.seen_checkpoints += len([event for event in reading.events if isinstance(event, Checkpointed)])
        self.begun |= {event.pid for event in reading.events if isinstance(event, WorkerStart)}


class Executioner:
    """Kills the workers of several runs at random times, and records what each was doing.

    Args:
        home: Home of the runs.
        draws: Random number generator.
    """

    def __init__(self, home: Any, draws: random.Random) -> None:
        self._home = home
        self._draws = draws
        self.fell: Counter[str] = Counter()
        self.start_seconds = 2.0
        """Start-up time of the newest worker; early kills fall within it."""

    def kill(self, runs: list[str], num_kills: int, *, most_a_run: int, patience_seconds: float) -> list[Victim]:
        """Kill a total of `num_kills` workers, then let every run end; return the kills of each run."""
        victims = [Victim(run) for run in runs]
        with self._home.reader() as reader:

            def all_killed() -> bool:
                """Look at every run once; whether enough are killed, or none is left to be killed."""
                open_ones = [victim for victim in victims if victim.num_kills < most_a_run]
                for victim in open_ones:
                    if sum(one.num_kills for one in victims) < num_kills:
                        self._look(victim)
                enough = sum(victim.num_kills for victim in victims) >= num_kills
                return enough or all(reader.run(victim.run).is_finished for victim in open_ones)

            wait_until(all_killed, patience_seconds=patience_seconds)
        return victims

    def _look(self, victim: Victim) -> None:
        pid = self._home.worker_pid(victim.run)
        if pid is None or pid == victim.dead:
            return
        now = time.monotonic()
        if pid != victim.alive:
            victim.alive, victim.seen_at, victim.due_at, victim.has_begun = pid, now, None, False
            victim.is_early = victim.in_vain < MAX_IN_VAIN and self._draws.random() < 0.35
            if victim.is_early:
                victim.due_at = now + self._draws.uniform(0, self.start_seconds)
            victim.wanted = self._draws.choice((0, 1, 1, 2)) if victim.in_vain < MAX_IN_VAIN else 1
        victim.read(self._home)
        if pid in victim.begun and not victim.has_begun:
            victim.has_begun = True
            self.start_seconds = now - victim.seen_at
        has_written = victim.seen_checkpoints - victim.checkpoints >= victim.wanted
        if victim.due_at is None and victim.has_begun and has_written:
            victim.due_at = now + self._draws.uniform(0, EPOCH_SECONDS)
        if victim.due_at is not None and now >= victim.due_at:
            self._kill(victim, pid)

    def _kill(self, victim: Victim, pid: int) -> None:
        # Stop it first, so that it dies in the observed state.
        try:
            os.kill(pid, signal.SIGSTOP)
            where = self._place(victim, pid)
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError):
            # It had just exited.
            victim.dead = pid
            return
        self.fell[where] += 1
        victim.num_kills += 1
        victim.dead = pid
        victim.read(self._home)
        victim.in_vain = victim.in_vain + 1 if victim.seen_checkpoints == victim.checkpoints else 1
        victim.checkpoints = victim.seen_checkpoints

    def _place(self, victim: Victim, pid: int) -> str:
        """Infer from its files what a stopped worker was doing."""
        directory = self._home.directory(victim.run)
        held = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
        if str(directory.journal) not in held:
            return "importing torch" if "libtorch" in Path(f"/proc/{pid}/maps").read_text() else "starting"
        victim.read(self._home)
        if pid not in victim.begun:
            return "loading"
        if str(directory.checkpoint.with_name(f".{directory.checkpoint.name}.tmp")) in held:
            return "writing a checkpoint"
        return "in an epoch or an evaluation"


def kill_engines(home: Any, num_kills: int, draws: random.Random) -> list[float]:
    """Kill engines one after another while two runs train, and check that training is unaffected.

    Args:
        home: A bare home.
        num_kills: Number of kills; every fourth engine dies while starting.
        draws: Random number generator for the times.

    Returns:
        Seconds from each kill to the next engine's first reply, except for engines killed before it.
    """
    # Long epochs, so that minutes of training do not give too many rows.
    home.add_tiny(num_train=2000)
    home.home.config.write_text("[slots]\ncpu = 2\n")
    runs = [home.train("--epochs", "100000", "--seed", seed) for seed in "01"]
    workers = [wait_until(lambda run=run: begun(home, run) and home.worker_pid(run)) for run in runs]
    seconds: list[float] = []
    for number in range(num_kills):
        engine = wait_until(home.engine_pid)
        _, lives = psutil.wait_procs([psutil.Process(engine)], timeout=draws.uniform(0, 0.5 if number % 4 else 0.1))
        assert lives, "the engine ended by itself"
        home.kill(engine)
        killed_at = time.monotonic()
        wait_until(lambda: home.engine_pid() is None)
        if number % 4 == 3:
            # Kill the next one during or soon after start-up.
            home.start("engine", "start")
            continue
        ensure_engine(home.home)
        seconds.append(time.monotonic() - killed_at)
        assert [home.worker_pid(run) for run in runs] == workers
    ensure_engine(home.home)
    home.cli("stop", *runs)
    for run in runs:
        wait_until(lambda run=run: is_finished(home, run))
        with home.reader() as reader:
            found = reader.run(run)
            kinds = Counter(event.kind for event in reader.events(run))
        assert found.outcome is RunOutcome.CANCELLED
        assert (kinds["started"], kinds["resumed"], kinds["crashed"]) == (1, 0, 0)
        assert kinds["adopted"] >= len(seconds)
        assert found.epoch > 0
        check_rows(home, run, found.epoch)
    return seconds


def begun(home: Any, run: str) -> bool:
    """Return whether a run has completed an epoch."""
    with home.reader() as reader:
        return int(reader.run(run).epoch) > 0


def is_finished(home: Any, run: str) -> bool:
    with home.reader() as reader:
        return bool(reader.run(run).is_finished)
