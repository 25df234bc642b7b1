"""Count how often the console renders a chart and writes its view file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

import console.tui.session
import console.tui.view_state
from console.app import ConsoleApp
from console.tui.view_state import load_view
from console.widgets.chart import Chart
from console.widgets.layer_map import LayerMap
from engine.index.writer import Store
from engine.runs.directory import Labels
from tests import samples
from tests.console.driving import drawn_names, press, settle, table, until

NUM_CHARTS = 2
"""Visible on a tab of a comparison, and on the home screen without the summary."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn chart or map: its id, and whether it changed."""

    id: str | None
    differs: bool


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[Drawn]:
    """Record every draw."""
    counted: list[Drawn] = []
    draw, draw_map = Chart._draw, LayerMap._drawn

    def count(chart: Chart, width: int, height: int) -> None:
        before = chart._lines
        draw(chart, width, height)
        counted.append(Drawn(chart.id, chart._lines != before))

    def count_map(layers: LayerMap, *how: Any) -> Any:
        before = layers._map and layers._map.lines
        drawn = draw_map(layers, *how)
        counted.append(Drawn(layers.id, drawn.lines != before))
        return drawn

    monkeypatch.setattr(Chart, "_draw", count)
    monkeypatch.setattr(LayerMap, "_drawn", count_map)
    return counted


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """Record the thread of every write of the view."""
    counted: list[threading.Thread] = []
    write = console.tui.view_state.write_atomically

    def count(path: Path, content: bytes) -> None:
        write(path, content)
        counted.append(threading.current_thread())

    monkeypatch.setattr(console.tui.view_state, "write_atomically", count)
    return counted


async def draws_of(key: str, pilot: Pilot[Any], draws: list[Drawn]) -> int:
    """Press a key and count the charts drawn."""
    draws.clear()
    await press(pilot, key)
    await settle(pilot)
    return len(draws)


async def test_a_cursor_move_draws_each_chart_once_and_only_other_curves(
    make_app: Callable[..., ConsoleApp], draws: list[Drawn]
):
    """For two charts; within an experiment the curves stay the same."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        assert len(draws) == 1
        await press(pilot, "V")
        await settle(pilot)
        assert {drawn.id for drawn in draws[1:]} == {"first-chart", "second-chart"}
        for _ in range(13):
            before = drawn_names(app)
            num_draws = await draws_of("down", pilot, draws)
            assert num_draws == (0 if drawn_names(app) == before else NUM_CHARTS)


async def test_a_filter_is_typed_with_a_draw_for_other_curves_and_one_write_after_the_pause(
    make_app: Callable[..., ConsoleApp], draws: list[Drawn], writes: list[threading.Thread]
):
    """A letter that changes no curve draws nothing; the view is written off the UI thread."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "V", "slash")
        await settle(pilot)
        for letter in "depth:8":
            before = drawn_names(app)
            num_draws = await draws_of(letter, pilot, draws)
            assert num_draws == (0 if drawn_names(app) == before else NUM_CHARTS)
        assert drawn_names(app) == []

        # On a busy machine the pause may elapse between two letters, with an earlier write.
        await until(pilot, lambda: load_view(app.session.home, app.session.config).filter == "depth:8")
        assert threading.main_thread() not in writes


async def test_letters_in_a_burst_are_written_once(
    make_app: Callable[..., ConsoleApp], writes: list[threading.Thread], monkeypatch: pytest.MonkeyPatch
):
    """The pause restarts with every letter, even on a busy machine."""
    monkeypatch.setattr(console.tui.session, "SECONDS_BEFORE_SAVING", 3600.0)
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash", *"depth:8")
        assert app.session._saving is not None
        assert writes == []
        app.session._save_view_in_background()
        await until(pilot, lambda: writes)
        assert app.session._saving is None

    assert len(writes) == 1
    assert load_view(app.session.home, app.session.config).filter == "depth:8"


@pytest.mark.parametrize("status", [0, 143])
async def test_a_change_that_waits_to_be_written_is_written_at_the_end(
    status: int, make_app: Callable[..., ConsoleApp], monkeypatch: pytest.MonkeyPatch
):
    """On quitting by key or by signal, however long the pause."""
    monkeypatch.setattr(console.tui.session, "SECONDS_BEFORE_SAVING", 3600.0)
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "y")
        app.leave(status)

    assert load_view(app.session.home, app.session.config).options.log_y


@pytest.mark.parametrize("screen", [[], ["enter"], ["c"]])
async def test_new_numbers_draw_each_chart_once(
    screen: list[str], make_app: Callable[..., ConsoleApp], draws: list[Drawn]
):
    """One commit of runs and metrics causes one draw; a commit of other runs causes none."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash", *"status:running", "enter")
        await settle(pilot)
        run = app.session.feed.runs[table(app).cursor_run or ""]
        await press(pilot, *screen)
        await settle(pilot)
        store = Store(app.session.home.database)
        draws.clear()
        with store.transaction():
            step = run.step + 50
            store.ingest(run.id, [samples.sample_step(step, step // samples.STEPS_PER_EPOCH + 1, at=0.0)], [], end=0)
        app.session.look()
        await settle(pilot)
        assert 1 <= len(draws) <= NUM_CHARTS
        assert len({drawn.id for drawn in draws}) == len(draws)

        draws.clear()
        other = next(one for one in app.session.feed.runs.values() if one.experiment != run.experiment)
        with store.transaction():
            labels = Labels(name="renamed", experiment=other.experiment, position=other.position, created_at=0.0)
            store.set_labels(other.id, labels)
        store.close()
        app.session.look()
        await until(pilot, lambda: app.session.feed.runs[other.id].name == "renamed")
        await settle(pilot)
        assert draws == []


KEYS = {
    "home": "up up space space U o O g g y x e z right_square_bracket z Z escape m M v T tab slash d e p t h : 8"
    " escape slash p l a i n enter escape i escape V down V question_mark escape",
    "run": "home enter y x e z left_square_bracket 2 3 y 4 5 6 o m T y 1 e Z T t escape question_mark escape escape",
    "comparison": "c y x e z right_square_bracket d D 2 y T d 3 T 4 y 1 escape",
}
"""Keys per screen: some change what is shown, some do not."""
SIZES = ((124, 38), (90, 40), (90, 25), (120, 25), (120, 36))
"""Terminal sizes; each step but the first changes the layout."""


@pytest.mark.parametrize("screen", KEYS)
async def test_a_key_draws_no_chart_twice_and_none_that_stays_the_same(
    screen: str, make_app: Callable[..., ConsoleApp], draws: list[Drawn]
):
    """Even if the key changes curves, options, colours and sizes at once."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        for key in KEYS[screen].split():
            await draws_of(key, pilot, draws)
            assert len({drawn.id for drawn in draws}) == len(draws), key
            assert all(drawn.differs for drawn in draws), key


@pytest.mark.parametrize("keys", [[], ["enter"], ["home", "enter", "6"], ["c"], ["c", "3"], ["question_mark"]])
async def test_a_resize_draws_every_visible_chart_once(
    keys: list[str], make_app: Callable[..., ConsoleApp], draws: list[Drawn]
):
    """Even if the layout changes, too; a covered screen is drawn when it returns."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, *keys)
        await settle(pilot)
        for size in SIZES:
            draws.clear()
            await pilot.resize_terminal(*size)
            await settle(pilot)
            screen = app.screen_stack[0] if app.screen.is_modal else app.screen
            visible = [one.id for kind in (Chart, LayerMap) for one in screen.query(kind) if one.is_on_screen]
            assert sorted(str(drawn.id) for drawn in draws) == sorted(map(str, visible)), size


async def test_a_chart_on_a_hidden_tab_is_not_drawn(make_app: Callable[..., ConsoleApp], draws: list[Drawn]):
    """It is drawn once it is shown."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "c")
        await settle(pilot)
        draws.clear()
        for tab in "23":
            assert await draws_of(tab, pilot, draws) == NUM_CHARTS
        assert await draws_of("y", pilot, draws) == NUM_CHARTS
        assert await draws_of("1", pilot, draws) == NUM_CHARTS
        assert await draws_of("2", pilot, draws) == NUM_CHARTS
