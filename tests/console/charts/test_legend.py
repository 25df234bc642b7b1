"""Names, ticks and labels around the curves."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.charts import plot
from console.charts.legend import y_axis
from console.charts.plot import Reference, Series
from tests.console.charts.drawn import ANSI, canvas_of, chart_text, floats


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


@pytest.mark.parametrize("limits", [(-3.1, 9.7), (0.0, 1.0), (-0.4, 0.3), (-4.9, 48.0), (2.297, 2.303)])
def test_a_linear_axis_has_three_ticks(limits: tuple[float, float]):
    """Even in eight rows: a single 0 shows no scale."""
    assert len(y_axis(limits, 8, log=False).labels) >= 3


@pytest.mark.parametrize(("width", "are_named"), [(60, False), (100, True)])
def test_names_only_beside_the_curves_on_request(width: int, are_named: bool):
    """Beside a table that names the curves, rows for a legend are better spent on the chart."""
    series = [Series(f"network {index}", [1, 2], [1, index], "■") for index in range(4)]

    chart = chart_text(series, width=width, height=16, title="", colour=False, names_above=False)

    assert ("network 3" in chart) == are_named
