"""The digest: shown on opening if a run finished, by its key at any time, and by `depthscope digest`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from textual.widgets import Static

from console.app import ConsoleApp
from console.screens.away import AwayScreen
from console.screens.home import HomeScreen
from console.text.times import parse_since
from console.tui.view_state import ViewState, save_view
from engine.base.errors import UsageError
from engine.base.paths import Home
from tests import samples
from tests.console.driving import notifications, press, settle, table, until


def looked(before: float, monkeypatch: pytest.MonkeyPatch) -> Callable[[Home], None]:
    """Fill the small sample, last viewed in a console some seconds ago."""

    def fill(home: Home) -> None:
        samples.fill_small(home)
        monkeypatch.setattr(time, "time", lambda: samples.NOW - before)
        save_view(home, ViewState())
        monkeypatch.setattr(time, "time", lambda: samples.NOW)

    return fill


async def shown(pilot: Any) -> str:
    await until(pilot, lambda: isinstance(pilot.app.screen, AwayScreen) and pilot.app.screen.query("#away Static"))
    return str(pilot.app.screen.query_one("#away Static", Static).content)


async def test_the_digest_is_shown_on_opening_dismissed_and_shown_again(
    make_app: Callable[..., ConsoleApp], monkeypatch: pytest.MonkeyPatch
):
    """It lists runs finished since the last visit and why; earlier ones are not repeated."""
    app = make_app(looked(8400.0, monkeypatch))
    async with app.run_test(size=(120, 36)) as pilot:
        said = await shown(pilot)
        assert "Since 2026-09-21 11:53 (2h20)" in said
        assert "1 diverged\n  broken/plain56-s0: in epoch 10 of 164" in said
        assert (
            "broken/resnet56-s0: at epoch 5 of 164: RuntimeError: CUDA out of memory: [red]2.00 GiB[/red] wanted"
            in said
        )
        assert "6 succeeded" in said
        assert "Lowest final test error on cifar10: 7.1" in said
        assert "Now: 2 running, 1 queued" in said

        await press(pilot, "escape")
        assert isinstance(app.screen, HomeScreen)
        assert len(table(app).run_ids) == 13
        await press(pilot, "W")
        assert await shown(pilot) == said
        await press(pilot, "enter", "q")

    again = make_app()
    assert again.session.view.looked_at == samples.NOW
    async with again.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        assert isinstance(again.screen, HomeScreen)
        await press(pilot, "W")
        assert (await shown(pilot)).startswith("Nothing happened since ")


async def test_a_first_look_is_not_disturbed(make_app: Callable[..., ConsoleApp]):
    """On the first visit there is no digest; the key shows the last day."""
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert isinstance(app.screen, HomeScreen)
        await press(pilot, "W")
        assert " (1 d 0 h)" in await shown(pilot)


async def test_the_digest_does_not_interrupt_typing(
    make_app: Callable[..., ConsoleApp], monkeypatch: pytest.MonkeyPatch
):
    """Typed text stays in its field; a toast names the key for the digest."""
    app = make_app(looked(8400.0, monkeypatch))
    async with app.run_test(size=(120, 36)) as pilot:
        await press(pilot, "slash")
        await settle(pilot)
        await until(pilot, lambda: "Runs finished while you were away: W shows a digest" in notifications(app))
        assert isinstance(app.screen, HomeScreen)
        await press(pilot, "escape", "W")
        assert "1 diverged\n  broken/plain56-s0: in epoch 10 of 164" in await shown(pilot)


async def test_a_clock_set_back_is_reported(make_app: Callable[..., ConsoleApp], monkeypatch: pytest.MonkeyPatch):
    """Rather than negative times."""
    app = make_app(looked(-3600.0, monkeypatch))
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "W")
        said = await shown(pilot)
        assert "before your last visit at 2026-09-21 15:13" in said
        assert "\n" not in said


NOON = datetime(2026, 11, 24, 12, 0).astimezone()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("12h", NOON - timedelta(hours=12)),
        ("+90m", NOON - timedelta(minutes=90)),
        ("3d", NOON - timedelta(days=3)),
        ("08:00", datetime(2026, 11, 24, 8, 0).astimezone()),
        ("13:00", datetime(2026, 11, 23, 13, 0).astimezone()),
        ("2026-11-24", datetime(2026, 11, 24, 0, 0).astimezone()),
        ("2026-11-23T18:30", datetime(2026, 11, 23, 18, 30).astimezone()),
    ],
)
def test_since_is_read_as_people_write_it(word: str, expected: datetime):
    """A time of day means its last occurrence."""
    assert parse_since(word, NOON) == expected


@pytest.mark.parametrize("word", ["soon", "25:00", "2026-13-01", "2026-11-25", "h", "", "-3h"])
def test_since_must_be_in_the_past(word: str):
    """The error names the value and the valid forms."""
    with pytest.raises(UsageError, match="--since must be"):
        parse_since(word, NOON)
