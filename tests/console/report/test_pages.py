"""Layout of rendered reports: nothing is cut off in pages or figures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from console.charts.styles import COLOURS_ON_LIGHT, look_of
from console.report.blocks import Heading, Table
from console.report.html import as_html
from console.report.matplotlib_figures import draw_panels
from console.report.panels import Line, Panel
from models.catalog import model_spec

LOOK = look_of(model_spec("he-resnet", 20), COLOURS_ON_LIGHT)


@pytest.mark.parametrize("columns", [1, 2])
def test_a_long_note_is_broken_and_not_cut_off(columns: int):
    """The figure's right edge stays blank, however long the note above the axes."""
    panel = Panel("20 layers", [Line("he-resnet20", [1, 2, 3], [80.0, 50.0, 40.0], LOOK)], "epoch", "test error (%)")
    drawn = draw_panels(
        [panel, panel],
        title="With and without shortcuts, at 20 layers",
        note="CIFAR-10 (JPEG); mean over seeds, band ± one standard deviation, n=2–3; " * 3,
        columns=columns,
    )
    pixels = np.asarray(Image.open(io.BytesIO(drawn.png)).convert("L"))
    above = pixels[: pixels.shape[0] // 5]

    assert above[:, -8:].min() == 255
    assert above[:, : above.shape[1] // 2].min() < 128, "the note is there"


def drawn_axes(monkeypatch: pytest.MonkeyPatch, panel: Panel) -> Axes:
    """Draw a panel and return its axes."""
    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_args, **_options: figures.append(figure))
    draw_panels([panel], title="Test error", note="")
    return figures[0].axes[0]


@pytest.mark.parametrize(("errors", "has_line"), [([8.0, 6.0], False), ([88.0, 60.0], True)])
def test_error_axes_fit_the_data_and_show_a_near_chance_level(
    monkeypatch: pytest.MonkeyPatch, errors: list[float], has_line: bool
):
    """A zero far below, or a chance level far above, would flatten the curves."""
    line = Line("he-resnet20", [1, 2], errors, LOOK, spread=[1.0, 1.0])
    axes = drawn_axes(monkeypatch, Panel("", [line], "epoch", "test error (%)", is_percent=True, chance=90.0))
    low, high = axes.get_ylim()

    assert errors[1] - 2 - has_line < low < errors[1] - 1
    assert errors[0] + 1 < high < errors[0] + 4 + 4 * has_line
    assert ("chance 90 %" in [text.get_text() for text in axes.texts]) == has_line


def test_curves_are_named_in_order_and_apart_where_their_ends_coincide(monkeypatch: pytest.MonkeyPatch):
    """Names at the ends replace a legend, so none may cover another."""
    errors = {f"he-resnet{depth}": 6.0 + depth / 1000 for depth in (20, 32, 44, 56, 110)}
    lines = [Line(name, [1, 2], [90.0, error], LOOK) for name, error in errors.items()]
    axes = drawn_axes(monkeypatch, Panel("", lines, "epoch", "test error (%)", is_percent=True))
    heights = {text.get_text(): text.get_position()[1] for text in axes.texts if text.get_text()}
    between = np.diff(list(heights.values()))

    assert list(heights) == list(errors)
    assert between.min() > 0.06, "a line of text, as a share of the panel's height"


def test_sentences_in_tables_may_be_broken_and_numbers_not():
    """A table of a dozen columns fits a page; wider ones scroll within it."""
    header = ["network", "test error %", "not in the mean", "SHA-256"]
    row = ["he-resnet110-w8-nonorm-s0", "50.43 ± 1.97 (n=3) with more", "seed 2 cancelled at epoch 0/16", "7" * 64]
    page = as_html([Heading(1, "Depth"), Table(header, [row], "<><<")], {})

    assert '<div class="wide" tabindex="0">\n<table>' in page
    assert "<td>he-resnet110-w8-nonorm-s0</td>" in page
    assert '<td class="right">50.43 ± 1.97 (n=3) with more</td>' in page
    assert '<td class="words">seed 2 cancelled at epoch 0/16</td>' in page
    assert f'<td class="words">{"7" * 64}</td>' in page
    assert ">test error&nbsp;%</th>" in page
