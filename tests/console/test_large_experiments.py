"""Reading the curves of a large experiment slice by slice, so that keys and frames get their turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from console.app import ConsoleApp
from console.charts.metrics import History
from console.comparison.verdict import conclude
from console.screens import comparison
from console.screens.home import HomeScreen
from console.tui import feed as feeds
from console.widgets.chart import Chart
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.run import Run
from tests.console.driving import drawn_names, press, settle, table, until
from tests.samples import add_sample

NUM_RUNS, NUM_EPOCHS = 200, 164
SLICES = -(-NUM_RUNS * NUM_EPOCHS // feeds.ROWS_A_SLICE)


def fill_two(home: Home) -> None:
    """Add an experiment of 200 runs, two networks with 100 seeds, and after it one of a single run."""
    store = Store(home.database)
    with store.transaction():
        for number in range(NUM_RUNS):
            add_sample(
                store,
                number,
                ("he-resnet", "he-plain")[number % 2],
                20,
                experiment="large",
                epochs_done=NUM_EPOCHS,
                floor=8.0 + number % 7,
                seed=number // 2,
            )
        add_sample(store, NUM_RUNS, "resnet", 56, experiment="small", epochs_done=3)
    store.close()


@dataclass(slots=True)
class Turn:
    """What the UI thread read without giving way to anything else."""

    num_rows: int = 0
    longest: int = 0
    """Most rows of one run."""


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[Turn]:
    """Record the rows read in each turn of the event loop."""
    found: list[Turn] = []
    current: list[Turn] = []
    read = History.read

    def count(history: History, reader: Reader, run: Run) -> bool:
        if not current:
            current.append(Turn())
            found.append(current[0])
            asyncio.get_running_loop().call_soon(current.clear)
        before = history.num_rows
        result = read(history, reader, run)
        current[0].num_rows += history.num_rows - before
        current[0].longest = max(current[0].longest, history.num_rows - before)
        return result

    monkeypatch.setattr(History, "read", count)
    return found


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Record the id of every chart drawn."""
    found: list[str | None] = []
    draw = Chart._draw

    def count(chart: Chart, width: int, height: int) -> None:
        draw(chart, width, height)
        found.append(chart.id)

    monkeypatch.setattr(Chart, "_draw", count)
    return found


async def test_a_large_experiment_is_read_in_slices_and_drawn_once(
    make_app: Callable[..., ConsoleApp], turns: list[Turn], drawn: list[str | None]
):
    """No turn of the event loop reads more than two slices, and each visible chart is drawn when all are read."""
    app = make_app(fill_two)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        assert app.session.feed.runs[table(app).cursor_run or ""].experiment == "small"
        turns.clear()
        drawn.clear()
        await press(pilot, "home")
        assert app.session.feed.runs[table(app).cursor_run or ""].experiment == "large"
        await until(pilot, lambda: not app.session.feed.has_unread)
        await settle(pilot)

        assert sum(turn.num_rows for turn in turns) == NUM_RUNS * NUM_EPOCHS
        # The cursor's move and the draw it asks for may fall in one turn, each with a slice.
        assert max(turn.num_rows for turn in turns) <= 2 * (feeds.ROWS_A_SLICE + NUM_EPOCHS)
        assert len(turns) >= SLICES // 2
        assert drawn
        assert len(set(drawn)) == len(drawn)
        assert [name.split()[-1] for name in drawn_names(app)] == [f"n={NUM_RUNS // 2}"] * 2


async def test_a_cursor_that_moves_on_stops_reading(make_app: Callable[..., ConsoleApp], turns: list[Turn]):
    """What is under it now is drawn at once."""
    app = make_app(fill_two)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        turns.clear()
        home = app.screen
        assert isinstance(home, HomeScreen)
        table(app).action_move(-NUM_RUNS)
        home.follow_cursor()
        assert app.session.feed.has_unread
        table(app).action_move(NUM_RUNS)
        home.follow_cursor()
        await settle(pilot)
        assert not app.session.feed.has_unread
        assert sum(turn.num_rows for turn in turns) < NUM_RUNS * NUM_EPOCHS


async def test_a_comparison_judges_nothing_before_all_is_read(
    make_app: Callable[..., ConsoleApp], turns: list[Turn], monkeypatch: pytest.MonkeyPatch
):
    """Its table and its verdict would be wrong of a part."""
    app = make_app(fill_two)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "home")
        await until(pilot, lambda: not app.session.feed.has_unread)
        app.session.feed.watch([])
        turns.clear()
        said: list[bool] = []
        monkeypatch.setattr(
            comparison, "conclude", lambda *of: said.append(not app.session.feed.has_unread) or conclude(*of)
        )
        await press(pilot, "c")
        await until(pilot, lambda: not app.session.feed.has_unread)
        await settle(pilot)
        assert said
        assert all(said)
        assert max(turn.num_rows for turn in turns) <= 2 * (feeds.ROWS_A_SLICE + NUM_EPOCHS)
