"""Snapshots of every screen's text, and of the colours of a few.

Taken at the smallest size, where space is scarce; test_larger_screens has larger ones. `--snapshot-update` renews them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from console.app import ConsoleApp
from console.tui.feed import RunsChanged
from console.tui.status import EngineState, Pulse
from engine.control.queue_state import QueueState
from tests.console.driving import hold_queue, hold_run, keys, settle
from tests.samples import fill_depths

SMALL = (80, 24)

STATES = {
    "home": (),
    "home-marked": ("space", "space", "y", "e"),
    "home-filtered": ("slash", *"arch:plain"),
    "home-crosshair": ("right_square_bracket",),
    "home-sorted": ("g", "o", "o"),
    "keys": ("question_mark",),
    "away": ("W",),
    "tagging": ("t", *"+good"),
    "new": ("n",),
    "new-planned": ("n", "space", "down", "space", "tab", "space", "down", "space"),
    "run-curves": ("enter",),
    "run-epochs": ("enter", "2"),
    "run-spec": ("enter", "3"),
    "run-log": ("enter", "4"),
    "run-events": ("enter", "5"),
    "run-gradients": ("home", "enter", "6", "right", "right", "up"),
    "run-without-gradients": ("enter", "6"),
    "comparison": ("home", "c"),
    "comparison-depth": ("home", "c", "d"),
    "comparison-table": ("home", "c", "4"),
}


DEGRADATION = {"gap": "2", "by-depth": "3", "table": "4"}
"""Views of a comparison of several depths, and their keys."""
COLOURED = ("home", "home-marked", "new-planned", "run-gradients", "comparison-table")
"""States whose colours carry information beyond their text."""


@pytest.mark.parametrize("state", STATES)
async def test_screen(state: str, make_app: Callable[..., ConsoleApp], text_compare: Callable[..., Awaitable[bool]]):
    """Every screen equals its approved snapshot."""
    assert await text_compare(make_app(), terminal_size=SMALL, run_before=keys(*STATES[state]))


@pytest.mark.parametrize("state", COLOURED)
def test_colours(state: str, make_app: Callable[..., ConsoleApp], snap_compare: Any):
    """Marked, failed, selected and large items are also shown by colour."""
    assert snap_compare(make_app(), terminal_size=SMALL, run_before=keys(*STATES[state]))


@pytest.mark.parametrize("name", DEGRADATION)
async def test_degradation(
    name: str, make_app: Callable[..., ConsoleApp], text_compare: Callable[..., Awaitable[bool]]
):
    """Three depths and three seeds, one still running: the gap, error bars with published errors, verdict."""
    assert await text_compare(make_app(fill=fill_depths), terminal_size=SMALL, run_before=keys("c", DEGRADATION[name]))


async def test_nothing_yet(make_app: Callable[..., ConsoleApp], text_compare: Callable[..., Awaitable[bool]]):
    """A home without a run says what to do."""
    assert await text_compare(make_app(fill=None), terminal_size=SMALL, run_before=keys())


@pytest.mark.parametrize("theme", ["depthscope-light", "high-contrast"])
def test_theme(theme: str, make_app: Callable[..., ConsoleApp], snap_compare: Any):
    """The other two themes, reached by their key."""

    async def choose(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        while pilot.app.theme != theme:
            await pilot.press("T")
        pilot.app.screen.post_message(RunsChanged())
        await settle(pilot)

    assert snap_compare(make_app(), terminal_size=SMALL, run_before=choose)


@pytest.mark.parametrize(
    "pulse",
    [
        Pulse(EngineState.DOWN, trouble="no engine serves: nothing is queued or watched until one starts (key E)"),
        Pulse(EngineState.SILENT, trouble="the engine is not responding: training goes on"),
    ],
    ids=["down", "silent"],
)
async def test_engine_trouble(
    pulse: Pulse,
    make_app: Callable[..., ConsoleApp],
    pulses: dict[str, Any],
    text_compare: Callable[..., Awaitable[bool]],
):
    """A banner reports the problem, and the runs stay visible."""
    pulses["now"] = pulse

    assert await text_compare(make_app(), terminal_size=SMALL, run_before=keys())


async def test_held_queue(
    make_app: Callable[..., ConsoleApp], pulses: dict[str, Any], text_compare: Callable[..., Awaitable[bool]]
):
    """A held queue, and a run in it that is held individually."""
    hold_queue(pulses, QueueState.HELD)
    app = make_app()
    hold_run(app.session.home)

    assert await text_compare(app, terminal_size=SMALL, run_before=keys("slash", *"status:held"))


async def test_too_small(make_app: Callable[..., ConsoleApp], text_compare: Callable[..., Awaitable[bool]]):
    """A terminal that is too small shows the required size."""
    assert await text_compare(make_app(), terminal_size=(50, 12), run_before=keys())


@pytest.mark.parametrize("state", ["home", "new-planned", "run-gradients", "comparison-table"])
def test_ascii_without_colour(
    state: str, make_app: Callable[..., ConsoleApp], monkeypatch: pytest.MonkeyPatch, snap_compare: Any
):
    """Terminals without Unicode and colour still show everything."""
    monkeypatch.setenv("LANG", "C")
    monkeypatch.setenv("NO_COLOR", "1")

    assert snap_compare(make_app(), terminal_size=SMALL, run_before=keys(*STATES[state]))
