"""Driving the console by its keys in a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.pilot import Pilot

from console.app import ConsoleApp
from console.screens.home import HomeScreen
from console.widgets.run_table import RunTable


async def settle(pilot: Pilot[Any]) -> None:
    """Until the charts are loaded and nothing is left to be done."""
    home = pilot.app.screen_stack[0]
    assert isinstance(home, HomeScreen)
    while not home.charts_ready:
        await pilot.pause(0.01)
    await pilot.pause()
    await pilot.pause()


async def press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await pilot.pause()


async def until(pilot: Pilot[Any], condition: Callable[[], Any]) -> None:
    """Wait on a condition; a test that waits in vain is ended by its time limit."""
    while not condition():
        await pilot.pause(0.01)


def table(app: ConsoleApp) -> RunTable:
    return app.screen_stack[0].query_one(RunTable)


def told(app: ConsoleApp) -> str:
    """All notifications."""
    return "\n".join(notification.message for notification in app._notifications)
