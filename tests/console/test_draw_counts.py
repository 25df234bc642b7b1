"""How often the console draws a chart and writes its view: counted where a chart is rendered and a file is replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

import console.charts.overlay
import console.tui.session
import console.tui.view_state
from console.app import ConsoleApp
from console.tui.view_state import load_view
from engine.index.writer import Store
from engine.runs.directory import Labels
from tests import samples
from tests.console.driving import drawn_names, press, settle, table, until

NUM_CHARTS = 2
"""Visible on the home screen and on a tab of a comparison."""


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of curves in every chart that was rendered."""
    counted: list[int] = []
    draw = console.charts.overlay.draw

    def count(series: Any, **options: Any) -> Any:
        counted.append(len(series))
        return draw(series, **options)

    monkeypatch.setattr(console.charts.overlay, "draw", count)
    return counted


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The thread of every write of the view."""
    counted: list[threading.Thread] = []
    write = console.tui.view_state.write_atomically

    def count(path: Path, content: bytes) -> None:
        write(path, content)
        counted.append(threading.current_thread())

    monkeypatch.setattr(console.tui.view_state, "write_atomically", count)
    return counted


async def draws_of(key: str, pilot: Pilot[Any], draws: list[int]) -> int:
    """How many charts a key draws."""
    draws.clear()
    await press(pilot, key)
    await settle(pilot)
    return len(draws)


async def test_a_cursor_move_draws_each_chart_once_and_only_other_curves(
    make_app: Callable[..., ConsoleApp], draws: list[int]
):
    """Two charts; within an experiment the cursor moves over the same curves."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        assert len(draws) == NUM_CHARTS
        for _ in range(13):
            before = drawn_names(app)
            num_draws = await draws_of("down", pilot, draws)
            assert num_draws == (0 if drawn_names(app) == before else NUM_CHARTS)


async def test_a_filter_is_typed_with_a_draw_for_other_curves_and_one_write_after_the_pause(
    make_app: Callable[..., ConsoleApp], draws: list[int], writes: list[threading.Thread]
):
    """A letter that changes no curve draws nothing; the view is written by another thread than the one that draws."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash")
        await settle(pilot)
        for letter in "depth:8":
            before = drawn_names(app)
            num_draws = await draws_of(letter, pilot, draws)
            assert num_draws == (0 if drawn_names(app) == before else NUM_CHARTS)
        assert drawn_names(app) == []

        await until(pilot, lambda: writes)
        assert threading.main_thread() not in writes
        assert app.session.view.filter == "depth:8"
        assert load_view(app.session.home, app.session.config).filter == "depth:8"


async def test_letters_in_a_burst_are_written_once(
    make_app: Callable[..., ConsoleApp], writes: list[threading.Thread], monkeypatch: pytest.MonkeyPatch
):
    """Whatever the machine is busy with, the pause begins again with every letter."""
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
    """By the user's key and by a signal, however long the pause."""
    monkeypatch.setattr(console.tui.session, "SECONDS_BEFORE_SAVING", 3600.0)
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "y")
        app.leave(status)

    assert load_view(app.session.home, app.session.config).options.log_y


async def test_new_numbers_draw_each_chart_once(make_app: Callable[..., ConsoleApp], draws: list[int]):
    """Runs and numbers change in one commit, which is one drawing; a commit of other runs is none."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash", *"status:running", "enter")
        await settle(pilot)
        run = app.session.feed.runs[table(app).cursor_run or ""]
        store = Store(app.session.home.database)
        draws.clear()
        with store.transaction():
            step = run.step + 50
            store.ingest(run.id, [samples.sample_step(step, step // samples.STEPS_PER_EPOCH + 1, at=0.0)], [], end=0)
        app.session.look()
        await settle(pilot)
        assert 1 <= len(draws) <= NUM_CHARTS

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


async def test_a_chart_on_a_hidden_tab_is_not_drawn(make_app: Callable[..., ConsoleApp], draws: list[int]):
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
