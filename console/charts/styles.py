"""Markers, colours and drawing options of charts; imports nothing heavy."""

from __future__ import annotations

import bisect
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from console.charts.metrics import Axis
from engine.base.decoding import Real
from engine.runs.run import Run
from models.catalog import Architecture, ModelSpec

DEPTHS_BELOW = (11, 17, 29, 41, 48, 80, 131, 301)
"""Depths at which the hue changes, so that 8, 14, 20, 32, 44, 56, 110, 164 and 1202 layers differ, as do 18, 34, 50,
101 and 152."""
VARIANTS = (2, 1, 0, 1, 2, 1, 2, 0, 1)
"""Kind of marker for each range of depths, so that 20, 56 and 110 layers, or 20, 32 and 44, differ without colour."""
COLOURS_ON_DARK = (141, 69, 45, 42, 112, 227, 214, 203, 213)
COLOURS_ON_LIGHT = (91, 20, 32, 30, 28, 100, 166, 160, 162)
"""From shallow to deep, one for each range of depths."""
HEAT_ON_DARK = (57, 63, 69, 75, 81, 80, 79, 78, 114, 150, 149, 185, 221, 215, 209, 203, 197)
HEAT_ON_LIGHT = (17, 18, 19, 26, 25, 32, 31, 30, 29, 28, 64, 100, 136, 172, 166, 160, 124, 88)
"""From cold to warm, smallest values to largest."""
TERMINAL_COLOURS = (
    "bright_blue", "blue", "cyan", "green", "yellow", "magenta", "red", "bright_magenta", "bright_red",
)  # fmt: skip
"""The same from the named colours, which every terminal theme defines legibly."""
RESIDUAL_COLOUR, PLAIN_COLOUR = 1, 6
"""Colours of curves that span all depths."""
MARKERS = {
    Architecture.RESNET: "■□▪",
    Architecture.PLAIN: "▲△▴",
    Architecture.PREACT: "◆◇◈",
    Architecture.HE_RESNET: "●○•",
    Architecture.HE_PLAIN: "▼▽▾",
}
"""Markers that tell the architecture without colour: filled, hollow and small."""
SMOOTHINGS = (0.0, 0.6, 0.9)


@dataclass(frozen=True, slots=True)
class Look:
    """How a network is drawn, in charts and in tables beside them."""

    marker: str
    colour: int | str
    dashed: bool = False
    """Whether its line is dashed: that of a network without shortcuts."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Drawing options of a chart."""

    axis: Axis = Axis.EPOCH
    log_y: bool = False
    smoothing: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0
    """Weight of the past in the moving average, 0 for none; the raw curve stays visible behind."""
    window: tuple[Real, Real] | None = None
    """Visible part of the x axis; None shows all."""
    single_seeds: bool = False
    """Draw every run instead of each network's mean over its seeds."""
    growing: bool = False
    """End the x axis at the data instead of at the last planned epoch."""

    def summary(self, x_label: str | None = None) -> str:
        """Summarise the options for the chart's title; `x_label` overrides the name of the axis."""
        parts = ["log y"] if self.log_y else []
        parts.append(x_label or self.axis.value)
        if self.smoothing:
            parts.append(f"smooth {self.smoothing:g}")
        if self.single_seeds:
            parts.append("single seeds")
        if self.window is not None:
            parts.append(f"{self.window[0]:.10g} to {self.window[1]:.10g}")
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

    def with_other_seeds(self) -> Options:
        """Toggle between means over seeds and single seeds."""
        return msgspec.structs.replace(self, single_seeds=not self.single_seeds)

    def with_other_end(self) -> Options:
        """Toggle between an x axis as long as planned and one that grows with the data."""
        return msgspec.structs.replace(self, growing=not self.growing, window=None)

    def with_window(self, window: tuple[Real, Real] | None) -> Options:
        """Show a part of the x axis, or all of it with None."""
        return msgspec.structs.replace(self, window=window)


def depth_rank(depth: int) -> int:
    """Index of a depth's colour, ascending from 0 for the shallowest; independent of what else is drawn."""
    return bisect.bisect(DEPTHS_BELOW, depth)


def look_of(model: ModelSpec, colours: Sequence[int | str], *, variant: int = 0) -> Look:
    """Look of a network: colour by depth, shape of the marker and line by architecture.

    Args:
        model: The network.
        colours: Colours from shallow to deep.
        variant: Index among networks that would otherwise look alike.
    """
    markers, rank = MARKERS[model.architecture], depth_rank(model.depth)
    colour = colours[min(rank, len(colours) - 1)]
    return Look(markers[(VARIANTS[rank] + variant) % len(markers)], colour, dashed=not model.design.is_residual)


def family_look(model: ModelSpec, colours: Sequence[int | str]) -> Look:
    """Look of a curve over all depths of a network's family."""
    colour = colours[min(RESIDUAL_COLOUR if model.design.is_residual else PLAIN_COLOUR, len(colours) - 1)]
    return Look(MARKERS[model.architecture][0], colour, dashed=not model.design.is_residual)


def looks(runs: Iterable[Run], colours: Sequence[int | str]) -> dict[str, Look]:
    """Look of each run by id: that of its network, so all its seeds look alike.

    Networks with the same look, such as two widths of one architecture and depth, differ in the kind of marker.
    """
    alike: dict[Look, list[Hashable]] = {}
    found: dict[str, Look] = {}
    for run in sorted(runs, key=lambda run: (run.position, run.id)):
        model = run.spec.model
        networks = alike.setdefault(look_of(model, colours), [])
        if (network := network_of(run)) not in networks:
            networks.append(network)
        found[run.id] = look_of(model, colours, variant=networks.index(network))
    return found


def network_of(run: Run) -> Hashable:
    """Key of a run's network and training, which its seeds share."""
    return run.spec.model, run.spec.data, run.spec.recipe
