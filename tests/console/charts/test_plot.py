"""Charts show all the data and nothing that is not in it."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from console.charts import plot
from console.charts.curves import decimate, finite_curve
from console.charts.legend import y_axis
from console.charts.plot import COLOURS, Reference, Series, smooth

ANSI = re.compile(r"\x1b\[[\d;]*m")
DOTS = re.compile(r"[⠁-⣿●■▲◆]")

floats = st.floats(allow_nan=True, allow_infinity=True)
ranges = st.none() | st.tuples(floats, floats)


def chart_text(series: Sequence[Series], **options: Any) -> str:
    """Draw a chart as a single string."""
    return "\n".join(plot.draw(series, **options).lines)


@st.composite
def any_series(draw: st.DrawFn) -> Series:
    points = draw(st.lists(st.tuples(floats, floats), max_size=40))
    edges = st.lists(floats, min_size=len(points), max_size=len(points))
    return Series(
        draw(st.text(max_size=30)),
        [x for x, _ in points],
        [y for _, y in points],
        draw(st.sampled_from("■▲◆●x#")),
        draw(st.none() | st.integers(0, 255) | st.sampled_from(sorted(COLOURS))),
        draw(st.booleans()),
        draw(st.booleans()),
        *((draw(edges), draw(edges)) if draw(st.booleans()) else (None, None)),
        draw(st.booleans()),
    )


def canvas_of(chart: str) -> list[str]:
    """Return the lines right of the y axis, without those below the canvas."""
    lines = [ANSI.sub("", line) for line in chart.split("\n")[:-2]]
    return [re.split("[│┤|+]", line, maxsplit=1)[1] for line in lines if re.match(r"[ \d.e-]*[│┤|+]", line)]


@settings(max_examples=250, deadline=None)
@given(
    series=st.lists(any_series(), max_size=5),
    width=st.integers(0, 150),
    height=st.integers(0, 50),
    title=st.text(max_size=60),
    x_label=st.text(max_size=20),
    log_y=st.booleans(),
    colour=st.booleans(),
    unicode=st.booleans(),
    x_range=ranges,
    y_range=ranges,
    heights=st.lists(st.tuples(st.text(max_size=20), floats, st.booleans()), max_size=3),
    hidden=st.sets(st.integers(0, 4)),
)
def test_any_data_in_any_box_stays_inside_it(
    series: list[Series],
    width: int,
    height: int,
    title: str,
    x_label: str,
    log_y: bool,
    colour: bool,
    unicode: bool,
    x_range: tuple[float, float] | None,
    y_range: tuple[float, float] | None,
    heights: list[tuple[str, float, bool]],
    hidden: set[int],
):
    """A diverging run, a tiny terminal or a hostile name must not break the screen or the console."""

    def draw() -> str:
        return chart_text(
            series,
            width=width,
            height=height,
            title=title,
            x_label=x_label,
            log_y=log_y,
            colour=colour,
            unicode=unicode,
            x_range=x_range,
            y_range=y_range,
            references=[Reference(name, **({"x": at} if is_x else {"y": at})) for name, at, is_x in heights],
            hidden={one.label for index, one in enumerate(series) if index in hidden},
        )

    chart = draw()

    lines = ANSI.sub("", chart).split("\n")
    assert len(lines) == max(height, 1)
    assert all(cell_len(line) <= width for line in lines)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\n".join(lines))
    assert colour or "\x1b" not in chart
    assert unicode or chart.isascii()
    assert draw() == chart


@pytest.mark.parametrize("log_y", [False, True])
@pytest.mark.parametrize(
    "y",
    [
        [5e-324, 1e-323, 1.5e-323],
        [1e300, 1.7976931348623157e308, -1.7976931348623157e308],
        [0.0, 0.0, 0.0],
        [-0.0, 0.0],
        [1e16, 1e16 + 2, 1e16 + 4],
        [1.0, 1.0 + 2**-52],
        [7.0],
        [1e-300, 1.0, 1e300],
        [math.inf, 1.0, -math.inf],
    ],
)
def test_extreme_values_are_drawn(y: list[float], log_y: bool):
    """Losses reach all of these when a run diverges or has only one epoch."""
    chart = chart_text([Series("a", range(len(y)), y)], width=60, height=12, title="t", log_y=log_y, colour=False)

    assert chart.count("\n") == 11
    assert DOTS.search("\n".join(canvas_of(chart))) or "nothing above 0" in chart


@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("unicode", [True, False])
def test_gap_is_not_bridged(hole: float, unicode: bool):
    """A line where nothing was measured would be an invented result."""
    y = np.ones(100)
    y[40:60] = hole
    box = {"width": 100, "height": 10, "title": "t", "colour": False, "unicode": unicode}

    rows = canvas_of(chart_text([Series("", range(100), y)], **box))
    filled = {column for row in rows for column, cell in enumerate(row) if cell != " "}

    widest = max(filled) + 1
    missing = sorted(set(range(widest)) - filled)
    assert missing == list(range(missing[0], missing[-1] + 1))
    assert 0.17 < len(missing) / widest < 0.23


def test_zero_is_a_gap_on_a_log_axis():
    """Zero has no logarithm, and a floor in its place would be an invented value."""
    curve = finite_curve([0, 1, 2, 3], [10, 0, -1, 100], log_y=True)

    assert curve.x.tolist() == [0, 3]
    assert curve.y.tolist() == [1, 2]
    assert curve.starts.tolist() == [True, True]


@settings(max_examples=150, deadline=None)
@given(
    y=st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=300),
    columns=st.integers(1, 60),
)
def test_decimation_keeps_ends_and_extremes_of_every_column(y: list[float], columns: int):
    """Single-step spikes matter in a loss curve."""
    curve = finite_curve(range(len(y)), y)
    if not len(curve.x):
        return
    low, high = float(curve.x[0]), max(float(curve.x[-1]), curve.x[0] + 1.0)

    kept = decimate(curve, columns, (low, high))

    points = list(zip(kept.x.tolist(), kept.y.tolist(), strict=True))
    assert points == sorted(set(points) & set(zip(curve.x.tolist(), curve.y.tolist(), strict=True)))
    assert points[0] == (curve.x[0], curve.y[0])
    assert points[-1] == (curve.x[-1], curve.y[-1])
    column = np.rint((curve.x - low) / (high - low) * (columns - 1))
    kept_column = np.rint((kept.x - low) / (high - low) * (columns - 1))
    for one in np.unique(column):
        inside, left = curve.y[column == one], kept.y[kept_column == one]
        assert (left.min(), left.max()) == (inside.min(), inside.max())
    parts = int(curve.starts.sum())
    assert int(kept.starts.sum()) == parts
    assert len(points) <= 2 * (columns + parts) + 2


def test_long_curve_is_drawn_like_its_extremes():
    """Ten thousand points and the two extremes of each column give the same picture, except for markers."""
    x = np.linspace(0, 164, 10_000)
    y = np.exp(-x / 30) + 0.1 * np.random.default_rng(0).standard_normal(10_000)
    whole = finite_curve(x, y)
    thin = decimate(whole, 2 * 80, (0.0, 164.0))

    assert len(thin.x) < 400
    assert thin.y.max() == y.max()
    assert thin.y.min() == y.min()


def test_unsorted_x_is_drawn_as_a_function_of_x():
    """Rows of a resumed run may arrive late; the curve must not run back and forth."""
    shuffled = chart_text([Series("a", [3, 1, 2], [9, 1, 4])], width=40, height=10, title="t")

    assert shuffled == chart_text([Series("a", [1, 2, 3], [1, 4, 9])], width=40, height=10, title="t")


def test_series_differ_without_colour():
    """On a terminal without colour the marker alone tells residual from plain."""
    x = np.arange(100.0)
    chart = chart_text(
        [Series("resnet", x, 1 / (1 + x), "■"), Series("plain", x, 2 - x / 100, "▲")],
        width=80,
        height=20,
        title="Loss",
        colour=False,
    )
    body = "\n".join(canvas_of(chart))

    assert body.count("■") >= 3
    assert body.count("▲") >= 3
    names = [line.rstrip() for line in chart.split("\n") if re.search("resnet|plain", line)]
    assert [name[-8:] for name in names] == [" ▲ plain", "■ resnet"]


def test_few_points_are_all_marked():
    """Errors by depth are five measurements, and must not look like more."""
    depths = [20, 32, 44, 56, 110]
    series = [Series("plain", depths, [9, 9.5, 10, 11, 15], "▲")]

    body = "\n".join(canvas_of(chart_text(series, width=60, height=15, title="t", colour=False)))

    assert body.count("▲") == 5


def test_curves_that_coincide_both_show_their_markers():
    """Two seeds may give the same curve; one of them must not vanish."""
    x = np.arange(200.0)
    chart = chart_text([Series("a", x, x, "■"), Series("b", x, x, "▲")], width=80, height=20, title="t", colour=False)
    body = "\n".join(canvas_of(chart))

    assert body.count("■") >= 3
    assert body.count("▲") >= 3


def test_faint_curve_yields_to_the_smoothed_one():
    """Raw values are the background: no marker, no legend, and never on top."""
    x = np.arange(1000.0)
    noise = np.random.default_rng(0).standard_normal(1000)
    smoothed = Series("smoothed", x, np.zeros(1000), "■")

    chart = chart_text(
        [smoothed, Series("raw", x, noise, "▲", faint=True)], width=80, height=21, title="t", colour=False
    )

    assert "▲" not in chart
    assert "raw" not in chart
    middle = next(row for row in canvas_of(chart) if "■" in row)
    assert set(middle) <= set("■⠉⠒⠤⣀⠤")


def test_log_axis_is_labelled_with_round_values():
    """Log axes are read by their decades."""
    x = np.arange(1, 101)
    chart = chart_text([Series("a", x, 10.0 ** (2 - x / 20))], width=60, height=24, title="t", log_y=True, colour=False)
    labels = re.findall(r"^ *([\d.e-]+)┤", chart, re.MULTILINE)

    assert {"10", "1", "0.1", "0.01"} <= set(labels)
    assert [float(label) for label in labels] == sorted(map(float, labels), reverse=True)


@settings(max_examples=150, deadline=None)
@given(low=floats.filter(math.isfinite), high=floats.filter(math.isfinite), log_y=st.booleans())
def test_axis_labels_rise_and_differ(low: float, high: float, log_y: bool):
    """Two ticks with one label, or labels out of order, are a wrong axis."""
    chart = chart_text([Series("a", [0, 1], [low, high])], width=80, height=24, title="", log_y=log_y, colour=False)
    labels = [float(label) for label in re.findall(r"^ *(-?[\d.]+(?:e-?\d+)?)┤", chart, re.MULTILINE)]

    assert labels == sorted(set(labels), reverse=True)


def test_hostile_label_is_disarmed():
    """A run's name may contain escape sequences and bidirectional control characters."""
    name = "\x1b[31mred\x1b]0;title\x07\u202e\x9b2J\x7f[bold]漢字😀"
    chart = chart_text([Series(name, [1, 2], [1, 2])], width=60, height=12, title=name, colour=False)

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", chart)
    assert "red[bold]漢字😀" in chart


def test_an_empty_chart_says_so():
    """An empty frame looks like a broken one."""
    box = {"width": 50, "height": 8, "title": "Loss"}

    assert "no data yet" in chart_text([], **box)
    assert "no data yet" in chart_text([Series("a", [], [])], **box)
    assert "no data yet" in chart_text([Series("a", [1], [math.nan])], log_y=True, **box)
    assert "nothing above 0" in chart_text([Series("a", [1], [-1.0])], log_y=True, **box)
    assert "no data in this range" in chart_text([Series("a", [1], [1.0])], x_range=(5.0, 6.0), **box)
    assert "too small" in chart_text([Series("a", [1], [1.0])], width=20, height=3, title="t")


def test_ranges_hide_what_is_outside():
    """Zooming in on the end of training must not be undone by its beginning."""
    x = np.arange(100.0)
    y = np.where(x < 50, 1000.0, 1.0 + x / 100)
    box = {"width": 80, "height": 20, "title": "t", "colour": False}

    zoomed = chart_text([Series("a", x, y)], x_range=(50.0, 99.0), **box)
    cut = chart_text([Series("a", x, y)], y_range=(0.0, 2.0), **box)

    for chart in (zoomed, cut):
        labels = [float(label) for label in re.findall(r"^ *([\d.]+)┤", chart, re.MULTILINE)]
        assert labels
        assert max(labels) <= 2


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_every_curve_is_named(width: int):
    """A curve without a name is one that nobody can use; long names are cut instead."""
    series = [Series(f"net{index} of a long name", [1, 2], [1, index], "■") for index in range(9)]

    chart = chart_text(series, width=width, height=24, title="Loss", colour=False)

    assert all(f"■ net{index}" in chart for index in range(9))
    assert "not named" not in chart


def test_names_stand_beside_the_ends_of_their_curves():
    """The highest curve has the highest name, and crowded names stay apart."""
    ends = [10.0, 9.9, 9.8, 0.0]
    series = [Series(f"net{index}", [1, 2], [0, end], "■") for index, end in enumerate(ends)]

    lines = chart_text(series, width=80, height=20, title="Loss", colour=False).split("\n")

    rows = [next(row for row, line in enumerate(lines) if f"net{index}" in line) for index in range(4)]
    assert rows[:3] == [1, 2, 3]
    assert rows[3] == 17


def test_a_hidden_curve_keeps_its_name():
    """So that it can be switched on again, by key or by mouse, where its name stands."""
    x = np.arange(100.0)
    series = [
        Series("", x, x, "▲", faint=True, belongs_to="a"),
        Series("a", x, x, "▲", low=x - 1, high=x + 1),
        Series("b", x, x / 10, "■"),
    ]

    drawing = plot.draw(series, width=80, height=20, title="t", colour=False, hidden={"a"})

    assert "▲ (a)" in "\n".join(drawing.lines)
    assert "\n".join(drawing.lines).count("▲") == 1
    found = {name.label: drawing.lines[name.line][name.left : name.right] for name in drawing.names}
    assert found == {"a": "▲ (a)", "b": "■ b"}
    assert max(float(label) for label in re.findall(r"^ *([\d.]+)┤", "\n".join(drawing.lines), re.MULTILINE)) < 11


def test_names_above_the_chart_can_be_found_too():
    """A narrow terminal has them there."""
    series = [Series(f"network {index}", [1, 2], [1, index], "■") for index in range(4)]

    drawing = plot.draw(series, width=40, height=20, title="Loss", colour=True)

    plain = [ANSI.sub("", line) for line in drawing.lines]
    found = {name.label: plain[name.line][name.left : name.right] for name in drawing.names}
    assert found == {f"network {index}": f"■ network {index}" for index in range(4)}


def test_reference_lines_are_labelled_and_stretch_nothing():
    """A published error is read beside the curve; one far away is left out rather than flattening the curve."""
    references = [Reference("paper 6.61", y=6.61), Reference("far", y=900.0), Reference("lr 0.01", x=50.0)]
    x = np.arange(1, 101.0)

    chart = chart_text(
        [Series("a", x, 7 + 80 / x, "■")], width=90, height=24, title="t", colour=False, references=references
    )

    rows = canvas_of(chart)
    assert sum("┈┈┈" in row for row in rows) == 1
    assert "paper 6.61" in chart
    assert "far" not in chart
    assert sum("┊" in row for row in rows) > 15
    assert "lr 0.01" in rows[0]
    assert max(float(label) for label in re.findall(r"^ *([\d.]+)┤", chart, re.MULTILINE)) <= 90


def test_a_band_lies_around_its_mean():
    """Its dots are dim, above and below the curve, and only where both edges are known."""
    x = np.arange(100.0)
    low, high = np.where(x < 50, 40.0, math.nan), np.where(x < 50, 60.0, math.nan)

    chart = chart_text([Series("a", x, np.full(100, 50.0), "■", 3, low=low, high=high)], width=90, height=30, title="t")

    dim = [[match.start() for match in re.finditer(r"\x1b\[2m", line)] for line in chart.split("\n")]
    assert sum(bool(line) for line in dim) > 15
    rows = canvas_of(chart)
    assert all(len(row.rstrip()) < 50 for row in rows if "■" not in row and "⠤" not in row and "⠒" not in row)


def test_a_dashed_curve_has_gaps_but_keeps_single_points():
    """Plain networks are told from residual ones without colour."""
    x = np.arange(200.0)
    whole = chart_text([Series("", x, x / 200, "■")], width=90, height=20, title="t", colour=False)
    dashed = chart_text([Series("", x, x / 200, "■", dashed=True)], width=90, height=20, title="t", colour=False)
    points = [1.0, math.nan, 2.0, math.nan, 3.0]

    def num_cells(chart: str) -> int:
        return len(DOTS.findall("\n".join(canvas_of(chart))))

    assert 0.5 < num_cells(dashed) / num_cells(whole) < 0.85
    single = chart_text([Series("", range(5), points, "■", dashed=True)], width=60, height=12, title="t", colour=False)
    assert sum(row.count("■") for row in canvas_of(single)) == 3


def test_chart_is_the_same_in_every_process():
    """plotext iterates over sets, so the result might depend on Python's hash seed."""
    program = (
        "import numpy as np; from console.charts.plot import *; x = np.arange(500.0);"
        "print(draw([Series('a', x, np.sin(x / 50), '■', 1), Series('b', x, np.cos(x / 30), '▲', 2, True)],"
        " width=90, height=20, title='t', x_label='epoch').lines)"
    )
    charts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(charts) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"x": [1, 2]}, "equally long, got 2 and 1"),
        ({"marker": "漢"}, "one cell, got '漢'"),
        ({"marker": "\x07"}, "one visible character"),
        ({"colour": "mauve"}, "got 'mauve'"),
        ({"colour": 256}, "0..255, got 256"),
    ],
)
def test_series_refuses_what_cannot_be_drawn(fields: dict[str, object], message: str):
    """These are bugs in our code, so they should fail before drawing."""
    with pytest.raises(ValueError, match=re.escape(message)):
        Series(**{"label": "a", "x": [1], "y": [1.0], **fields})


def test_smoothing_is_tensorboards():
    """People compare curves across tools; the same weight must mean the same."""
    y = [3.0, 1.0, math.nan, 4.0, 1.0]
    past, weights, expected = 0.0, 0.0, []
    for value in y:
        if math.isnan(value):
            expected.append(value)
            continue
        past = 0.6 * past + 0.4 * value
        weights = 0.6 * weights + 0.4
        expected.append(past / weights)

    assert smooth(y, 0.6) == pytest.approx(expected, nan_ok=True)


@given(y=st.lists(floats, max_size=50), weight=st.floats(0, 0.999))
def test_smoothing_keeps_length_gaps_and_bounds(y: list[float], weight: float):
    """A mean lies between its values, and gaps keep their place."""
    result = smooth(y, weight)
    values = np.array(y)
    finite = np.isfinite(values)

    assert len(result) == len(y)
    assert np.array_equal(result[~finite], values[~finite], equal_nan=True)
    if finite.any() and np.abs(values[finite]).max() < 1e300:
        slack = 1e-9 * np.abs(values[finite]).max() + 1e-300
        assert result[finite].min() >= values[finite].min() - slack
        assert result[finite].max() <= values[finite].max() + slack


@pytest.mark.parametrize("weight", [-0.1, 1.0, math.nan])
def test_smoothing_refuses_weights_that_are_no_average(weight: float):
    """At 1 only the past would count, and there is none."""
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        smooth([1.0], weight)


@pytest.mark.parametrize("limits", [(-3.1, 9.7), (0.0, 1.0), (-0.4, 0.3), (-4.9, 48.0), (2.297, 2.303)])
def test_a_linear_axis_has_three_ticks(limits: tuple[float, float]):
    """Even in eight rows: a single 0 shows no scale."""
    assert len(y_axis(limits, 8, log=False).labels) >= 3


@pytest.mark.parametrize("width", range(40, 201))
def test_error_bars_are_whole_at_every_width(width: int):
    """A bar that vanishes in some columns would show a certainty that was not measured."""
    depths, means = [20, 32, 44, 56, 110], [9.0, 11.0, 13.0, 15.0, 17.0]
    low, high = [mean - 2 for mean in means], [mean + 2 for mean in means]
    series = Series("plain", depths, means, "▲", low=low, high=high, bars=True)

    rows = canvas_of(chart_text([series], width=width, height=24, title="t", colour=False))

    columns = ["".join(cells) for cells in zip(*(row.ljust(width) for row in rows), strict=True)]
    bars = [column.strip() for column in columns if "▲" in column]
    assert len(bars) == 5
    assert all(re.fullmatch("┬│+▲│+┴", bar) for bar in bars)


def test_an_error_bar_ends_at_its_values():
    """The caps lie in the rows that the axis labels with their values."""
    series = Series(
        "a", [1, 2, 3], [50.0, 40.0, 30.0], "▲", low=[0.0, math.nan, 20.0], high=[100.0, math.nan, 40.0], bars=True
    )

    chart = chart_text([series], width=60, height=25, title="t", colour=False)

    row_of = {match[1]: row for row, line in enumerate(chart.split("\n")) if (match := re.match(r" *(\d+)┤", line))}
    caps = {cap: [row for row, line in enumerate(chart.split("\n")[:-2]) if cap in line] for cap in "┬┴"}
    assert caps == {"┬": [row_of["100"], row_of["40"]], "┴": [row_of["20"], row_of["0"]]}


def test_a_bar_below_zero_is_cut_at_the_edge_of_a_log_axis():
    """It has no logarithm, but the error is still at least that large."""
    series = Series("a", [1, 2], [10.0, 20.0], "▲", low=[-5.0, 15.0], high=[25.0, 30.0], bars=True)

    chart = chart_text([series], width=60, height=20, title="t", log_y=True, colour=False)

    rows = chart.split("\n")[:-2]
    assert sum(row.count("┬") for row in rows) == 2
    assert sum(row.count("┴") for row in rows) == 1
    assert "┤│" in rows[-2] or "││" in rows[-2]


def test_lines_end_where_they_cross_the_edge():
    """A line to a far point keeps its slope, and one between two far points passes through."""
    box = {"width": 80, "height": 20, "title": "t", "colour": False, "y_range": (0.0, 10.0)}

    through = canvas_of(chart_text([Series("a", [0, 100], [-1e9, 1e9])], **box))
    rising = canvas_of(chart_text([Series("a", [0, 100], [0, 20])], **box))

    assert {len(row.rstrip()) for row in through} <= {38, 39, 40}
    assert max(len(row) for row in rising) in (38, 39, 40)
    assert rising[0].strip()
    assert rising[-1].strip()


@pytest.mark.parametrize(("low", "high"), [([1.0], None), ([1.0, 2.0], [2.0])])
def test_ends_of_error_bars_come_in_pairs(low: list[float], high: list[float] | None):
    """One end alone is a bug in our code."""
    with pytest.raises(ValueError, match="low and high"):
        Series("a", [1], [1.0], low=low, high=high)


@pytest.mark.parametrize(("width", "are_named"), [(60, False), (100, True)])
def test_names_only_beside_the_curves_on_request(width: int, are_named: bool):
    """Beside a table that names the curves, rows for a legend are better spent on the chart."""
    series = [Series(f"network {index}", [1, 2], [1, index], "■") for index in range(4)]

    chart = chart_text(series, width=width, height=16, title="", colour=False, names_above=False)

    assert ("network 3" in chart) == are_named
