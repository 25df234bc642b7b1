"""Keys of the run filter, textual and numeric."""

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
    """A key with text values."""

    look: Callable[[Run, float], tuple[str, ...]]
    """Values for a run at a monotonic time; the filter needs one of them to match."""
    known: tuple[str, ...] = ()
    """All valid values; empty if any text is valid."""
    within: bool = False
    """Whether a substring matches."""


@dataclass(frozen=True, slots=True)
class Number:
    """A key with numeric values."""

    look: Callable[[Run], float | None]
    """Value for a run; None, which matches no comparison, if it has none (yet)."""
    units: dict[str, float] = field(default_factory=lambda: dict(COUNT_UNITS))
    """Unit suffixes and their factors."""


Key = Words | Number


@functools.lru_cache(maxsize=1024)
def num_parameters(model: ModelSpec) -> int:
    """Parameter count of a network, cached: a table of a thousand runs needs it at every keystroke."""
    return cost.num_parameters(model)


def families(run: Run, _now: float) -> tuple[str, ...]:
    """Architecture of a run, and `resnet` or `plain` for all that have shortcuts or none, whatever the family."""
    model = run.spec.model
    with_or_without = Architecture.RESNET if model.design.is_residual else Architecture.PLAIN
    return (model.architecture.value, with_or_without.value)


KEYS: dict[str, Key] = {
    "arch": Words(families, tuple(Architecture)),
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
    "validation-error": Number(lambda run: run.validation_error_percent, PERCENT_UNITS),
    "train-error": Number(lambda run: run.train_error_percent, PERCENT_UNITS),
    "test-loss": Number(lambda run: run.test_loss),
    "train-loss": Number(lambda run: run.train_loss),
    "parameters": Number(lambda run: num_parameters(run.spec.model)),
    "batch": Number(lambda run: run.spec.recipe.batch_size),
    "lr": Number(lambda run: run.spec.recipe.learning_rate),
    "time": Number(lambda run: run.taken_seconds or None, TIME_UNITS),
}
"""Keys by name, as typed before `:` or a comparison."""
