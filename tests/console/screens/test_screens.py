"""What each screen looks like, at three sizes: pictures that are compared to the last character."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from console.app import ConsoleApp
from console.tui.feed import RunsChanged
from console.tui.status import EngineState, Pulse
from engine.control.queue_state import QueueState
from tests.console.driving import hold_queue, hold_run, settle
from tests.samples import fill_depths

SIZES = [(80, 24), (120, 36), (200, 50)]


def keys(*names: str) -> Callable[[Pilot[Any]], Any]:
    """Press these, after the screen has settled and before it is looked at."""

    async def press(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        for name in names:
            await pilot.press(name)
            await pilot.pause()
        for field in pilot.app.screen.query(Input):
            field.cursor_blink = False
        # The form waits for the hand to rest before it plans.
        await pilot.pause(0.3)
        await settle(pilot)

    return press


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
    "run-gradients": ("end", "enter", "6", "right", "right", "up"),
    "run-without-gradients": ("enter", "6"),
    "comparison": ("end", "c"),
    "comparison-depth": ("end", "c", "d"),
    "comparison-table": ("end", "c", "4"),
}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", STATES)
def test_screen(state: str, size: tuple[int, int], make_app: Callable[..., ConsoleApp], snap_compare: Any):
    """Every screen, as it was when somebody last looked at it and found it right."""
    assert snap_compare(make_app(), terminal_size=size, run_before=keys(*STATES[state]))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize(("name", "key"), [("gap", "2"), ("by-depth", "3"), ("table", "4")])
def test_degradation(
    name: str, key: str, size: tuple[int, int], make_app: Callable[..., ConsoleApp], snap_compare: Any
):
    """Three depths and three seeds, one of them under way: the gap, errors with bars beside published ones, verdict."""
    assert snap_compare(make_app(fill=fill_depths), terminal_size=size, run_before=keys("c", key))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_nothing_yet(size: tuple[int, int], make_app: Callable[..., ConsoleApp], snap_compare: Any):
    """A home without a run says what to do."""
    assert snap_compare(make_app(fill=None), terminal_size=size, run_before=keys())


@pytest.mark.parametrize("theme", ["depthscope-light", "high-contrast"])
def test_theme(theme: str, make_app: Callable[..., ConsoleApp], snap_compare: Any):
    """The other two themes, reached by their key."""

    async def choose(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        while pilot.app.theme != theme:
            await pilot.press("T")
        pilot.app.screen.post_message(RunsChanged())
        await settle(pilot)

    assert snap_compare(make_app(), terminal_size=(120, 36), run_before=choose)


@pytest.mark.parametrize(
    "pulse",
    [
        Pulse(EngineState.DOWN, trouble="no engine serves: nothing is queued or watched until one starts (key E)"),
        Pulse(EngineState.SILENT, trouble="the engine is not responding: training goes on"),
    ],
    ids=["down", "silent"],
)
def test_engine_trouble(pulse: Pulse, make_app: Callable[..., ConsoleApp], pulses: dict[str, Any], snap_compare: Any):
    """A banner says what is wrong, and the runs stay where they are."""
    pulses["now"] = pulse

    assert snap_compare(make_app(), terminal_size=(80, 24), run_before=keys())


def test_held_queue(make_app: Callable[..., ConsoleApp], pulses: dict[str, Any], snap_compare: Any):
    """A queue that starts nothing, and a run in it that is held by itself."""
    hold_queue(pulses, QueueState.HELD)
    app = make_app()
    hold_run(app.home)

    assert snap_compare(app, terminal_size=(80, 24), run_before=keys("slash", *"status:held"))


def test_too_small(make_app: Callable[..., ConsoleApp], snap_compare: Any):
    """A terminal that cannot hold the screen says how large it has to be."""
    assert snap_compare(make_app(), terminal_size=(50, 12), run_before=keys())


@pytest.mark.parametrize("state", ["home", "new-planned", "run-gradients", "comparison-table"])
def test_ascii_without_colour(
    state: str, make_app: Callable[..., ConsoleApp], monkeypatch: pytest.MonkeyPatch, snap_compare: Any
):
    """A terminal that shows neither Unicode nor colour shows everything all the same."""
    monkeypatch.setenv("LANG", "C")
    monkeypatch.setenv("NO_COLOR", "1")

    assert snap_compare(make_app(), terminal_size=(80, 24), run_before=keys(*STATES[state]))
