"""Keys that arrive in a burst, as over a slow connection, act in order and on the intended widget."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.events import Focus, Key
from textual.widgets import Input, Static

from console.app import ConsoleApp
from console.screens.home import HomeScreen
from tests.console.driving import notifications, press, settle, table, until


def burst(app: ConsoleApp, *keys: str) -> None:
    """Send keys all at once, before any is processed."""
    for key in keys:
        app.post_message(Key({"/": "slash", ":": "colon"}.get(key, key), key if len(key) == 1 else None))


async def test_editing_keys_keep_their_place_among_letters(make_app: Callable[..., ConsoleApp]):
    """A backspace deletes what preceded it when typed."""
    app = make_app()
    async with app.run_test(size=(120, 50)) as pilot:
        await settle(pilot)
        await press(pilot, "n")
        field = app.screen.query_one("#epochs", Input)
        app.screen.set_focus(field)
        for keys, expected in (
            (("backspace", "1", "2"), "12"),
            (("1", "2", "backspace", "3"), "13"),
            (("9", "8", "home", "7"), "798"),
            (("4", "5", "left", "left", "delete", "6"), "65"),
        ):
            field.value = "2"
            field.select_all()
            await pilot.pause()
            burst(app, *keys)
            await until(pilot, lambda expected=expected: field.value == expected)


async def test_a_filter_typed_at_once_filters_and_does_nothing_else(make_app: Callable[..., ConsoleApp]):
    """In the table its letters would be commands: p pauses, s stops, d removes."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        burst(app, "/", *"arch:plain", "enter")
        await until(pilot, lambda: app.session.view.filter == "arch:plain")
        await settle(pilot)

        assert isinstance(app.screen, HomeScreen)
        assert app.screen.focused is not None
        assert app.screen.focused.id == "runs"
        assert notifications(app) == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [("arch:plain dpth>=30", "unknown key 'dpth'"), ("arch:plain depth>=", "missing value")],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_filter_that_cannot_be_read_stays_and_says_so(
    text: str, reason: str, at_once: bool, make_app: Callable[..., ConsoleApp]
):
    """Enter keeps the field open: the text, the error and the last matches stay until it is fixed."""
    app = make_app()
    async with app.run_test(size=(160, 36)) as pilot:
        await settle(pilot)
        field, remark = app.screen.query_one("#filter", Input), app.screen.query_one("#remark", Static)
        if at_once:
            burst(app, "/", *text, "enter")
        else:
            await press(pilot, "slash", *text, "enter")
        await until(pilot, lambda: field.value == text)
        await settle(pilot)
        app.screen.show_remark()  # type: ignore[attr-defined]

        assert (field.display, field.value, app.screen.focused) == (True, text, field)
        assert reason in str(remark.content)
        plain = {"he-plain20-s0", "he-plain56-s0", "plain56-s0", "plain110-s0", "plain152-s0"}
        assert {app.session.feed.runs[run].name for run in table(app).run_ids} == plain

        app.screen.set_focus(table(app))
        await press(pilot, "down", "slash")
        assert field.value == text
        assert reason in str(remark.content)

        field.value = "arch:plain depth>=110"
        await press(pilot, "enter")
        assert app.screen.focused is table(app)
        assert {app.session.feed.runs[run].name for run in table(app).run_ids} == {"plain110-s0", "plain152-s0"}
        assert reason not in str(remark.content)

    again = make_app()
    assert again.session.view.filter == "arch:plain depth>=110"


async def test_a_slash_within_the_filter_is_a_letter(make_app: Callable[..., ConsoleApp]):
    """The key that opens the filter can be typed into it."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash", "a", "slash", "b")

        assert app.screen.query_one("#filter", Input).value == "a/b"


async def test_letters_typed_before_the_filter_hears_of_its_focus_stay(make_app: Callable[..., ConsoleApp]):
    """The focus event must not select text, or the next letter would replace what was typed before it."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash", "r", "u")
        field = app.screen.query_one("#filter", Input)
        field.post_message(Focus())
        await press(pilot, "n")

        assert field.value == "run"
        await press(pilot, "enter", "slash", "s")
        assert field.value == "s", "a filter opened again is replaced by what is typed"
