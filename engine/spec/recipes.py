"""Training recipes, named; users may override every field."""

from __future__ import annotations

import difflib
import math
from enum import StrEnum
from typing import Any

import msgspec

from engine.base.decoding import Real, Whole
from engine.spec.errors import InvalidField
from engine.spec.precision import Precision
from models.catalog import THREE_STAGE

MAX_COUNT = 10**9
"""Limit on epochs and on batch size; their product still fits SQLite's integers."""


class Schedule(StrEnum):
    """Learning-rate schedule of a run."""

    STEP = "step"
    CONSTANT = "constant"
    ONE_CYCLE = "one-cycle"
    COSINE = "cosine"


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hyperparameters of a run; the defaults are those of He et al. 2015, section 4.2."""

    name: str = "reference"
    """Name of the recipe it is based on, or `custom`."""
    epochs: Whole = 164
    """Passes over the training set."""
    batch_size: Whole = 128
    """Images per update; the last batch of an epoch may be smaller."""
    learning_rate: Real = 0.1
    """Base rate; the peak of a one-cycle schedule, the first rate of a cosine."""
    schedule: Schedule = Schedule.STEP
    """Shape of the learning rate over the run."""
    drops: tuple[Real, ...] = (0.5, 0.75)
    """Fractions of the run at which a step schedule drops."""
    drop_factor: Real = 0.1
    """Factor by which each drop multiplies the rate."""
    warmup_rate: Real | None = None
    """Constant rate of the first `warmup_steps` updates; None for no warm-up (0.01 for the paper's 110 layers)."""
    warmup_steps: Whole = 400
    """Updates at the warm-up rate; ignored without one."""
    momentum: Real = 0.9
    """SGD momentum, without Nesterov's correction."""
    weight_decay: Real = 1e-4
    """L2 penalty on every parameter, as in the papers."""
    augment: bool = True
    """Random crop with 4 pixels of zero padding, and horizontal flip."""
    precision: Precision = Precision.AUTO
    """`fp32` reproduces the papers; `auto` is the device's fastest native precision."""
    deterministic: bool = False
    """Whether results on a GPU must be bit-identical between runs, at some cost; on the CPU they always are."""
    checkpoint_activations: bool = False
    """Whether to recompute each block's activations in the backward pass: less memory, more time, same results."""

    def __post_init__(self) -> None:
        for name, smallest in (("epochs", 1), ("batch_size", 1), ("warmup_steps", 0)):
            value = getattr(self, name)
            if value < smallest:
                raise InvalidField(name, f"must be at least {smallest}, got {value}")
            if value > MAX_COUNT:
                raise InvalidField(name, f"must be at most {MAX_COUNT}, got {value}")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidField("learning_rate", f"must be a positive number, got {self.learning_rate}")
        if self.warmup_rate is not None and not 0 < self.warmup_rate < math.inf:
            problem = f"must be a positive number, or left out for none, got {self.warmup_rate}"
            raise InvalidField("warmup_rate", problem)
        if not 0 <= self.momentum < 1:
            raise InvalidField("momentum", f"must be at least 0 and below 1, got {self.momentum}")
        if not 0 <= self.weight_decay < math.inf:
            raise InvalidField("weight_decay", f"must be at least 0, got {self.weight_decay}")
        if not 0 < self.drop_factor < 1:
            raise InvalidField("drop_factor", f"must be between 0 and 1, got {self.drop_factor}")
        if list(self.drops) != sorted(self.drops) or not all(0 < drop < 1 for drop in self.drops):
            raise InvalidField("drops", f"must be rising fractions between 0 and 1, got {list(self.drops)}")


RECIPES: dict[str, Recipe] = {
    "reference": Recipe(),
    "constant": Recipe(name="constant", schedule=Schedule.CONSTANT),
    "quick": Recipe(name="quick", epochs=30, schedule=Schedule.ONE_CYCLE),
    "report": Recipe(name="report", schedule=Schedule.CONSTANT, precision=Precision.FP32),
}
"""`reference` follows the paper, `constant` is the same with one learning rate, `quick` gives a first impression,
`report` follows the report; the epochs, batch size and rate it does not state are the paper's."""

IMPLIED: dict[str, dict[str, Any]] = {
    "report": {
        "conv_bias": True,
        "projection_bias": True,
        "mean": (0.4914, 0.4824, 0.4467),
        "std": (0.2471, 0.2435, 0.2616),
    }
}
"""Fields of network and data that a recipe sets unless an option does: those that its source states."""


def implied(recipe: str, architecture: str) -> dict[str, Any]:
    """Fields of network and data that a recipe sets for an architecture unless an option does."""
    fields = dict(IMPLIED.get(recipe, {}))
    if architecture in THREE_STAGE:
        # Their shortcuts have no parameters.
        fields.pop("projection_bias", None)
    return fields


SHORT_NAMES = {"learning_rate": "lr", "batch_size": "batch"}
"""Names of fields in tables."""


def recipe_label(recipe: Recipe) -> str:
    """Name of a recipe with every field that differs from it: "reference, lr 0.01, batch 64"."""
    named = RECIPES.get(recipe.name, Recipe(name=recipe.name))
    changed = (name for name in recipe.__struct_fields__ if getattr(recipe, name) != getattr(named, name))
    return ", ".join([recipe.name, *(field_text(name, getattr(recipe, name)) for name in changed)])


def field_text(name: str, value: Any) -> str:
    """Name and value of a recipe's field, as tables show it."""
    shown = SHORT_NAMES.get(name, name.replace("_", " "))
    match value:
        case bool():
            return shown if value else f"no {shown}"
        case None:
            return f"no {shown}"
        case tuple():
            return f"{shown} {','.join(f'{one:g}' for one in value) or 'none'}"
        case float():
            return f"{shown} {value:.10g}"
    return f"{shown} {value}"


def recipe(name: str, **overrides: Any) -> Recipe:
    """Return a named recipe with some fields replaced; None keeps a field as it is.

    Raises:
        ValueError: the recipe is unknown or a value is invalid.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InvalidField("recipe", f"{name!r} is not known: there are {', '.join(RECIPES)}{hint}")
    given = {field: value for field, value in overrides.items() if value is not None}
    words: type[StrEnum]
    for field, words in (("schedule", Schedule), ("precision", Precision)):
        if field in given:
            try:
                given[field] = words(given[field])
            except ValueError:
                problem = f"must be one of {', '.join(words)}, got {given[field]!r}"
                raise InvalidField(field, problem) from None
    return msgspec.structs.replace(RECIPES[name], **given)
