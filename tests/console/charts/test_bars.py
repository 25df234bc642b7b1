"""Error bars and bands reach from the lowest to the highest value."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from console.charts.plot import Series
from tests.console.charts.drawn import canvas_of, chart_text


def test_a_band_lies_around_its_mean():
    """Its dots are dim, above and below the curve, and only where both edges are known."""
    x = np.arange(100.0)
    low, high = np.where(x < 50, 40.0, math.nan), np.where(x < 50, 60.0, math.nan)

    chart = chart_text([Series("a", x, np.full(100, 50.0), "■", 3, low=low, high=high)], width=90, height=30, title="t")

    dim = [[match.start() for match in re.finditer(r"\x1b\[2m", line)] for line in chart.split("\n")]
    assert sum(bool(line) for line in dim) > 15
    rows = canvas_of(chart)
    assert all(len(row.rstrip()) < 50 for row in rows if "■" not in row and "⠤" not in row and "⠒" not in row)


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


@pytest.mark.parametrize(("low", "high"), [([1.0], None), ([1.0, 2.0], [2.0])])
def test_ends_of_error_bars_come_in_pairs(low: list[float], high: list[float] | None):
    """One end alone is a bug in our code."""
    with pytest.raises(ValueError, match="low and high"):
        Series("a", [1], [1.0], low=low, high=high)
