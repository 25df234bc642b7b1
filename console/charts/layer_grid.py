"""Layer metrics by epoch: the quantities recorded and a grid of one of them; imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from engine.runs.run import GradientRow

OF_ALL_RUNS, OF_THIS_RUN = "all runs", "this run"
"""Scope of a map's scale: the whole experiment or a single run."""


class Quantity(Enum):
    """A number of a layer: its field in a GradientRow, its name for `plot --metric`, its title."""

    GRADIENTS = "gradient_norm", "gradients", "Gradient norm"
    WEIGHTS = "weight_norm", "weight-norms", "Weight norm"
    UPDATES = "update_ratio", "update-ratios", "Update over weight"

    def __init__(self, field: str, metric: str, words: str) -> None:
        self.field = field
        self.metric = metric
        self.words = words

    def next(self) -> Quantity:
        """Next quantity, wrapping around."""
        all_of_them = list(Quantity)
        return all_of_them[(all_of_them.index(self) + 1) % len(all_of_them)]


LAYER_METRICS = {quantity.metric: quantity for quantity in Quantity}


@dataclass(frozen=True, slots=True)
class LayerGrid:
    """One quantity of every layer in every epoch."""

    epochs: list[int]
    """Consecutive, 0 at initialisation; an epoch without a record has a row of None."""
    layers: list[str]
    """Names from stem to head."""
    values: list[list[float | None]]
    """[epochs][layers]; infinity if a value was null or not finite, None if nothing was recorded."""


def layer_grid(rows: Sequence[GradientRow], quantity: Quantity) -> LayerGrid:
    """Arrange recorded rows in a grid; epochs missing in between become rows of None."""
    if not rows:
        return LayerGrid([], [], [])
    num_layers = max(row.position for row in rows) + 1
    names = [""] * num_layers
    last = max(row.epoch for row in rows)
    first = min(row.epoch for row in rows)
    values: list[list[float | None]] = [[None] * num_layers for _ in range(last - first + 1)]
    for row in rows:
        names[row.position] = row.layer
        value: float | None = getattr(row, quantity.field)
        values[row.epoch - first][row.position] = math.inf if value is None else value
    return LayerGrid(list(range(first, last + 1)), names, values)


def epoch_name(epoch: int) -> str:
    """Label of an epoch's row."""
    return "init" if epoch == 0 else str(epoch)


def reading(rows: Sequence[GradientRow], epoch: int, position: int) -> str:
    """Describe the norms of one layer in one epoch."""
    for row in rows:
        if row.epoch == epoch and row.position == position:
            when = epoch_name(epoch) if epoch == 0 else f"epoch {epoch}"
            gradient, weight = figure(row.gradient_norm), figure(row.weight_norm)
            return f"{when} {row.layer}: gradient {gradient}, weight {weight}, ratio {figure(row.update_ratio)}"
    return f"epoch {epoch}: nothing recorded"


def figure(value: float | None) -> str:
    """Format a norm in three digits: 3.21, 4.5e-12."""
    if value is None or not math.isfinite(value):
        return "not finite"
    if value == 0 or 1e-3 <= value < 1e4:
        return f"{value:.3g}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"
