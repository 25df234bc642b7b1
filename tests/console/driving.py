"""Drive the console by keys in tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input

from console.app import ConsoleApp
from console.screens.home import HomeScreen
from console.screens.new_experiment import NewExperimentScreen
from console.tui.status import EngineState
from console.widgets.chart import Chart
from console.widgets.run_table import RunTable
from engine.base.paths import Home
from engine.control.protocol import Greeting
from engine.control.queue_state import QueueState
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import Labels

QUEUED = f"{9:010x}"
"""The queued run of the small sample."""


def hold_run(home: Home) -> None:
    """Hold the queued run, as the engine does on request."""
    with Reader(home.database) as reader:
        run = reader.run(QUEUED)
    labels = Labels(name=run.name, experiment=run.experiment, position=run.position, created_at=0.0, held=True)
    store = Store(home.database)
    with store.transaction():
        store.set_labels(run.id, labels)
    store.close()


def hold_queue(pulses: dict[str, Any], queue: QueueState) -> None:
    """Make the engine report this queue state from now on."""
    greeting = Greeting(id="", pid=1, uptime_seconds=7980.0, queue=queue)
    pulses["now"] = dataclasses.replace(pulses["now"], greeting=greeting)


async def settle(pilot: Pilot[Any]) -> None:
    """Wait until the charts are loaded, the engine has been polled, and nothing is pending."""
    app, home = pilot.app, pilot.app.screen_stack[0]
    assert isinstance(app, ConsoleApp)
    assert isinstance(home, HomeScreen)
    while not home.summary_ready or app.session.engine.pulse.engine is EngineState.STARTING:
        await pilot.pause(0.01)
    await pilot.pause()
    while home.summary.is_busy:
        await pilot.pause(0.01)
    await pilot.pause()
    await pilot.pause()


def keys(*names: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Press keys once the screen has settled, and let it settle again."""

    async def press(pilot: Pilot[Any]) -> None:
        pilot.app.animation_level = "none"
        await settle(pilot)
        for name in names:
            await pilot.press(name)
            await pilot.pause()
        for field in pilot.app.screen.query(Input):
            field.cursor_blink = False
        screen = pilot.app.screen
        if isinstance(screen, NewExperimentScreen):
            # The form plans after a pause in typing.
            await until(pilot, lambda: screen._waiting is None or screen._waiting._task.done())
        await settle(pilot)
        # A key's changes may still be laid out and drawn after that.
        before = None
        while (now := text_of(pilot.app)) != before:
            before = now
            await pilot.pause(0.05)

    return press


def text_of(app: App[Any]) -> str:
    """Return the characters on the screen, one line per row."""
    return "".join(f"{strip.text.rstrip()}\n" for strip in app.screen._compositor.render_strips())


async def press(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await pilot.pause()


async def until(pilot: Pilot[Any], condition: Callable[[], Any]) -> None:
    """Wait for a condition; the test's time limit ends a wait in vain."""
    while not condition():
        await pilot.pause(0.01)


def table(app: ConsoleApp) -> RunTable:
    return app.screen_stack[0].query_one(RunTable)


def drawn_names(app: ConsoleApp) -> list[str]:
    """Return the names of the runs drawn in the upper chart."""
    return [one.label for one in app.screen_stack[0].query_one("#first-chart", Chart)._series]


def notifications(app: ConsoleApp) -> str:
    """Return all notices, one a line."""
    return "\n".join(notice.text for notice in app.session.notices)
