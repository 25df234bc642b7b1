"""What a chart shows: curves with their looks, and reference lines."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from rich.cells import cell_len

from console.charts.curves import Numbers

COLOURS = {
    "black": 0, "red": 1, "green": 2, "yellow": 3, "blue": 4, "magenta": 5, "cyan": 6, "white": 7,
    "bright_black": 8, "bright_red": 9, "bright_green": 10, "bright_yellow": 11, "bright_blue": 12,
    "bright_magenta": 13, "bright_cyan": 14, "bright_white": 15,
}  # fmt: skip
"""Names of the sixteen colours that every terminal theme defines."""


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """A curve with its label, marker and colour."""

    label: str
    """Legend label; "" leaves the curve out of the legend."""
    x: Numbers = field(repr=False)
    """[N], any unit; sorted when drawn. Non-finite values are gaps."""
    y: Numbers = field(repr=False)
    """[N], any unit."""
    marker: str = "●"
    """One printable cell, drawn on every point if they are few, else at the end and at intervals."""
    colour: int | str | None = None
    """0 to 255, a name in COLOURS, or None for the terminal's own."""
    faint: bool = False
    """Draw below the others, as dim unmarked dots, as raw values behind a smoothed curve."""
    dashed: bool = False
    """Draw its line dashed."""
    low: Numbers | None = field(default=None, repr=False)
    """[N], lower edge of a band of dim dots around the curve; None draws no band."""
    high: Numbers | None = field(default=None, repr=False)
    """[N], upper edge."""
    bars: bool = False
    """Draw error bars from low to high instead of the band."""
    belongs_to: str = ""
    """Label of the curve it lies behind, with which it is hidden."""

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"x and y must be equally long, got {len(self.x)} and {len(self.y)}")
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high must be given together")
        if self.low is not None and self.high is not None and not len(self.low) == len(self.high) == len(self.x):
            raise ValueError(f"low and high must be as long as x, got {len(self.low)}, {len(self.high)}, {len(self.x)}")
        if len(self.marker) != 1 or not self.marker.isprintable() or cell_len(self.marker) != 1 or self.marker == " ":
            raise ValueError(f"marker must be one visible character of one cell, got {self.marker!r}")
        if isinstance(self.colour, str) and self.colour not in COLOURS:
            raise ValueError(f"colour must be one of {', '.join(COLOURS)}, got {self.colour!r}")
        if isinstance(self.colour, int) and not 0 <= self.colour <= 255:
            raise ValueError(f"colour must be in 0..255, got {self.colour}")

    @property
    def colour_index(self) -> int | None:
        return COLOURS[self.colour] if isinstance(self.colour, str) else self.colour

    def is_hidden(self, hidden: Container[str]) -> bool:
        """Whether it is among the labels switched off, or lies behind one of them."""
        return any(label and label in hidden for label in (self.label, self.belongs_to))


@dataclass(frozen=True, slots=True)
class Reference:
    """A faint line at a value to compare curves with; it never stretches the x axis, and the y axis only a little."""

    label: str
    x: float | None = None
    """Where a vertical line stands; None for a horizontal one."""
    y: float | None = None
    """Where a horizontal line lies, in the unit of the curves; None for a vertical one."""

    def __post_init__(self) -> None:
        if (self.x is None) == (self.y is None):
            raise ValueError(f"a reference line has either x or y, got {self.x} and {self.y}")
