"""What a filter of runs can ask about: words of a run, and its numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from console.text.status import SIGNS, state
from engine.runs.run import Run, RunOutcome, RunStatus
from models import cost
from models.catalog import Architecture, ModelSpec

COUNT_UNITS = {"": 1.0, "k": 1e3, "m": 1e6}
PERCENT_UNITS = {"": 1.0, "%": 1.0}
TIME_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True)
class Words:
    """A key that is compared with words."""

    look: Callable[[Run, float], tuple[str, ...]]
    """Of a run, at a time of the monotonic clock; one of them has to fit."""
    known: tuple[str, ...] = ()
    """All values that there are; empty where anything may stand there."""
    within: bool = False
    """Whether a value need only be a part of it."""


@dataclass(frozen=True, slots=True)
class Number:
    """A key that is compared with numbers."""

    look: Callable[[Run], float | None]
    """None where a run has no such number (yet): it fits no comparison."""
    units: dict[str, float] = field(default_factory=lambda: dict(COUNT_UNITS))
    """What may stand behind a number, and what it is worth."""


Key = Words | Number


@functools.lru_cache(maxsize=1024)
def num_parameters(model: ModelSpec) -> int:
    """Of a network; a table of a thousand runs asks at every keystroke."""
    return cost.num_parameters(model)


KEYS: dict[str, Key] = {
    "arch": Words(lambda run, _now: (run.spec.model.architecture.value,), tuple(Architecture)),
    "status": Words(lambda run, now: (state(run, now), run.status.value), (*SIGNS, RunStatus.FINISHED.value)),
    "outcome": Words(lambda run, _now: ("none" if run.outcome is None else run.outcome.value,), (*RunOutcome, "none")),
    "exp": Words(lambda run, _now: (run.experiment,)),
    "name": Words(lambda run, _now: (run.name,)),
    "tag": Words(lambda run, _now: run.tags),
    "note": Words(lambda run, _now: (run.notes,) if run.notes else (), within=True),
    "star": Words(lambda run, _now: ("yes" if run.starred else "no",), ("yes", "no")),
    "data": Words(lambda run, _now: (run.spec.data.name,)),
    "recipe": Words(lambda run, _now: (run.spec.recipe.name,)),
    "device": Words(lambda run, _now: (run.device or "",)),
    "depth": Number(lambda run: run.spec.model.depth),
    "width": Number(lambda run: run.spec.model.width),
    "seed": Number(lambda run: run.spec.seed),
    "epochs": Number(lambda run: run.epoch),
    "test-error": Number(lambda run: run.test_error_percent, PERCENT_UNITS),
    "train-error": Number(lambda run: run.train_error_percent, PERCENT_UNITS),
    "test-loss": Number(lambda run: run.test_loss),
    "train-loss": Number(lambda run: run.train_loss),
    "parameters": Number(lambda run: num_parameters(run.spec.model)),
    "batch": Number(lambda run: run.spec.recipe.batch_size),
    "lr": Number(lambda run: run.spec.recipe.learning_rate),
    "time": Number(lambda run: run.seconds, TIME_UNITS),
}
"""By the word that stands before `:` or a comparison."""
