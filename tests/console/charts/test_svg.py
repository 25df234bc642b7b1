"""A saved chart holds all that the screen shows."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np

from console.charts.plot import Series, draw
from console.charts.svg import CELL_WIDTH, MARGIN, chart_as_svg
from console.tui.themes import DARK, LIGHT

SVG = "{http://www.w3.org/2000/svg}"


def test_every_curve_is_named_and_nothing_is_clipped():
    """Names at the right edge lie within the picture, and curves keep their colours."""
    x = np.arange(1, 101.0)
    series = [Series(f"network{number} n=3 <&", x, number * x, "■", 20 + number) for number in range(7)]

    lines = draw(series, width=120, height=36, title="Loss").lines
    root = ElementTree.fromstring(chart_as_svg(lines, width=120, theme=DARK))

    texts = root.findall(f"{SVG}text")
    words = [text.text for text in texts]
    assert [f"network{number}" in words for number in range(7)] == [True] * 7
    assert words.count("<&") == 7
    ends = [float(text.attrib["x"]) + float(text.attrib["textLength"]) for text in texts]
    assert max(ends) <= float(root.attrib["width"]) - MARGIN + 0.1
    assert float(root.attrib["width"]) == 120 * CELL_WIDTH + 2 * MARGIN
    fills = {path.attrib["fill"] for path in root.findall(f"{SVG}path")}
    assert len(fills) == 7


def test_a_saved_chart_is_no_window():
    """It has no title bar and no buttons; the background is the theme's."""
    lines = draw([Series("a", [1, 2], [1, 2])], width=60, height=12, title="Loss").lines
    dark, light = (chart_as_svg(lines, width=60, theme=theme) for theme in (DARK, LIGHT))

    assert "circle" not in dark
    assert "depthscope" not in dark
    assert 'fill="#ffffff"' in light
    assert re.search(r'<rect width="100%" height="100%" fill="#[0-3]', dark)
