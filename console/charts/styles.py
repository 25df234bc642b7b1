"""Markers, colours and drawing options of charts; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from console.charts.metrics import MARKERS, Axis
from engine.base.decoding import Real
from engine.runs.run import Run
from models import catalog

COLOURS_ON_DARK = (75, 208, 78, 213, 227, 203, 45, 250)
COLOURS_ON_LIGHT = (25, 166, 28, 162, 94, 124, 30, 240)
HEAT_ON_DARK = (57, 63, 69, 75, 81, 80, 79, 78, 114, 150, 149, 185, 221, 215, 209, 203, 197)
HEAT_ON_LIGHT = (17, 18, 19, 26, 25, 32, 31, 30, 29, 28, 64, 100, 136, 172, 166, 160, 124, 88)
"""From cold to warm, smallest values to largest."""
TERMINAL_COLOURS = ("blue", "red", "green", "magenta", "cyan", "yellow", "bright_blue", "bright_red")
"""Named colours, which every terminal theme defines legibly."""
SMOOTHINGS = (0.0, 0.6, 0.9)
MOST_CURVES = len(COLOURS_ON_DARK)


@dataclass(frozen=True, slots=True)
class Look:
    """Marker and colour of a run, in the chart and in tables beside it."""

    marker: str
    colour: int | str


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Drawing options of a chart."""

    axis: Axis = Axis.EPOCH
    log_y: bool = False
    smoothing: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0
    """Weight of the past in the moving average, 0 for none; the raw curve stays visible behind."""
    window: tuple[Real, Real] | None = None
    """Visible part of the x axis; None shows all."""

    def summary(self, x_label: str | None = None) -> str:
        """Summarise the options for the chart's title; `x_label` overrides the name of the axis."""
        parts = ["log y"] if self.log_y else []
        parts.append(x_label or self.axis.value)
        if self.smoothing:
            parts.append(f"smooth {self.smoothing:g}")
        if self.window is not None:
            parts.append(f"{self.window[0]:.4g} to {self.window[1]:.4g}")
        return " · ".join(parts)

    def with_other_scale(self) -> Options:
        """Toggle between linear and logarithmic y axis."""
        return msgspec.structs.replace(self, log_y=not self.log_y)

    def with_next_axis(self) -> Options:
        """Switch to the next x axis and drop the window, whose limits mean nothing on another axis."""
        axes = list(Axis)
        return msgspec.structs.replace(self, axis=axes[(axes.index(self.axis) + 1) % len(axes)], window=None)

    def with_next_smoothing(self) -> Options:
        """Increase the smoothing, or turn it off after the strongest."""
        return msgspec.structs.replace(
            self, smoothing=next((weight for weight in SMOOTHINGS if weight > self.smoothing), 0.0)
        )

    def with_window(self, window: tuple[Real, Real] | None) -> Options:
        """Show a part of the x axis, or all of it with None."""
        return msgspec.structs.replace(self, window=window)


def looks(runs: Sequence[Run], colours: Sequence[int | str]) -> dict[str, Look]:
    """Assign each run a marker by architecture and depth, and a colour by position, which tells seeds apart."""
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
