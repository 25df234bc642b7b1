"""How curves are told apart and how a chart of them is drawn, as plain values: imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from console.charts.metrics import MARKERS, Axis
from engine.runs.run import Run
from models import catalog

COLOURS_ON_DARK = (75, 208, 78, 213, 227, 203, 45, 250)
COLOURS_ON_LIGHT = (25, 166, 28, 162, 94, 124, 30, 240)
HEAT_ON_DARK = (63, 69, 75, 80, 114, 185, 215, 203)
HEAT_ON_LIGHT = (19, 25, 31, 30, 64, 136, 166, 124)
"""From cold to warm, for the smallest numbers to the largest."""
COLOURS_OF_A_COMMAND = ("blue", "red", "green", "magenta", "cyan", "yellow", "bright_blue", "bright_red")
"""Names, which every terminal theme sets to colours that it can show."""
SMOOTHINGS = (0.0, 0.6, 0.9)
MOST_CURVES = len(COLOURS_ON_DARK)


@dataclass(frozen=True, slots=True)
class Look:
    """How a run's curve is told from others, in the chart and in a table beside it."""

    marker: str
    colour: int | str


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a chart is drawn."""

    axis: Axis = Axis.EPOCH
    log_y: bool = False
    smoothing: float = 0.0
    """Weight of the past in the moving average, 0 for none; the raw curve stays visible behind it."""
    window: tuple[float, float] | None = None
    """The part of the x axis that is shown; None shows all."""

    def words(self, x_label: str | None = None) -> str:
        """What a reader of the chart must know of it, with another axis to the right where one is named."""
        parts = ["log y"] if self.log_y else []
        parts.append(x_label or self.axis.value)
        if self.smoothing:
            parts.append(f"smooth {self.smoothing:g}")
        if self.window is not None:
            parts.append(f"{self.window[0]:.4g} to {self.window[1]:.4g}")
        return " · ".join(parts)

    def with_other_scale(self) -> Options:
        """Logarithmic instead of linear, or the other way round."""
        return msgspec.structs.replace(self, log_y=not self.log_y)

    def with_next_axis(self) -> Options:
        """The next thing to the right, all of it, since a part of one axis means nothing on another."""
        axes = list(Axis)
        return msgspec.structs.replace(self, axis=axes[(axes.index(self.axis) + 1) % len(axes)], window=None)

    def with_next_smoothing(self) -> Options:
        """More of it, or none after the most."""
        return msgspec.structs.replace(
            self, smoothing=next((weight for weight in SMOOTHINGS if weight > self.smoothing), 0.0)
        )

    def with_window(self, window: tuple[float, float] | None) -> Options:
        """A part of the x axis, or None for all."""
        return msgspec.structs.replace(self, window=window)


def looks(runs: Sequence[Run], colours: Sequence[int | str]) -> dict[str, Look]:
    """A marker by architecture and, among its depths here, by depth; a colour by place, which tells seeds apart."""
    depths: dict[str, list[str]] = {}
    found: dict[str, Look] = {}
    for index, run in enumerate(runs):
        model = run.spec.model
        seen = depths.setdefault(model.architecture, [])
        if (depth := catalog.label(model)) not in seen:
            seen.append(depth)
        markers = MARKERS[model.architecture]
        found[run.id] = Look(markers[seen.index(depth) % len(markers)], colours[index % len(colours)])
    return found
