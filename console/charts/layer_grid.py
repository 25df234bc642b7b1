"""Layer metrics by epoch: the quantities recorded and a grid of one of them; imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from engine.runs.journal import Gradients

OF_ALL_RUNS, OF_THIS_RUN = "all runs", "this run"
"""Scope of a map's scale: the whole experiment or a single run."""


class Quantity(Enum):
    """A number of a layer: its field in LayerGradients, its name for `plot --metric`, its title and its unit."""

    GRADIENTS = "gradient_norm", "gradients", "Gradient norm", "L2, nats"
    WEIGHTS = "weight_norm", "weight-norms", "Weight norm", "L2"
    UPDATES = "update_ratio", "update-ratios", "Update over weight", "ratio of L2 norms"

    def __init__(self, field: str, metric: str, title: str, unit: str) -> None:
        self.field = field
        self.metric = metric
        self.title = title
        self.unit = unit

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


def layer_grid(rows: Sequence[Gradients], quantity: Quantity) -> LayerGrid:
    """Arrange recorded rows in a grid; epochs missing in between become rows of None."""
    if not rows:
        return LayerGrid([], [], [])
    names = [layer.name for layer in max((row.layers for row in rows), key=len)]
    epochs = range(min(row.epoch for row in rows), max(row.epoch for row in rows) + 1)
    values: list[list[float | None]] = [[None] * len(names) for _ in epochs]
    for row in rows:
        norms = [getattr(layer, quantity.field) for layer in row.layers]
        values[row.epoch - epochs[0]][: len(norms)] = [math.inf if norm is None else norm for norm in norms]
    return LayerGrid([*epochs], names, values)


def epoch_name(epoch: int) -> str:
    """Label of an epoch's row."""
    return "init" if epoch == 0 else str(epoch)


def reading(rows: Sequence[Gradients], epoch: int, position: int, only: Quantity | None = None) -> str:
    """Describe the norms of one layer in one epoch, or only one of them."""
    layers = next((row.layers for row in rows if row.epoch == epoch), [])
    if position >= len(layers):
        return f"epoch {epoch}: nothing recorded"
    layer = layers[position]
    when = epoch_name(epoch) if epoch == 0 else f"epoch {epoch}"
    if only is not None:
        return f"{when} {layer.name}: {figure(getattr(layer, only.field))}"
    gradient, weight = figure(layer.gradient_norm), figure(layer.weight_norm)
    return f"{when} {layer.name}: gradient {gradient}, weight {weight}, ratio {figure(layer.update_ratio)}"


def figure(value: float | None) -> str:
    """Format a norm in three digits: 3.21, 4.5e-12."""
    if value is None or not math.isfinite(value):
        return "not finite"
    if value == 0 or 1e-3 <= value < 1e4:
        return f"{value:.3g}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"
