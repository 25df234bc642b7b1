"""Figures for paper: curves and maps as SVG and PNG. The only importer of matplotlib, which loads when one is drawn.

Figures are one column wide, 8.5 cm, with text that stays legible at that size. Curves differ in line style and marker
as well as in colour, so that figures can be read in greyscale.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.color import Color

from console.charts.limits import ROOM_FOR_REFERENCES
from console.charts.styles import MARKERS, Look
from console.report.panels import Drawn, HeatMap, Line, Panel
from models.catalog import Architecture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

SHAPES = {
    Architecture.RESNET: "s", Architecture.PLAIN: "^", Architecture.PREACT: "D", Architecture.HE_RESNET: "o",
    Architecture.HE_PLAIN: "v",
}  # fmt: skip
MARKER_OF = {
    character: (shape, kind)
    for architecture, shape in SHAPES.items()
    for kind, character in zip(("filled", "hollow", "small"), MARKERS[architecture], strict=True)
}
"""matplotlib's shape and the kind of each of the console's markers."""
DASHED = (0, (4, 1.6))
DOTS_PER_INCH = 300
WIDTH_INCHES = 3.35
"""One column: 8.5 cm."""
SINGLE_INCHES, PANEL_INCHES = 2.5, 1.35
"""Height of a lone panel, and of one among several."""
LEGEND_LINE_INCHES, LETTER_INCHES, HANDLE_INCHES = 0.14, 0.052, 0.42
TITLE_INCHES, NOTE_INCHES = 0.23, 0.15
NOTE_LINE_INCHES = 0.115
PAD_INCHES = 0.035
"""Space around every panel and its labels."""
FONT_POINTS, SMALL_POINTS = 7, 6.5
MARGIN = 0.05
"""Fraction of the y range left free above and below the data."""
LABEL_ROOM = 0.15
"""Fraction of the y range above the chance level that its label takes."""
LEAST_TICK_DISTANCE = 0.13
"""Fraction of the x axis between two labelled depths."""
MOST_NAMES_AT_CURVES, LONGEST_NAME_AT_CURVES = 12, 24
MOST_TICKS = 8
MOST_EPOCH_LABELS = 5
MOST_DECADES_IN_FULL = 3
"""Decades up to which a logarithmic axis is labelled at 1, 2 and 5."""
DECADES_OF_A_LOG_AXIS = 1.0
"""Span below which an axis stays linear: a logarithmic one would have at most one labelled tick."""


def draw_panels(panels: Sequence[Panel], *, title: str, note: str, columns: int = 1, share_axes: bool = False) -> Drawn:
    """Draw panels side by side, their curves named at the right of a lone panel, else in a common legend.

    Args:
        panels: Left to right, then down.
        title: Above all.
        note: Below the title: what was measured on what, how often.
        columns: Panels a row.
        share_axes: One pair of axes for all panels.
    """
    rows = math.ceil(len(panels) / columns)
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines if line.label))
    longest = max(map(len, labels), default=0)
    at_curves = len(panels) == 1 and len(labels) <= MOST_NAMES_AT_CURVES and longest <= LONGEST_NAME_AT_CURVES
    legend_columns = max(1, min(len(labels), int(WIDTH_INCHES / (HANDLE_INCHES + LETTER_INCHES * longest))))
    legend_inches = 0.0 if at_curves else 0.1 + LEGEND_LINE_INCHES * math.ceil(len(labels) / legend_columns)
    height = (SINGLE_INCHES if len(panels) == 1 else 0.4 + (PANEL_INCHES + 0.1 * (rows == 1)) * rows) + legend_inches
    figure = _new_figure((WIDTH_INCHES, height), title, note)
    shared: Literal["all", "none"] = "all" if share_axes else "none"
    grid = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared)
    named: dict[str, Any] = {}
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.set_visible(False)
            continue
        for label, handle in _draw_panel(axes, panels[index]):
            named.setdefault(label, handle)
        _fit(axes, panels if share_axes else [panels[index]])
        if share_axes and index % columns:
            axes.set_ylabel("")
        if share_axes and index + columns < len(panels):
            axes.set_xlabel("")
    if at_curves:
        _name_curves(grid[0, 0], panels[0])
    elif named:
        figure.legend(
            list(named.values()),
            list(map(_plain, named)),
            loc="outside lower left",
            ncols=legend_columns,
            frameon=False,
            handlelength=3,
            columnspacing=1,
            borderpad=0.1,
            labelspacing=0.3,
        )
    return _finish(figure)


def draw_heat_maps(maps: Sequence[HeatMap], *, title: str, note: str, scale: str) -> Drawn:
    """Draw heat maps in two columns on a common scale of lightness, dark for the smallest; `scale` labels it."""
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import FixedLocator

    columns = min(2, len(maps))
    rows = math.ceil(len(maps) / columns)
    figure = _new_figure((WIDTH_INCHES, 1.2 * rows + 0.85), title, note)
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
        figure.colorbar(image, ax=list(grid.flat), label=scale, location="bottom", shrink=0.8, aspect=40)
    return _finish(figure)


def _new_figure(size: tuple[float, float], title: str, note: str) -> Figure:
    """Create a figure with title and note, without pyplot, which looks for a display and keeps figures alive."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams.update(
        {
            "font.size": FONT_POINTS,
            "axes.titlesize": FONT_POINTS,
            "axes.titlepad": 3,
            "axes.labelpad": 2,
            "axes.linewidth": 0.6,
            "xtick.labelsize": SMALL_POINTS,
            "ytick.labelsize": SMALL_POINTS,
            "xtick.major.size": 2.5,
            "ytick.major.size": 2.5,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "legend.fontsize": SMALL_POINTS,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#dddddd",
            "grid.linewidth": 0.4,
            "image.composite_image": False,
            # Text as paths, so that every machine writes the same file whatever its fonts.
            "svg.fonttype": "path",
            "svg.hashsalt": "depthscope",
        }
    )
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH)
    top = 1 - 0.04 / size[1]
    figure.text(0.01, top, _plain(title), ha="left", va="top", fontsize=8, fontweight="bold")
    below = top - (TITLE_INCHES - 0.07) / size[1]
    written = figure.text(0.01, below, "", ha="left", va="top", fontsize=SMALL_POINTS, color="#444444")
    lines = _write_within(written, _plain(note), 0.98 * size[0] * DOTS_PER_INCH)
    # The legend outside the axes sits at the figure's edge, so title and note go above.
    taken = (TITLE_INCHES + NOTE_INCHES + (lines - 1) * NOTE_LINE_INCHES) / size[1]
    figure.set_layout_engine("constrained", rect=(0, 0, 0.98, 1 - taken), h_pad=PAD_INCHES, w_pad=PAD_INCHES)
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
        axes.xaxis.set_major_locator(MaxNLocator(nbins=MOST_EPOCH_LABELS, integer=True))
    if ticks and len(ticks) <= MOST_TICKS:
        axes.set_xticks(ticks, _apart(ticks, log=panel.log_x))
        axes.set_xticks([], minor=True)
    axes.set_axisbelow(True)
    axes.set_title(_plain(panel.title), loc="left")
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    if not len(finite):
        axes.text(0.5, 0.5, "nothing measured yet", transform=axes.transAxes, ha="center", va="center")
    return [(label, handle) for label, handle in handles if label]


def _apart(ticks: Sequence[float], *, log: bool) -> list[str]:
    """Labels of ticks, from the last to the first, without those too close to a labelled one."""
    places = [math.log(tick) if log else tick for tick in ticks]
    least = LEAST_TICK_DISTANCE * (places[-1] - places[0])
    labels, labelled = [], math.inf
    for tick, place in reversed(list(zip(ticks, places, strict=True))):
        is_free = labelled - place >= least
        labels.append(f"{tick:g}" if is_free else "")
        labelled = place if is_free else labelled
    return labels[::-1]


def _fit(axes: Axes, panels: Sequence[Panel]) -> None:
    """Fit the y axis to the data, their bands and bars, and draw the chance level if it lies near."""
    panel = panels[0]
    if panel.is_percent:
        reach = [value for one in panels for line in one.lines for value in _reach(line)]
        low, high = (min(reach), max(reach)) if reach else (0.0, 100.0)
        space = MARGIN * (high - low) or 1.0
        axes.set_ylim(max(low - space, 0.0), min(high + space, 100.0))
    if panel.chance is None or not panel.lines:
        return
    low, high = axes.get_ylim()
    room = ROOM_FOR_REFERENCES * (high - low)
    if not low - room <= panel.chance <= high + room:
        return
    axes.set_ylim(min(low, panel.chance), max(high, panel.chance + LABEL_ROOM * (high - low)))
    axes.axhline(panel.chance, color="#555555", linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=2.5)
    unit = " %" if panel.is_percent else ""
    axes.text(
        0.99, panel.chance, f"chance {panel.chance:.4g}{unit}", transform=axes.get_yaxis_transform(), ha="right",
        va="bottom", fontsize=SMALL_POINTS, color="#333333",
    )  # fmt: skip


def _name_curves(axes: Axes, panel: Panel) -> None:
    """Name every curve beside its end, with a piece of its line, which tells it where several ends coincide."""
    ends = []
    for line in panel.lines:
        places = [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
        if line.label and places:
            height = (axes.transScale + axes.transLimits).transform(places[-1])[1]
            ends.append((float(height), line, places[-1]))
    ends.sort(key=lambda end: end[0])
    step = 1.3 * SMALL_POINTS / 72 / (0.68 * SINGLE_INCHES)
    heights = _spaced([height for height, _, _ in ends], step)
    for (_, line, end), height in zip(ends, heights, strict=True):
        axes.annotate(
            "", end, (1.04, height), xycoords="data", textcoords=axes.transAxes, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "#888888", "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip
        style = _style(line) | {"clip_on": False, "transform": axes.transAxes}
        axes.plot([1.04, 1.11, 1.18], [height] * 3, markevery=[1], **style)
        axes.text(1.21, height, _plain(line.label), transform=axes.transAxes, va="center", fontsize=SMALL_POINTS)


def _spaced(heights: Sequence[float], step: float) -> list[float]:
    """Move ascending heights apart by at least a step, near their places and within 0..1 if they fit."""
    room = 1 - step * (len(heights) - 1)
    placed: list[float] = []
    for index, height in enumerate(heights):
        lowest = placed[-1] + step if placed else 0.0
        placed.append(max(lowest, min(height, max(room, 0.0) + step * index)))
    return placed


def _reach(line: Line) -> list[float]:
    """Finite values of a line, and the ends of its band or bars."""
    values = np.asarray(line.y, np.float64)
    spread = np.zeros_like(values) if line.spread is None else np.nan_to_num(np.asarray(line.spread, np.float64))
    ends = np.concatenate([values - spread, values + spread])
    return [float(value) for value in ends[np.isfinite(ends)]]


def _style(line: Line) -> dict[str, Any]:
    """matplotlib's properties for a line: the look of its network in the console."""
    shape, kind = MARKER_OF[line.look.marker]
    colour = "#1a1a1a" if line.cross else hex_of(line.look)
    return {
        "color": colour,
        "linestyle": "none" if line.cross else DASHED if line.look.dashed else "-",
        "linewidth": 0.6 if line.thin else 1.1,
        "marker": line.cross or shape,
        "markersize": 5 if line.cross else 2.2 if line.thin or kind == "small" else 3.8,
        "markerfacecolor": "white" if kind == "hollow" else colour,
        "markeredgecolor": colour,
        "markeredgewidth": 1.0 if line.cross else 0.8,
        "zorder": 4 if line.cross else 2 if line.thin else 3,
    }


def hex_of(look: Look) -> str:
    """Colour of a look as #rrggbb."""
    colour = look.colour
    return (Color.from_ansi(colour) if isinstance(colour, int) else Color.parse(colour)).get_truecolor().hex


def _draw_line(axes: Axes, line: Line) -> Any:
    x, y = np.asarray(line.x, np.float64), np.asarray(line.y, np.float64)
    style = _style(line)
    if line.bars:
        return axes.errorbar(x, y, yerr=line.spread, capsize=2, elinewidth=0.8, **style)
    # Markers at intervals, offset for each curve so that overlapping ones stay distinguishable.
    every = max(1, len(x) // 6)
    first = len(axes.lines) * every // 4 % every
    (drawn,) = axes.plot(x, y, markevery=(first, every), **style)
    if line.spread is not None:
        spread = np.asarray(line.spread, np.float64)
        axes.fill_between(x, y - spread, y + spread, color=style["color"], alpha=0.2, linewidth=0)
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
