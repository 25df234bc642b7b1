"""Contents of figures: panels of lines, and heat maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from console.charts.styles import Look

Numbers = Sequence[float]


@dataclass(frozen=True, slots=True)
class Line:
    """A curve; non-finite values are gaps."""

    label: str
    """Legend label; repeated labels appear once, empty ones never."""
    x: Numbers
    y: Numbers
    look: Look
    spread: Numbers | None = None
    """Half the height of the band or error bars; None for neither."""
    bars: bool = False
    """Show the spread as error bars, and mark every point."""
    thin: bool = False
    """Draw behind the others, as a run outside the mean."""
    cross: str | None = None
    """`x` or `+` for published points without a line; None for a curve."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A pair of axes with its lines."""

    title: str
    lines: Sequence[Line]
    x_label: str
    y_label: str
    log_x: bool = False
    log_y: bool = False
    """Request a logarithmic axis, used if all values are positive and span more than a decade."""
    whole_x: bool = False
    """Whether x takes only integers."""
    is_percent: bool = False
    """Whether y lies in 0..100, which the axis does not exceed."""
    chance: float | None = None
    """Value of a network that guesses, a labelled line if it lies near the data; None for no line."""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Values by row and column on a logarithmic scale; those not positive stay white."""

    title: str
    values: Sequence[Sequence[float]]
    """[rows, columns], first row at the top."""
    rows: Sequence[str]
    """One label for each row."""
    columns: Sequence[str]
    x_label: str
    y_label: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure as SVG and PNG."""

    svg: bytes
    png: bytes
