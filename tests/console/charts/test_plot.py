"""Charts show all the data and nothing that is not in it."""

from __future__ import annotations

import math
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from console.charts.curves import decimate, finite_curve
from console.charts.plot import COLOURS, Reference, Series
from tests.console.charts.drawn import ANSI, DOTS, canvas_of, chart_text, floats

ranges = st.none() | st.tuples(floats, floats)


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


def test_lines_end_where_they_cross_the_edge():
    """A line to a far point keeps its slope, and one between two far points passes through."""
    box = {"width": 80, "height": 20, "title": "t", "colour": False, "y_range": (0.0, 10.0)}

    through = canvas_of(chart_text([Series("a", [0, 100], [-1e9, 1e9])], **box))
    rising = canvas_of(chart_text([Series("a", [0, 100], [0, 20])], **box))

    assert {len(row.rstrip()) for row in through} <= {38, 39, 40}
    assert max(len(row) for row in rising) in (38, 39, 40)
    assert rising[0].strip()
    assert rising[-1].strip()
