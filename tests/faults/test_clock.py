"""Setting the wall clock while runs train affects only the times shown."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from console.text.status import MIN_STALL_SECONDS, state
from engine.control.connection import Connection
from engine.control.protocol import Hello, NewRun, Submit
from engine.runs.journal import Epoch, Step, read_journal
from engine.runs.run import Run, RunOutcome, RunStatus
from tests.conftest import TestHome
from tests.engine.scripted import spec_of
from tests.faults.clocks import Clock

DAY_SECONDS = 86_400.0


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "offset")


@pytest.fixture
def home(tmp_path: Path, clock: Clock) -> Iterator[TestHome]:
    """A home whose processes all use this clock."""
    home = TestHome(tmp_path / "home")
    home.add_tiny()
    home.env |= clock.environment
    yield home
    home.end_everything()


def run_of(home: TestHome, run: str) -> Run:
    with home.reader() as reader:
        return reader.run(run)


@pytest.mark.slow
def test_a_clock_set_by_a_day_changes_no_duration_no_order_and_no_state(
    home: TestHome, clock: Clock, wait_until: Callable[..., Any], figure: Callable[[str], None]
):
    """Ten jumps forward and back while a run trains, is paused, resumed and stopped."""
    began = time.monotonic()
    # Engine and worker start under this environment; the command brings the engine up.
    run = home.train("--epochs", "2000")
    wait_until(lambda: run_of(home, run).step > 0)
    words: set[str] = set()
    jumps = itertools.cycle((DAY_SECONDS, -DAY_SECONDS, 0.0))
    for number in range(10):
        clock.set(next(jumps))
        step = run_of(home, run).step
        if number == 5:
            home.cli("pause", run)
            wait_until(lambda: run_of(home, run).status is RunStatus.PAUSED)
            home.cli("resume", run)
        if number % 5 == 0:
            words.add(home.cli("ls").split(run)[1].split()[2])
        wait_until(lambda before=step: run_of(home, run).step > before)
    clock.set(DAY_SECONDS)
    greeting = greet(home)
    home.cli("stop", run)
    home.cli("wait", run, status=4)
    elapsed = time.monotonic() - began

    events = read_journal(home.directory(run).journal).events
    told = [event.at for event in events]
    # Control: the journal's wall-clock times did jump, so anything based on them would be wrong.
    assert max(told) - min(told) > DAY_SECONDS
    assert told != sorted(told)
    assert words <= {"starting", "running", "queued"}
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert [event.epoch for event in epochs] == list(range(1, run_of(home, run).epoch + 1))
    assert all(event.seconds > 0 for event in epochs)
    assert sum(event.seconds for event in epochs) < elapsed
    assert all(event.images_per_second > 0 for event in events if isinstance(event, Step | Epoch))
    assert 0 < greeting.uptime_seconds < elapsed
    done = run_of(home, run)
    assert done.seconds is not None
    assert done.seconds < elapsed
    assert done.outcome is RunOutcome.CANCELLED
    shown = [event["kind"] for event in home.json("show", run)["events"]]
    once = [kind for kind in shown if kind in ("queued", "started", "paused", "resumed", "finished")]
    assert once == ["queued", "started", "paused", "queued", "resumed", "finished"], shown
    trained = f"{len(epochs)} epochs in order, {done.seconds:.1f} s of training"
    figure(f"clock set 10 times by a day in {elapsed:.0f} s: {trained}")


def greet(home: TestHome) -> Any:
    with Connection(home.home.engine_socket) as connection:
        return connection.ask(Hello())


@pytest.mark.slow
def test_time_beside_epochs_does_not_use_the_wall_clock(home: TestHome, clock: Clock):
    """Plans rely on this duration: an extra day would delay every predicted end by a day."""
    began = time.monotonic()
    run = home.train("--epochs", "3")
    clock.set(DAY_SECONDS)
    home.cli("wait", run)
    elapsed = time.monotonic() - began

    done = run_of(home, run)
    assert done.finished_at is not None
    assert done.started_at is not None
    with home.reader() as reader:
        around = reader.seconds_around_training()
    assert 0 < around < elapsed
    # Control: by wall-clock times it took more than a day; otherwise the clock was set too early.
    assert done.finished_at - done.started_at > DAY_SECONDS or done.started_at > time.time() + DAY_SECONDS / 2


def test_a_repeated_request_is_recognised_at_any_clock_time(home: TestHome, clock: Clock):
    """Even months later or earlier by the wall clock."""
    home.cli("engine", "start")
    request = Submit(runs=(NewRun(name="once", spec=spec_of(1, None)),))
    for days in (0, 100, -100):
        clock.set(days * DAY_SECONDS)
        with Connection(home.home.engine_socket, patience_seconds=30) as connection:
            connection.ask(request)

    with home.reader() as reader:
        assert len(reader.runs()) == 1


@pytest.mark.slow
def test_a_worker_is_stalled_by_the_monotonic_clock_alone(home: TestHome, wait_until: Callable[..., Any]):
    """A run is stalled after a minute without news, regardless of its last line's wall-clock time."""
    run = home.train("--epochs", "600")
    wait_until(lambda: run_of(home, run).step > 0)
    heard = run_of(home, run)
    assert heard.seen_at is not None

    assert state(heard, time.monotonic()) == "running"
    assert state(heard, heard.seen_at + MIN_STALL_SECONDS + 1) == "stalled"
    # Control: by wall-clock times it would be stalled once the clock is set forward.
    assert heard.last_event_at is not None
    assert time.time() + DAY_SECONDS - heard.last_event_at > MIN_STALL_SECONDS
