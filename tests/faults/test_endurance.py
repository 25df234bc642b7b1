"""Everything at once: `uv run pytest -m soak -n 0 --minutes 20 tests/faults/test_endurance.py`.

While eight runs train, four clients send random commands, workers and engines are killed, the disk is filled and freed,
and the clock is set. In the last quarter of the time the engine is left alone and its memory and descriptors are read.
Then every run is continued to its end and compared with an undisturbed one.
"""

from __future__ import annotations

import random
import re
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from engine.runs.journal import Checkpointed, read_journal
from engine.runs.run import Intent, RunOutcome, RunStatus
from tests.conftest import TestHome, wait_until
from tests.faults.clocks import Clock
from tests.faults.disks import fill, mounted
from tests.faults.killing import MAX_IN_VAIN, check_rows, metrics, same_weights

SIZE_MIB = 512
NUM_CLIENTS = 4
VARIANTS = (
    ("--seed", "0"),
    ("--seed", "1", "--precision", "fp32"),
    ("--seed", "2", "--schedule", "one-cycle"),
    ("--seed", "3", "--batch-size", "32"),
)
RUNS_OF_VARIANT = 2
EPOCHS_PER_MINUTE = 30
"""Eight runs of that many epochs on two slots keep busy for about the time of the test."""
CALM_FRACTION = 0.25
"""End of the time, in which the engine is not killed."""
SECONDS_BETWEEN_KILLS = 4.0
SECONDS_BETWEEN_ENGINE_KILLS = 25.0
FULL_EVERY_SECONDS, FULL_FOR_SECONDS = 45.0, 6.0
CLOCK_EVERY_SECONDS = 20.0
SECONDS_BETWEEN_LOOKS = 0.25
DAY_SECONDS = 86_400.0
MEMORY_GROWTH = 0.05
LONG_MINUTES = 10.0
"""Shorter tests do not judge the engine's memory: its first requests are a large part of what they see."""
WAL_BYTES = 64 << 20
EXPLAINED = re.compile(r"^depthscope: .|^bad  +\w|^Usage: ", re.M)
"""A reason for a status other than 0; doctor's is the finding that needs a remedy."""


@dataclass
class Commands:
    """Random commands of one client, and what became of them."""

    home: TestHome
    runs: list[str]
    seed: int
    until: float
    statuses: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def draw(self, draws: random.Random) -> tuple[str, ...]:
        """Choose a command."""
        run, other = draws.sample(self.runs, 2)
        tag = f"t{draws.randrange(5)}"
        return draws.choice(
            (
                ("ls",), ("ls", "--json"), ("show", run), ("compare",), ("digest", "--since", "1h"), ("doctor",),
                ("engine", "status"), ("queue", "ls"), ("describe",), ("plot", run), ("logs", run),
                ("pause", run), ("resume", run), ("resume", run, other), ("stop", run), ("resume", run),
                ("rm", run), ("restore", run), ("restore", run), ("retry", run),
                ("tag", run, f"+{tag}"), ("tag", run, f"-{tag}"), ("star", run), ("unstar", run),
                ("note", run, f"note {draws.random()}"), ("rename", run, f"name-{draws.randrange(10**6)}"),
                ("queue", "move", run, "--first"), ("queue", "hold", run), ("queue", "release", run),
                ("queue", "release"), ("engine", "start"), ("engine", "start"), ("engine", "restart"),
                ("show", "no-such-run"), ("train", "-a", "resnet", "-d", "7"),
            )
        )  # fmt: skip

    def send(self) -> None:
        """Send commands until the time is up; each that fails must say why in a few lines."""
        draws = random.Random(self.seed)
        while time.monotonic() < self.until:
            command = self.draw(draws)
            try:
                done = subprocess.run(
                    self.home.command(*command),
                    env=self.home.env,
                    capture_output=True,
                    text=True,
                    timeout=120,
                    stdin=subprocess.DEVNULL,
                )
            except subprocess.TimeoutExpired:
                self.wrong.append(f"{command}: no end in 120 s")
                continue
            self.statuses[f"exit {done.returncode}"] += 1
            said = done.stdout + done.stderr
            if "Traceback" in said or done.returncode < 0:
                self.wrong.append(f"{command}: status {done.returncode}\n{said[-3000:]}")
            elif done.returncode:
                if not EXPLAINED.search(said):
                    self.wrong.append(f"{command}: status {done.returncode} without a reason\n{said[-1000:]}")
                line = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
                self.refusals[re.sub(r"[0-9a-f]{10}|\S*\d\S*", "_", line)[:110]] += 1


@dataclass
class Harm:
    """Kills, full disks and clock steps, from one thread."""

    home: TestHome
    disk: Path
    clock: Clock
    runs: list[str]
    until: float
    calm_from: float
    failed: threading.Event
    """Set when a client has failed, which ends the harm."""
    done: Counter[str] = field(default_factory=Counter)
    in_vain: Counter[str] = field(default_factory=Counter)
    """Consecutive kills of each run without a new checkpoint."""
    saved_step: Counter[str] = field(default_factory=Counter)
    """Step of the newest checkpoint of each run when its worker was last killed."""
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    wal: int = 0

    def cause(self) -> None:
        """Cause harm until the time is up."""
        draws = random.Random(21)
        now = time.monotonic()
        kill_at, engine_at, fill_at, clock_at = now, now + 10, now + 15, now + 5
        filler: Path | None = None
        free_at = 0.0
        engine: int | None = None
        while (now := time.monotonic()) < self.until and not self.failed.wait(SECONDS_BETWEEN_LOOKS):
            if now >= kill_at:
                kill_at = now + draws.uniform(0, 2 * SECONDS_BETWEEN_KILLS)
                self._kill_worker(draws)
            if now >= engine_at and now < self.calm_from:
                engine_at = now + draws.uniform(0, 2 * SECONDS_BETWEEN_ENGINE_KILLS)
                if (pid := self.home.engine_pid()) is not None:
                    self._kill(pid, "engine killed")
            if now >= clock_at:
                clock_at = now + draws.uniform(0, 2 * CLOCK_EVERY_SECONDS)
                self.clock.set(draws.choice((DAY_SECONDS, -DAY_SECONDS, 0.0, 3600.0)))
                self.done["clock set"] += 1
            if filler is not None and now >= free_at:
                filler.unlink()
                filler = None
            if filler is None and now >= fill_at and now < self.calm_from:
                filler, free_at = fill(self.disk), now + FULL_FOR_SECONDS
                fill_at = free_at + draws.uniform(0, 2 * FULL_EVERY_SECONDS)
                self.done["disk filled"] += 1
            self._read_wal()
            if now >= self.calm_from and (pid := self.home.engine_pid()) is not None:
                engine = self._read_engine(pid, engine)
        if filler is not None:
            filler.unlink()
        self.clock.set(0.0)

    def _read_wal(self) -> None:
        wal = self.home.home.database.with_name("depthscope.db-wal")
        if wal.exists():
            self.wal = max(self.wal, wal.stat().st_size)

    def _read_engine(self, pid: int, before: int | None) -> int:
        try:
            process = psutil.Process(pid)
            memory, descriptors = process.memory_info().rss, process.num_fds()
        except psutil.Error:
            return pid
        if pid != before:
            # A client has restarted it: only the newest is followed.
            self.memory.clear()
            self.descriptors.clear()
        self.memory.append(memory)
        self.descriptors.append(descriptors)
        return pid

    def _kill(self, pid: int, what: str) -> None:
        try:
            self.home.kill(pid)
        except ProcessLookupError:
            return
        self.done[what] += 1

    def _kill_worker(self, draws: random.Random) -> None:
        alive = {run: pid for run in self.runs if (pid := self.home.worker_pid(run)) is not None}
        if not alive:
            return
        run = draws.choice(sorted(alive))
        reading = read_journal(self.home.directory(run).journal, limit=1 << 30)
        # Progress is a later step: a run that was paused at once saves the same one again.
        saved = max((event.step for event in reading.events if isinstance(event, Checkpointed)), default=0)
        if saved == self.saved_step[run]:
            # A run that dies three times without progress has failed, as it should.
            if self.in_vain[run] >= MAX_IN_VAIN:
                return
            self.in_vain[run] += 1
        else:
            self.in_vain[run] = 1
        self.saved_step[run] = saved
        self._kill(alive[run], "worker killed")


def finish(home: TestHome, runs: list[str], patience_seconds: float) -> None:
    """Continue every run to its end, whatever the clients have left behind."""
    home.cli("engine", "restart")
    home.cli("queue", "release")
    deadline = time.monotonic() + patience_seconds
    while True:
        with home.reader() as reader:
            found = [reader.run(run) for run in runs]
        if all(run.outcome is RunOutcome.SUCCEEDED for run in found):
            return
        for run in found:
            bad = run.outcome not in (None, RunOutcome.SUCCEEDED, RunOutcome.CANCELLED)
            assert not bad, f"{run.id} {run.outcome}: {run.error}"
            # Any of these may come too late, and the next look decides.
            if run.deleted_at is not None:
                home.cli("restore", run.id, status=None)
            if run.held:
                home.cli("queue", "release", run.id, status=None)
            if run.outcome is RunOutcome.CANCELLED or run.intent is Intent.PAUSE:
                home.cli("resume", run.id, status=None)
        assert time.monotonic() < deadline, [(run.id, run.status, run.step) for run in found]
        wait_until(
            lambda before=[run.status for run in found]: any_changed(home, before, runs),
            patience_seconds=patience_seconds,
        )


def any_changed(home: TestHome, before: list[RunStatus], runs: list[str]) -> bool:
    with home.reader() as reader:
        return [reader.run(run).status for run in runs] != before


def endure(root: Path, minutes: float, figure: Callable[[str], None]) -> None:
    """Run the whole test for some minutes."""
    with mounted(root / "disk", SIZE_MIB) as disk:
        clock = Clock(root / "offset")
        home = TestHome(disk / "home")
        home.add_tiny()
        home.home.config.write_text("[slots]\ncpu = 2\n")
        home.env |= clock.environment
        try:
            endure_at(home, disk, clock, minutes, figure)
        finally:
            home.end_everything()


def endure_at(home: TestHome, disk: Path, clock: Clock, minutes: float, figure: Callable[[str], None]) -> None:
    """Train references, then the runs under harm; check and report."""
    epochs = max(20, round(EPOCHS_PER_MINUTE * minutes))
    references = [home.train(*variant, "--epochs", str(epochs)) for variant in VARIANTS]
    home.cli("wait", *references, patience_seconds=60 * (minutes + 5))
    pairs = [
        (reference, home.train(*variant, "--epochs", str(epochs)))
        for _ in range(RUNS_OF_VARIANT)
        for reference, variant in zip(references, VARIANTS, strict=True)
    ]
    runs = [run for _, run in pairs]
    began = time.monotonic()
    until = began + 60 * minutes
    failed = threading.Event()
    harm = Harm(home, disk, clock, runs, until, until - CALM_FRACTION * 60 * minutes, failed)
    clients = [Commands(home, runs, seed, until) for seed in range(NUM_CLIENTS)]
    with ThreadPoolExecutor(1 + NUM_CLIENTS) as pool:
        harming, *sending = [pool.submit(harm.cause), *(pool.submit(client.send) for client in clients)]
        for work in sending:
            work.add_done_callback(lambda work: failed.set() if work.exception() else None)
        for work in (*sending, harming):
            # An error of a thread fails the test: it would have tried less than it says.
            work.result()
    assert all(harm.done[what] for what in ("worker killed", "engine killed", "disk filled", "clock set")), harm.done
    finish(home, runs, 60 * (minutes + 10))

    statuses = sum((client.statuses for client in clients), Counter())
    refusals = sum((client.refusals for client in clients), Counter())
    wrong = [line for client in clients for line in client.wrong]
    for reference, run in pairs:
        check_rows(home, run, epochs)
        if not same_weights(home, reference, run) or metrics(home, reference) != metrics(home, run):
            wrong.append(f"{run} differs from {reference}")
    figure(
        f"{minutes:g} min, {len(runs)} runs of {epochs} epochs: {count(harm.done)}; {statuses.total()} commands"
        f" ({count(statuses)}); {len(wrong)} wrong; WAL {harm.wal >> 20} MiB at most"
    )
    for text, number in refusals.most_common():
        figure(f"  {number} x {text}")
    third = max(1, len(harm.memory) // 3)
    first, last = statistics.median(harm.memory[:third]), statistics.median(harm.memory[-third:])
    figure(
        f"engine, left alone for {len(harm.memory)} readings: {first / 2**20:.1f} MiB in the first third,"
        f" {last / 2**20:.1f} in the last; descriptors {min(harm.descriptors)} to {max(harm.descriptors)},"
        f" {harm.descriptors[0]} at first, {harm.descriptors[-1]} at last"
    )

    assert not wrong, "\n".join(wrong)
    assert harm.wal <= WAL_BYTES
    assert max(harm.descriptors[-third:]) <= max(harm.descriptors[:third]) + 2 * NUM_CLIENTS
    assert minutes < LONG_MINUTES or last <= (1 + MEMORY_GROWTH) * first


def count(found: Counter[str]) -> str:
    """Format counts."""
    return ", ".join(f"{number} {what}" for what, number in sorted(found.items()))


@pytest.mark.soak
@pytest.mark.timeout(3 * 3600)
def test_nothing_is_lost_in_the_long_run(tmp_path: Path, pytestconfig: pytest.Config, figure: Callable[[str], None]):
    """As long as --minutes says."""
    endure(tmp_path, pytestconfig.getoption("--minutes"), figure)


@pytest.mark.slow
def test_nothing_is_lost_in_a_minute(tmp_path: Path, figure: Callable[[str], None]):
    """The same, shortened."""
    endure(tmp_path, 0.75, figure)
