"""The queue on the home screen: requests made by its keys, and how its state is shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from textual.widgets import Static

from console.app import ConsoleApp
from console.text.status import state
from console.tui.config import Config
from engine.control.protocol import Hold, Move, Release, SetQueue
from engine.control.queue_state import QueueState
from tests.console.driving import QUEUED, hold_queue, hold_run, notifications, press, settle, table, until


def without_id(request: Any) -> Any:
    return msgspec.structs.replace(request, id="")


async def choose(pilot: Any, words: str) -> None:
    """Move the cursor to the first matching run."""
    await settle(pilot)
    await press(pilot, "slash")
    pilot.app.screen.query_one("#filter").value = words
    await press(pilot, "enter")


@pytest.mark.parametrize(("key", "expected"), [("f", Move(id="", runs=(QUEUED,))), ("h", Hold(id="", runs=(QUEUED,)))])
async def test_a_queued_run_is_moved_first_or_held(
    key: str, expected: Any, make_app: Callable[..., ConsoleApp], requests: list[Any]
):
    """The action applies to the run under the cursor and is confirmed."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await choose(pilot, "status:queued")
        await press(pilot, key)
        await until(pilot, lambda: notifications(app))

        assert [without_id(request) for request in requests] == [expected]


async def test_a_held_run_says_so_and_is_released_by_the_same_key(
    make_app: Callable[..., ConsoleApp], requests: list[Any]
):
    """Shown in the table and the remark, and found by the filter."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        hold_run(app.session.home)
        await until(pilot, lambda: app.session.feed.runs[QUEUED].held)
        await choose(pilot, "status:held")
        assert table(app).run_ids == [QUEUED]
        assert state(app.session.feed.runs[QUEUED], time.monotonic()) == "held"
        assert "held at position 1 in the queue; h releases it" in str(app.screen.query_one("#remark", Static).content)

        await press(pilot, "h")
        await until(pilot, lambda: notifications(app))
        assert [without_id(request) for request in requests] == [Release(id="", runs=(QUEUED,))]


@pytest.mark.parametrize("key", ["f", "h"])
async def test_only_queued_runs_are_changed(key: str, make_app: Callable[..., ConsoleApp], requests: list[Any]):
    """The console itself reports that there is nothing to do."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await choose(pilot, "status:running")
        await press(pilot, key)
        await until(pilot, lambda: notifications(app))

        assert "Nothing to" in notifications(app)
        assert not requests


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("H", QueueState.OPEN, QueueState.HELD),
        ("H", QueueState.HELD, QueueState.OPEN),
        ("H", QueueState.DRAINING, QueueState.HELD),
        ("D", QueueState.OPEN, QueueState.DRAINING),
        ("D", QueueState.DRAINING, QueueState.OPEN),
    ],
)
async def test_the_whole_queue_is_held_drained_and_released(
    key: str,
    before: QueueState,
    after: QueueState,
    make_app: Callable[..., ConsoleApp],
    requests: list[Any],
    pulses: dict[str, Any],
):
    """One key each toggles, depending on the queue's state as reported by the engine."""
    hold_queue(pulses, before)
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await until(pilot, lambda: app.session.engine.pulse.greeting is not None)
        await press(pilot, key)
        await until(pilot, lambda: notifications(app))

        assert [without_id(request) for request in requests] == [SetQueue(id="", state=after)]


@pytest.mark.parametrize("queue", [QueueState.HELD, QueueState.DRAINING])
async def test_the_headline_says_that_nothing_is_started(
    queue: QueueState, make_app: Callable[..., ConsoleApp], pulses: dict[str, Any]
):
    """The reason why a queued run waits is visible even on a small terminal."""
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        line = app.screen.query_one("#headline-engine", Static)
        await until(pilot, lambda: str(line.content).endswith("1 queued"))
        hold_queue(pulses, queue)
        await until(pilot, lambda: str(line.content).endswith(f"1 queued, {queue}"))

        shown = "".join(segment.text for segment in line.render_line(0))
        assert f"1 queued, {queue}" in shown


async def test_its_keys_are_in_the_palette_and_can_be_others(make_app: Callable[..., ConsoleApp], requests: list[Any]):
    """Like all other keys."""
    app = make_app(config=Config(keys={"queue.hold-all": "ctrl+e"}))
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        titles = {command.title for command in app.get_system_commands(app.screen)}
        assert {"run first", "hold or release", "hold or release the queue", "drain the queue, or release it"} <= titles

        await press(pilot, "H", "ctrl+e")
        await until(pilot, lambda: notifications(app))
        assert [without_id(request) for request in requests] == [SetQueue(id="", state=QueueState.HELD)]
