"""The console's filter: matches, syntax errors with their position, and hints if nothing matches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.widgets import Input, Static

from console.app import ConsoleApp
from tests.console.driving import press, settle, table


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("arch:plain !arch:he-plain", {"plain56-s0", "plain110-s0", "plain152-s0"}),
        ("arch:plain exp:depths", {"he-plain20-s0", "he-plain56-s0"}),
        ("arch:plain depth:110,152", {"plain110-s0", "plain152-s0"}),
        ("status:running", {"plain110-s0", "resnet110-s0"}),
        ("exp:dep* seed:1", {"he-resnet20-s1"}),
        ("nothing-like-this", set()),
    ],
)
async def test_filter(words: str, names: set[str], make_app: Callable[..., ConsoleApp]):
    """Words and key:value pairs must all match; escape shows all runs again."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash")
        app.screen.query_one("#filter", Input).value = words
        await pilot.pause()

        assert {app.session.feed.runs[run].name for run in table(app).run_ids} == names
        await press(pilot, "escape")
        assert len(table(app).run_ids) == 13


async def test_wrong_filter_key_is_named(make_app: Callable[..., ConsoleApp]):
    """The runs stay, and the line below lists the valid keys."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash")
        field, remark = app.screen.query_one("#filter", Input), app.screen.query_one("#remark", Static)
        field.value = "s arc:plain"
        await pilot.pause()

        assert "did you mean arch?" in str(remark.content)
        field.value = "s depth>"
        await pilot.pause()
        # Below its position, if there is space.
        assert str(remark.content) == "        ^ missing value"
        assert (remark.content_region.x, remark.region.y) == (field.content_region.x, field.region.y + 1)
        assert len(table(app).run_ids) == 13


async def test_without_matches_the_line_below_lists_existing_values(make_app: Callable[..., ConsoleApp]):
    """Even after leaving the field; once a run is shown again, its remark is back."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash", *"depth>1000", "enter")
        remark = app.screen.query_one("#remark", Static)

        assert str(remark.content) == "none of 13 runs matches 'depth>1000': depth here is 18 to 152"
        await press(pilot, "escape")
        assert "plain56-s0" in str(remark.content)
