"""Figures for paper: curves and maps as SVG and PNG. The only importer of matplotlib, which loads when one is drawn.

Curves differ in line style and marker as well as in colour, and the colours differ in lightness, so that figures can
be read in greyscale.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.color import Color

from console.charts.styles import COLOURS_ON_LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Numbers = Sequence[float]

COLOURS = tuple(Color.from_ansi(colour).get_truecolor().hex for colour in COLOURS_ON_LIGHT)
"""The console's colours on a light background, from shallow to deep."""
MARKERS = "vsoPX^D<>"
"""One for each colour, which tells depths apart in grey."""
DASHES = {"solid": "-", "dashed": (0, (5, 2)), "dotted": (0, (1, 1.5))}
DOTS_PER_INCH = 150
PANEL_INCHES = (3.6, 2.9)
SINGLE_INCHES = (7.6, 4.3)
LEGEND_INCHES = 2.4
"""Width of a legend entry."""
TITLE_INCHES, NOTE_INCHES = 0.3, 0.2
NOTE_LINE_INCHES = 0.14
PAD_INCHES = 0.07
"""Space around every panel and its labels."""
LEAST_WIDTH_INCHES = 5.0
"""Height of a title."""
MOST_TICKS = 8
MOST_DECADES_IN_FULL = 3
"""Decades up to which a logarithmic axis is labelled at 1, 2 and 5."""
DECADES_OF_A_LOG_AXIS = 1.0
"""Span below which an axis stays linear: a logarithmic one would have at most one labelled tick."""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve; non-finite values are gaps."""

    label: str
    """Legend label; repeated labels appear once, empty ones never."""
    x: Numbers
    y: Numbers
    look: int
    """Index of the colour and, shifted after each round, of the marker."""
    dash: str = "solid"
    """A key of DASHES; anything but solid has hollow markers."""
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
    from_zero: bool = False
    """Whether the y axis starts at zero."""


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


def draw_panels(panels: Sequence[Panel], *, title: str, note: str, columns: int = 1, share_y: bool = False) -> Drawn:
    """Draw panels side by side with a common legend.

    Args:
        panels: Left to right, then down.
        title: Above all.
        note: Below the title: what was measured on what, how often.
        columns: Panels a row.
        share_y: One vertical axis for the panels of a row.
    """
    rows = math.ceil(len(panels) / columns)
    width = max(PANEL_INCHES[0] * columns, LEAST_WIDTH_INCHES)
    size = SINGLE_INCHES if len(panels) == 1 else (width, PANEL_INCHES[1] * rows + 0.6)
    figure = _new_figure(size, title, note)
    grid = figure.subplots(rows, columns, squeeze=False, sharey="row" if share_y else False)
    named: dict[str, Any] = {}
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.set_visible(False)
            continue
        for label, handle in _draw_panel(axes, panels[index]):
            named.setdefault(label, handle)
        if share_y and index % columns:
            axes.set_ylabel("")
    for row in range(rows):
        _begin_at_zero(grid[row], panels[row * columns : (row + 1) * columns], share_y)
    if named:
        is_single = len(panels) == 1
        figure.legend(
            list(named.values()),
            list(map(_plain, named)),
            loc="outside right center" if is_single else "outside lower left",
            ncols=1 if is_single else max(1, min(len(named), int(size[0] / LEGEND_INCHES))),
            frameon=False,
            handlelength=3.4,
        )
    return _finish(figure)


def draw_heat_maps(maps: Sequence[HeatMap], *, title: str, note: str, scale: str) -> Drawn:
    """Draw heat maps in two columns on a common scale of lightness, dark for the smallest; `scale` labels it."""
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FixedLocator

    columns = min(2, len(maps))
    rows = math.ceil(len(maps) / columns)
    figure = _new_figure((4.6 * columns + 0.6, 2.5 * rows + 0.7), title, note)
    grid = figure.subplots(rows, columns, squeeze=False)
    arrays = [np.asarray(one.values, np.float64) for one in maps]
    positive = [array[np.isfinite(array) & (array > 0)] for array in arrays]
    shown = np.concatenate(positive) if positive else np.empty(0)
    low, high = (float(shown.min()), float(shown.max())) if len(shown) else (0.1, 1.0)
    norm = LogNorm(low, high if high > low else low * 10)
    image = None
    for index, axes in enumerate(grid.flat):
        if index >= len(maps):
            axes.set_visible(False)
            continue
        one, array = maps[index], arrays[index]
        visible = np.ma.masked_where(~(np.isfinite(array) & (array > 0)), array)
        # cividis grows lighter throughout, also in grey and for colour-blind readers.
        image = axes.imshow(visible, norm=norm, cmap="cividis", aspect="auto", interpolation="nearest")
        axes.grid(visible=False)
        axes.set_title(_plain(one.title), loc="left")
        axes.set_xlabel(one.x_label)
        axes.set_ylabel(one.y_label)
        for axis, labels in ((axes.xaxis, one.columns), (axes.yaxis, one.rows)):
            places = _spread_out(len(labels))
            axis.set_major_locator(FixedLocator(places))
            axis.set_ticklabels([labels[place] for place in places])
    if image is not None:
        figure.colorbar(image, ax=list(grid.flat), label=scale, shrink=0.9)
    return _finish(figure)


def _new_figure(size: tuple[float, float], title: str, note: str) -> Figure:
    """Create a figure with title and note, without pyplot, which looks for a display and keeps figures alive."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams.update(
        {
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.6,
            "image.composite_image": False,
            # Text as paths, so that every machine writes the same file whatever its fonts.
            "svg.fonttype": "path",
            "svg.hashsalt": "depthscope",
        }
    )
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH)
    top = 1 - 0.06 / size[1]
    figure.text(0.01, top, _plain(title), ha="left", va="top", fontsize=11, fontweight="bold")
    below = top - (TITLE_INCHES - 0.08) / size[1]
    written = figure.text(0.01, below, "", ha="left", va="top", fontsize=8, color="#444444")
    lines = _write_within(written, _plain(note), 0.98 * size[0] * DOTS_PER_INCH)
    # The legend outside the axes sits at the figure's edge, so title and note go above.
    taken = (TITLE_INCHES + NOTE_INCHES + (lines - 1) * NOTE_LINE_INCHES) / size[1]
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - taken), h_pad=PAD_INCHES, w_pad=PAD_INCHES)
    return figure


def _write_within(text: Text, content: str, width: float) -> int:
    """Wrap content into a text within a width in pixels; return the number of lines."""
    lines = [""]
    for word in content.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        text.set_text(longer)
        if lines[-1] and text.get_window_extent().width > width:
            lines.append(word)
        else:
            lines[-1] = longer
    text.set_text("\n".join(lines))
    return len(lines)


def _draw_panel(axes: Axes, panel: Panel) -> list[tuple[str, Any]]:
    """Draw one panel; return its legend entries."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    handles = [(line.label, _draw_line(axes, line)) for line in panel.lines]
    values = np.concatenate([np.asarray(line.y, np.float64) for line in panel.lines] or [np.empty(0)])
    finite = values[np.isfinite(values)]
    is_positive = bool(len(finite)) and float(finite.min()) > 0
    decades = math.log10(finite.max() / finite.min()) if is_positive else 0.0
    if panel.log_y and decades > DECADES_OF_A_LOG_AXIS:
        axes.set_yscale("log")
        if decades <= MOST_DECADES_IN_FULL:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
    ticks = sorted({float(x) for line in panel.lines if line.bars for x in line.x})
    if panel.log_x:
        axes.set_xscale("log")
    elif panel.whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if ticks and len(ticks) <= MOST_TICKS:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
    axes.set_axisbelow(True)
    axes.set_title(_plain(panel.title), loc="left")
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if not len(finite):
        axes.text(0.5, 0.5, "nothing measured yet", transform=axes.transAxes, ha="center", va="center")
    return [(label, handle) for label, handle in handles if label]


def _begin_at_zero(row: Sequence[Axes], panels: Sequence[Panel], share_y: bool) -> None:
    """Start the y axes of a row at zero where requested, with space above the highest value."""
    tops = [max((value for line in panel.lines for value in _reach(line)), default=1.0) for panel in panels]
    for axes, panel, top in zip(row, panels, tops, strict=False):
        if panel.from_zero:
            axes.set_ylim(0, 1.06 * (max(tops) if share_y else top) or 1.0)


def _reach(line: Line) -> list[float]:
    """Finite values of a line plus their spread."""
    values = np.asarray(line.y, np.float64)
    if line.spread is not None:
        values = values + np.nan_to_num(np.asarray(line.spread, np.float64))
    return [float(value) for value in values[np.isfinite(values)]]


def _draw_line(axes: Axes, line: Line) -> Any:
    x, y = np.asarray(line.x, np.float64), np.asarray(line.y, np.float64)
    colour = COLOURS[line.look % len(COLOURS)]
    style: dict[str, Any] = {
        "color": colour,
        "linestyle": "none" if line.cross else DASHES[line.dash],
        "linewidth": 0.9 if line.thin else 1.7,
        "marker": line.cross or MARKERS[(line.look + line.look // len(COLOURS)) % len(MARKERS)],
        "markersize": 3.5 if line.thin else 8 if line.cross else 5.5,
        "markerfacecolor": colour if line.dash == "solid" else "white",
        "markeredgecolor": colour,
        "markeredgewidth": 1.8 if line.cross else 1.0,
        "zorder": 2 if line.thin else 3,
    }
    if line.bars:
        return axes.errorbar(x, y, yerr=line.spread, capsize=3, **style)
    # Markers at intervals, offset for each curve so that overlapping ones stay distinguishable.
    every = max(1, len(x) // 9)
    first = (line.look * every // 4 + (0 if line.dash == "solid" else every // 2)) % every
    (drawn,) = axes.plot(x, y, markevery=(first, every), **style)
    if line.spread is not None:
        spread = np.asarray(line.spread, np.float64)
        axes.fill_between(x, y - spread, y + spread, color=colour, alpha=0.18, linewidth=0)
    return drawn


def _spread_out(number: int) -> list[int]:
    """Indices of at most MOST_TICKS labels, the first and the last among them."""
    return [round(place) for place in np.linspace(0, number - 1, min(number, MOST_TICKS))]


def _plain(text: str) -> str:
    """Escape dollar signs, which would start a formula."""
    return text.replace("$", r"\$")


def _finish(figure: Figure) -> Drawn:
    """Render SVG and PNG from one layout."""
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    figure.set_layout_engine("none")
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Drawn(svg.getvalue(), png.getvalue())
