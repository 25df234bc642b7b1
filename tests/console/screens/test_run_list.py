"""The list of runs: one order everywhere, places in the queue, and which runs are drawn and compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widgets import Static

from console.app import ConsoleApp
from console.screens.comparison import ComparisonScreen
from console.screens.home import HomeScreen
from console.text.listing import in_queue_order, queue_table, runs_table
from console.text.status import queue_places
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import Labels
from engine.runs.run import RunStatus
from tests import samples
from tests.console.driving import press, settle, table, text_of, until


def fill_queue(home: Home) -> None:
    """Three finished runs, then six queued ones; the last of these comes first in the queue, and one is held."""
    store = Store(home.database)
    with store.transaction():
        for number in range(1, 4):
            samples.add_sample(store, number, "he-plain", 20, experiment="e", epochs_done=164, seed=number)
        for number in range(4, 10):
            id = samples.add_sample(
                store, number, "he-plain", 56, experiment="e", epochs_done=0, status=RunStatus.QUEUED, outcome=None
            )
            labels = Labels(
                name=f"waits{number}",
                experiment="e",
                position=number,
                place=0.5 if number == 9 else None,
                created_at=0.0,
                held=number == 5,
            )
            store.set_labels(id, labels)
    store.close()


def fill_eighteen(home: Home) -> None:
    """An experiment of 18 runs with data, and one that waits."""
    samples.fill_depths(home)
    store = Store(home.database)
    with store.transaction():
        samples.add_sample(
            store, 19, "he-plain", 20, experiment="degradation", epochs_done=0, status=RunStatus.QUEUED, outcome=None,
            seed=3,
        )  # fmt: skip
    store.close()


async def test_the_console_lists_runs_in_the_order_of_ls_and_the_queue(make_app: Callable[..., ConsoleApp]):
    """Oldest first; a queued run says when its turn is, which a move can change."""
    app = make_app(fill_queue)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        with Reader(app.session.home.database) as reader:
            runs = reader.runs()
            places = queue_places(reader.unfinished_runs())
        names = [f"waits{number}" for number in range(4, 10)]

        assert table(app).run_ids == [run.id for run in runs]
        shown = [line.split("│")[1] for line in text_of(app).splitlines() if "waits" in line]
        assert [line.split()[1] for line in shown] == names
        for line, place in zip(shown, (2, 3, 4, 5, 6, 1), strict=True):
            assert f"{'held' if 'waits5' in line else 'queued'} {place} " in line
        await press(pilot, "end")
        assert str(app.screen.query_one("#remark", Static).content) == "waits9: queued at position 1"

    listed = [line for line in runs_table(runs, places).splitlines() if "waits" in line]
    assert [line.split()[2] for line in listed] == names
    assert [" ".join(line.split()[3:5]) for line in listed] == [
        *("queued 2", "held 3", "queued 4", "queued 5", "queued 6", "queued 1"),
    ]
    queue = queue_table(in_queue_order(runs)).splitlines()[1:]
    assert [line.split()[0] for line in queue] == list("123456")
    assert [line.split()[3] for line in queue] == [names[-1], *names[:-1]]


async def test_every_run_of_the_experiment_with_data_is_drawn(make_app: Callable[..., ConsoleApp]):
    """Wherever the cursor is, also on a run that waits, which has no curve."""
    app = make_app(fill_eighteen)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        home = app.screen_stack[0]
        assert isinstance(home, HomeScreen)
        with_data = {f"{number:010x}" for number in range(1, 19)}
        for key in ("home", "end"):
            await press(pilot, key)
            assert {run.id for run in home.drawn_runs()} == with_data
        assert app.session.feed.runs[table(app).cursor_run or ""].status is RunStatus.QUEUED
        assert "no data yet" not in text_of(app)


async def test_any_number_of_runs_can_be_marked(make_app: Callable[..., ConsoleApp]):
    """And drawn."""
    app = make_app(fill_eighteen)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "home", *["space"] * 12)
        home = app.screen_stack[0]
        assert isinstance(home, HomeScreen)

        assert len(app.session.view.marked) == 12
        assert len(home.drawn_runs()) == 12
        assert "12 marked" in text_of(app)
    assert len(make_app().session.view.marked) == 12


@pytest.mark.parametrize(
    ("keys", "title", "compared"),
    [
        (("home", "c"), "depths: 6 runs, all depths: 6 succeeded", range(1, 7)),
        (("home", "space", "c"), "depths: 6 runs, all depths: 6 succeeded", range(1, 7)),
        (
            ("end", "space", "home", "space", "space", "c"),
            "3 marked runs of broken, depths: 3 runs, all depths: 2 succeeded, 1 cancelled",
            (13, 1, 2),
        ),
    ],
    ids=["none", "one experiment", "several"],
)
async def test_marked_runs_are_compared(
    keys: tuple[str, ...], title: str, compared: range | tuple[int, ...], make_app: Callable[..., ConsoleApp]
):
    """Marks within one experiment stand for it; those of several are compared alone."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, *keys)
        screen = app.screen
        assert isinstance(screen, ComparisonScreen)
        await until(pilot, lambda: str(screen.query_one("#run-title", Static).content))

        assert str(screen.query_one("#run-title", Static).content).startswith(title)
        assert {run.id for run in screen.runs()} == {f"{number:010x}" for number in compared}


async def test_the_filter_stays_in_sight(make_app: Callable[..., ConsoleApp], tmp_path: Path):
    """In the table's title, in the next console too, where its field is not open."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash", *"arch:plain", "enter", "q")
    again = make_app()
    async with again.run_test(size=(120, 36)) as pilot:
        await settle(pilot)

        assert "5 of 13 fit: arch:plain" in text_of(again)
        await press(pilot, "escape")
        assert "fit" not in text_of(again).splitlines()[1]


async def test_the_cursors_line_stays_where_it_is_when_older_runs_are_read(
    make_app: Callable[..., ConsoleApp], monkeypatch: pytest.MonkeyPatch
):
    """A long list is read from its newest end; what is read later is above."""
    monkeypatch.setattr("console.tui.feed.RUNS_AT_FIRST", 20)
    monkeypatch.setattr("console.tui.feed.RUNS_CHANGED_LAST", 1)
    monkeypatch.setattr("console.tui.feed.RUNS_A_LOOK", 20)
    app = make_app(lambda home: samples.fill_large(home, num_runs=120, epochs=1))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: len(app.session.feed.runs) == 120)
        await settle(pilot)
        runs = table(app)

        assert runs.cursor_run == f"{114:010x}"
        assert 0 <= runs._row - runs.scroll_offset.y < runs.size.height


async def test_the_cursor_goes_to_runs_that_the_console_submitted(make_app: Callable[..., ConsoleApp]):
    """They are at the end of the list; runs that others submit leave the cursor where it is."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        before = table(app).cursor_run
        for number, is_ours in ((14, False), (15, True)):
            if is_ours:
                app.session.submitted_after = number - 1
            store = Store(app.session.home.database)
            with store.transaction():
                samples.add_sample(
                    store, number, "he-plain", 20, experiment=f"new{number}", epochs_done=0, status=RunStatus.QUEUED,
                    outcome=None,
                )  # fmt: skip
            store.close()
            await until(pilot, lambda number=number: f"{number:010x}" in table(app).run_ids)
            await settle(pilot)
            assert table(app).cursor_run == (f"{number:010x}" if is_ours else before)


async def test_a_run_has_one_look_wherever_the_cursor_is(make_app: Callable[..., ConsoleApp]):
    """Marker and colour follow from its network, whether it is drawn or not, so its line never changes."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        seen = []
        for key in ("home", "end"):
            await press(pilot, key)
            lines = (table(app).run_line(run, is_cursor=False) for run in table(app).run_ids)
            seen.append([(segment.text, segment.style and segment.style.color) for line in lines for segment in line])

        assert seen[0] == seen[1]
        assert len({colour for text, colour in seen[0] if len(text) == 1}) > 1
