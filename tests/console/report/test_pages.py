"""Layout of rendered reports: nothing is cut off in pages or figures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from console.report.blocks import Heading, Table
from console.report.html import as_html
from console.report.matplotlib_figures import Line, Panel, draw_panels


@pytest.mark.parametrize("columns", [1, 2])
def test_a_long_note_is_broken_and_not_cut_off(columns: int):
    """The figure's right edge stays blank, however long the note above the axes."""
    panel = Panel("20 layers", [Line("he-resnet20", [1, 2, 3], [80.0, 50.0, 40.0], 0)], "epoch", "test error (%)")
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
