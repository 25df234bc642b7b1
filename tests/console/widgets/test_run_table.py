"""Choice of the run table's columns: names stay whole, and the scroll bar hides nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from console.app import ConsoleApp
from console.text.columns import LONGEST_NAME_CELLS, NAME_CELLS, fitting
from console.widgets.run_table import PREFIX_CELLS
from tests.console.driving import settle, table


def keys(width: int, longest_name: int) -> list[str]:
    return [column.key for column, _ in fitting(width, longest_name)]


@pytest.mark.parametrize("width", range(20, 200, 7))
@pytest.mark.parametrize("longest", [1, NAME_CELLS, 24, LONGEST_NAME_CELLS, 90])
def test_columns_take_the_whole_line_and_no_more(width: int, longest: int):
    """For any names."""
    columns = fitting(width, longest)

    assert sum(cells + 1 for _, cells in columns) - 1 == max(width, NAME_CELLS) or len(columns) == 1
    assert columns[0][0].key == "name"


def test_a_long_name_displaces_bar_speed_and_eta_but_no_metric():
    """The bar repeats the epoch; loss and error matter most."""
    assert keys(72, NAME_CELLS) == ["name", "status", "progress", "epoch", "loss", "error", "left"]
    assert keys(72, 24) == ["name", "status", "epoch", "loss", "error", "left"]
    assert keys(55, 90) == ["name", "status", "epoch", "loss", "error"]


@pytest.mark.parametrize("size", [(80, 24), (120, 36)])
async def test_nothing_is_hidden_beneath_the_scroll_bar(size: tuple[int, int], make_app: Callable[..., ConsoleApp]):
    """Columns end before the scroll bar, and every name that fits is whole."""
    app = make_app()
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        shown = table(app)
        columns = shown.columns()

        assert shown.show_vertical_scrollbar == (size == (80, 24))
        assert sum(width + 1 for _, width in columns) - 1 + PREFIX_CELLS == shown.scrollable_content_region.width
        assert columns[0][1] >= max(len(app.session.feed.runs[run].name) for run in shown.run_ids)
