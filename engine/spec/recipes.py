"""How to train: named recipes, every field of which a user may override."""

from __future__ import annotations

import difflib
import math
from enum import StrEnum
from typing import Any

import msgspec

from engine.spec.precision import Precision

MAX_COUNT = 10**9
"""No run has more epochs, nor a batch more images; their product is a number that a database holds."""


class Schedule(StrEnum):
    """How the learning rate moves over a run."""

    STEP = "step"
    CONSTANT = "constant"
    ONE_CYCLE = "one-cycle"


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one network is trained; the defaults are those of He et al. 2015, section 4.2."""

    name: str = "reference"
    """The recipe it started from, or `custom`."""
    epochs: int = 164
    """Passes over the training set."""
    batch_size: int = 128
    """Images an update; the last batch of an epoch may be smaller and is trained on."""
    learning_rate: float = 0.1
    """Base rate; the peak of a one-cycle schedule."""
    schedule: Schedule = Schedule.STEP
    """How the rate moves."""
    drops: tuple[float, ...] = (0.5, 0.75)
    """Fractions of the run at which a step schedule falls to a tenth."""
    warmup_rate: float | None = None
    """Constant rate of the first `warmup_steps` updates; None starts on the schedule (the paper's 110 layers: 0.01)."""
    warmup_steps: int = 400
    """Updates at the warm-up rate; without effect where there is none."""
    momentum: float = 0.9
    """Of stochastic gradient descent, without Nesterov's correction."""
    weight_decay: float = 1e-4
    """On every parameter, as in the sources."""
    augment: bool = True
    """Random crop with 4 pixels of zero padding, and horizontal flip."""
    precision: Precision = Precision.AUTO
    """`fp32` computes what the sources compute; `auto` is the fastest that the device does natively."""
    deterministic: bool = False
    """Whether a GPU has to repeat itself to the last bit, at some cost; the CPU always does."""
    checkpoint_activations: bool = False
    """Whether a block's activations are computed again in the backward pass rather than kept: less memory, more time,
    the same numbers."""

    def __post_init__(self) -> None:
        for name, smallest in (("epochs", 1), ("batch_size", 1), ("warmup_steps", 0)):
            value = getattr(self, name)
            if value < smallest:
                raise ValueError(f"{name} must be at least {smallest}, got {value}")
            if value > MAX_COUNT:
                raise ValueError(f"{name} must be at most {MAX_COUNT}, got {value}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be a positive number, got {self.learning_rate}")
        if self.warmup_rate is not None and not (math.isfinite(self.warmup_rate) and self.warmup_rate > 0):
            raise ValueError(f"warmup_rate must be a positive number, or left out for none, got {self.warmup_rate}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {self.momentum}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay must be at least 0, got {self.weight_decay}")
        if list(self.drops) != sorted(self.drops) or not all(0 < drop < 1 for drop in self.drops):
            raise ValueError(f"drops must be rising fractions between 0 and 1, got {list(self.drops)}")


RECIPES: dict[str, Recipe] = {
    "reference": Recipe(),
    "constant": Recipe(name="constant", schedule=Schedule.CONSTANT),
    "quick": Recipe(name="quick", epochs=30, schedule=Schedule.ONE_CYCLE),
}
"""`reference` is the paper's; `constant` the report's command line (one rate, no schedule); `quick` a first look."""


def recipe(name: str, **overrides: Any) -> Recipe:
    """A named recipe with some of its fields replaced; an override of None leaves the field as it is.

    Raises:
        ValueError: there is no such recipe, or a value makes no sense; the text names the value and the remedy.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"recipe {name!r} is not known: there are {', '.join(RECIPES)}{hint}")
    given = {field: value for field, value in overrides.items() if value is not None}
    words: type[StrEnum]
    for field, words in (("schedule", Schedule), ("precision", Precision)):
        if field in given:
            try:
                given[field] = words(given[field])
            except ValueError:
                raise ValueError(f"{field} must be one of {', '.join(words)}, got {given[field]!r}") from None
    return msgspec.structs.replace(RECIPES[name], **given)
