"""Status of a run as a word, a marker and a sentence; imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from console.text.formatting import UNKNOWN, clean, duration, percent
from engine.analysis.diagnosis import diagnose, outlook, sentence
from engine.control.queue_state import QueueState
from engine.runs.journal import Epoch, Gradients
from engine.runs.run import DISK_FULL, NO_ACCESS, Run, RunOutcome, RunStatus

MIN_STALL_SECONDS = 60.0
"""Silence of the journal after which a running run shows as stalled, not dead: its lock is still held."""

SIGNS = {
    "queued": "·", "held": "⊘", "starting": "▷", "running": "▶", "stalled": "!",
    "unreadable": "¿",
    "paused": "‖", DISK_FULL: "‖", NO_ACCESS: "‖",
    "succeeded": "✓", "diverged": "∞", "stopped-early": "⊣", "failed": "✗", "cancelled": "–", "lost": "?",
}  # fmt: skip
SIGNS_IN_ASCII = SIGNS | {
    "queued": ".", "held": "%", "starting": ")", "running": ">",
    "unreadable": "u",
    "paused": "=", DISK_FULL: "=", NO_ACCESS: "=",
    "succeeded": "+", "diverged": "~", "stopped-early": "|", "failed": "x", "cancelled": "-",
}  # fmt: skip


def state(run: Run, now: float) -> str:
    """Status of a run as one word; `now` is on the monotonic clock, as `Run.seen_at`."""
    if run.unreadable is not None:
        return "unreadable"
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


def queue_places(runs: Iterable[Run]) -> dict[str, int]:
    """Places of queued runs in the queue from 1, by id, in the order in which they start."""
    queued = [run for run in runs if run.status is RunStatus.QUEUED]
    queued.sort(key=lambda run: (run.place, run.position, run.id))
    return {run.id: place for place, run in enumerate(queued, 1)}


def state_and_place(run: Run, now: float, queue: Mapping[str, int]) -> str:
    """Status as one word, with the place of a queued run: "queued 3"."""
    place = queue.get(run.id)
    return state(run, now) if place is None else f"{state(run, now)} {place}"


STATE_ORDER = (
    *(RunOutcome.SUCCEEDED, RunOutcome.STOPPED_EARLY, RunOutcome.DIVERGED, RunOutcome.FAILED, RunOutcome.LOST),
    *(RunOutcome.CANCELLED, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.QUEUED),
)
"""Order of the counts in `states`."""


def states(runs: Sequence[Run]) -> str:
    """Count runs by outcome, and unfinished ones by status: 17 succeeded, 1 cancelled, 2 queued."""
    found = [run.outcome or run.status for run in runs]
    return ", ".join(f"{found.count(one)} {one}" for one in STATE_ORDER if one in found)


def queue_sentence(state: QueueState) -> str:
    """Explain a queue that is held or draining; empty if it is open."""
    match state:
        case QueueState.OPEN:
            return ""
        case QueueState.HELD:
            return "Queue held: running jobs continue, nothing new starts until `depthscope queue release`"
        case QueueState.DRAINING:
            return "Draining: running jobs will finish, nothing new starts until `depthscope queue release`"


def last_line(text: str) -> str:
    """Last line of a traceback or message, the one that says what went wrong."""
    return clean(text.strip().splitlines()[-1]) if text.strip() else ""


def loss(value: float | None) -> str:
    """Loss in four digits, or "not finite"."""
    return "not finite" if value is None else f"{value:.4g}"


def seconds_left(run: Run) -> float | None:
    """Time left of a running run, from the pace of its epochs or, in the first, from its images per second."""
    if run.status is not RunStatus.RUNNING or not run.total_steps:
        return None
    steps_left = run.total_steps - run.step
    if run.epoch and run.seconds:
        return run.seconds / (run.epoch * run.total_steps / run.spec.recipe.epochs) * steps_left
    if run.images_per_second:
        return steps_left * run.spec.recipe.batch_size / run.images_per_second
    return None


def remark(
    run: Run, epochs: Sequence[Epoch], now: float, gradients: Sequence[Gradients] = (), *, place: int | None = None
) -> str:
    """Sum up a run in a sentence, problems first.

    Args:
        run: Run to describe.
        epochs: Its metrics, oldest first; without them no problem is diagnosed.
        now: Monotonic time, as `Run.seen_at`.
        gradients: Its layer norms, if recorded.
        place: Its place in the queue, if known.
    """
    name = clean(run.name)
    if run.unreadable is not None:
        return f"{name}: unreadable: {clean(run.unreadable)}"
    if run.outcome in (RunOutcome.FAILED, RunOutcome.LOST):
        return f"{name}: {run.outcome} at epoch {run.epoch}: {last_line(run.error or '') or 'no reason recorded'}"
    findings = diagnose(run, epochs, gradients)
    wrong = "; ".join(filter(None, [sentence(findings), outlook(run, epochs, findings)]))
    if run.outcome is RunOutcome.DIVERGED:
        return f"{name}: {wrong}"
    if run.stopped_early:
        return f"{name}: {last_line(run.error or '') or wrong}"
    if run.waits_for_disk:
        return f"{name}: {last_line(run.error or '')}"
    if run.status is RunStatus.QUEUED and not run.epoch:
        where = "" if place is None else f" at position {place}"
        return f"{name}: {f'held{where} in the queue; h releases it' if run.held else f'queued{where}'}"
    if run.is_starting and not run.epoch:
        return f"{name}: worker starting, loading torch and the images"
    if not epochs and not run.epoch:
        doing = f"{state(run, now)}, no epoch done"
        if run.status is RunStatus.RUNNING:
            share = min(1.0, run.fraction_done * run.spec.recipe.epochs)
            doing = f"first epoch, {percent(100 * share, 0)} done" if share else "first epoch"
        return f"{name}: {doing}"
    parts = [f"epoch {run.epoch} of {run.spec.recipe.epochs}" if not run.succeeded else counted(run.epoch, "epoch")]
    parts.append(f"training loss {loss(run.train_loss)}")
    if run.has_validation:
        parts.append(f"validation error {percent(run.validation_error_percent)}")
    if not run.has_validation or run.test_error_percent is not None:
        parts.append(f"test error {percent(run.test_error_percent)}")
    best = min((row for row in epochs if row.selection_error_percent is not None), key=selection_error, default=None)
    if best is not None and best.epoch != run.epoch:
        chosen = f"selected on the {selection_set(run)} set"
        parts.append(f"best {percent(best.selection_error_percent)} at epoch {best.epoch} ({chosen})")
    if (left := seconds_left(run)) is not None:
        parts.append(f"about {duration(left)} left")
    elif run.taken_seconds:
        parts.append(f"took {duration(run.taken_seconds)}" if run.is_finished else duration(run.taken_seconds))
    numbers = ", ".join(parts)
    return f"{name}: {wrong}; {numbers}" if wrong else f"{name}: {numbers}"


def counted(number: int, thing: str) -> str:
    """Count with its noun: 1 epoch, 2 epochs."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def selection_error(row: Epoch) -> float:
    return math.inf if row.selection_error_percent is None else row.selection_error_percent


def selection_set(run: Run) -> str:
    """Name of the set that epochs are selected on."""
    return "validation" if run.has_validation else "test"


def held_out_error(run: Run) -> str:
    """Test error; before it is known in a run with a validation set, the validation error, named."""
    if run.has_validation and run.test_error_percent is None and run.validation_error_percent is not None:
        return f"{percent(run.validation_error_percent)} (validation)"
    return percent(run.test_error_percent)


def rate(run: Run) -> str:
    """Images per second of a running run; empty otherwise."""
    if run.status is not RunStatus.RUNNING or not run.images_per_second:
        return ""
    return f"{run.images_per_second:.0f}"


def left(run: Run) -> str:
    """Time left of a running run; empty if unknown."""
    text = duration(seconds_left(run))
    return "" if text == UNKNOWN else text
