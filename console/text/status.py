"""Where a run stands, in a word, a sign and a sentence; imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Sequence

from console.text.formatting import UNKNOWN, clean, duration, percent
from engine.analysis.diagnosis import diagnose, sentence
from engine.control.queue_state import QueueState
from engine.runs.journal import Epoch
from engine.runs.run import DISK_FULL, NO_ACCESS, GradientRow, Run, RunOutcome, RunStatus

MIN_STALL_SECONDS = 60.0
"""A running run whose journal is silent for longer is shown as stalled; it is not called dead, for its lock is held."""

SIGNS = {
    "queued": "·",
    "held": "⊘",
    "starting": "▷",
    "running": "▶",
    "stalled": "!",
    "paused": "‖",
    DISK_FULL: "‖",
    NO_ACCESS: "‖",
    "succeeded": "✓",
    "diverged": "∞",
    "stopped-early": "⊣",
    "failed": "✗",
    "cancelled": "–",
    "lost": "?",
}
SIGNS_IN_ASCII = {
    **SIGNS,
    "queued": ".",
    "starting": ")",
    "running": ">",
    "paused": "=",
    DISK_FULL: "=",
    NO_ACCESS: "=",
    "succeeded": "+",
    "diverged": "~",
} | {
    "stopped-early": "|",
    "held": "%",
    "failed": "x",
    "cancelled": "-",
}


def state(run: Run, now: float) -> str:
    """Where a run stands, in a word; now is by the monotonic clock, as `Run.seen_at`."""
    if run.outcome is not None:
        return run.outcome.value
    if run.status is RunStatus.RUNNING and run.seen_at is not None and now - run.seen_at > MIN_STALL_SECONDS:
        return "stalled"
    if run.is_starting:
        return "starting"
    if run.status is RunStatus.QUEUED and run.held:
        return "held"
    if run.waits_for_disk:
        word = (run.error or "").partition(":")[0]
        return word if word in SIGNS else run.status.value
    return run.status.value


def queue_sentence(state: QueueState) -> str:
    """What a queue does that does not start every run in its turn; empty of one that does."""
    match state:
        case QueueState.OPEN:
            return ""
        case QueueState.HELD:
            return "the queue is held: what runs goes on, nothing is started until `depthscope queue release`"
        case QueueState.DRAINING:
            return "the queue drains: what ran is finished, nothing else is started until `depthscope queue release`"


def last_line(text: str) -> str:
    """The line of a traceback or message that says what went wrong."""
    return clean(text.strip().splitlines()[-1]) if text.strip() else ""


def loss(value: float | None) -> str:
    """A loss, or a word where it was not finite."""
    return "not finite" if value is None else f"{value:.4g}"


def seconds_left(run: Run) -> float | None:
    """How long a running run still takes at the pace of its epochs so far, or of its progress before the first."""
    if run.status is not RunStatus.RUNNING or not run.total_steps:
        return None
    steps_left = run.total_steps - run.step
    if run.epoch and run.seconds:
        return run.seconds / (run.epoch * run.total_steps / run.spec.recipe.epochs) * steps_left
    if run.images_per_second:
        return steps_left * run.spec.recipe.batch_size / run.images_per_second
    return None


def remark(run: Run, epochs: Sequence[Epoch], now: float, gradients: Sequence[GradientRow] = ()) -> str:
    """What a run's numbers say, in a sentence: what is wrong with it first.

    Args:
        run: Of which it is said.
        epochs: What was measured of it, oldest first; where they are missing, nothing is said to be wrong.
        now: By the monotonic clock, as `Run.seen_at`.
        gradients: Of its layers, where they were recorded.
    """
    name = clean(run.name)
    if run.outcome in (RunOutcome.FAILED, RunOutcome.LOST):
        return (
            f"{name}: {run.outcome} at epoch {run.epoch}: {last_line(run.error or '') or 'its worker did not say why'}"
        )
    wrong = sentence(diagnose(run, epochs, gradients))
    if run.outcome is RunOutcome.DIVERGED:
        return f"{name}: {wrong}"
    if run.stopped_early:
        return f"{name}: {last_line(run.error or '') or wrong}"
    if run.waits_for_disk:
        return f"{name}: {last_line(run.error or '')}"
    if run.status is RunStatus.QUEUED and not run.epoch:
        return f"{name}: {'held in the queue until it is released' if run.held else 'waits in the queue'}"
    if run.is_starting and not run.epoch:
        return f"{name}: its worker starts, and loads torch and the images"
    if not epochs and not run.epoch:
        doing = f"{state(run, now)}, no epoch done"
        if run.status is RunStatus.RUNNING:
            share = min(1.0, run.fraction_done * run.spec.recipe.epochs)
            doing = f"in its first epoch, {percent(100 * share, 0)} of it done" if share else "in its first epoch"
        return f"{name}: {doing}"
    parts = [f"epoch {run.epoch} of {run.spec.recipe.epochs}" if not run.succeeded else counted(run.epoch, "epoch")]
    parts.append(f"training loss {loss(run.train_loss)}")
    parts.append(f"test error {percent(run.test_error_percent)}")
    best = min((row for row in epochs if row.test_error_percent is not None), key=test_error, default=None)
    if best is not None and best.epoch != run.epoch:
        parts.append(f"best {percent(best.test_error_percent)} at epoch {best.epoch} (selected on the test set)")
    if (left := seconds_left(run)) is not None:
        parts.append(f"about {duration(left)} left")
    elif run.seconds:
        parts.append(f"trained for {duration(run.seconds)}")
    numbers = ", ".join(parts)
    return f"{name}: {wrong}; {numbers}" if wrong else f"{name}: {numbers}"


def counted(number: int, thing: str) -> str:
    """A number of things, as they are said: 1 epoch, 2 epochs."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def test_error(row: Epoch) -> float:
    return math.inf if row.test_error_percent is None else row.test_error_percent


def rate(run: Run) -> str:
    """Images per second of a run that is under way."""
    if run.status is not RunStatus.RUNNING or not run.images_per_second:
        return ""
    return f"{run.images_per_second:.0f}"


def left(run: Run) -> str:
    """How long a running run still takes; empty where nobody knows."""
    text = duration(seconds_left(run))
    return "" if text == UNKNOWN else text
