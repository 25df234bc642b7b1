"""Driving the console by its keys in a test."""

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
"""The one run of the small sample that waits."""


def hold_run(home: Home) -> None:
    """Hold it, as the engine does when it is asked to."""
    with Reader(home.database) as reader:
        run = reader.run(QUEUED)
    labels = Labels(name=run.name, experiment=run.experiment, position=run.position, created_at=0.0, held=True)
    store = Store(home.database)
    with store.transaction():
        store.set_labels(run.id, labels)
    store.close()


def hold_queue(pulses: dict[str, Any], queue: QueueState) -> None:
    """From now on the engine answers that its queue is so."""
    greeting = Greeting(id="", pid=1, uptime_seconds=7980.0, queue=queue)
    pulses["now"] = dataclasses.replace(pulses["now"], greeting=greeting)


async def settle(pilot: Pilot[Any]) -> None:
    """Until the charts are loaded, the engine has been asked, and nothing is left to be done."""
    app, home = pilot.app, pilot.app.screen_stack[0]
    assert isinstance(app, ConsoleApp)
    assert isinstance(home, HomeScreen)
    while not home.charts_ready or app.session.engine.pulse.engine is EngineState.STARTING:
        await pilot.pause(0.01)
    await pilot.pause()
    await pilot.pause()


def keys(*names: str) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Press these, after the screen has settled and before it is looked at."""

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
            # It plans when the hand rests.
            await until(pilot, lambda: screen._waiting is not None and screen._waiting._task.done())
        await settle(pilot)
        # What a key has changed may be laid out and drawn again behind that.
        before = None
        while (now := text_of(pilot.app)) != before:
            before = now
            await pilot.pause(0.05)

    return press


def text_of(app: App[Any]) -> str:
    """The characters on the screen, a line each."""
    return "".join(f"{strip.text.rstrip()}\n" for strip in app.screen._compositor.render_strips())


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


def drawn_names(app: ConsoleApp) -> list[str]:
    """Names of the runs whose curves the upper chart shows."""
    return [one.label for one in app.screen_stack[0].query_one("#first-chart", Chart)._series]


def told(app: ConsoleApp) -> str:
    """All notifications."""
    return "\n".join(notification.message for notification in app._notifications)
