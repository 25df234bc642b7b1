"""The console driven by keys: effects on the screen, in the home and at the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.geometry import Size
from textual.widgets import Input, Static

import console.tui.engine_link
from console.app import ConsoleApp
from console.screens.home import HomeScreen
from console.screens.new_experiment import NewExperimentScreen
from console.screens.run import RunScreen
from console.tui.config import Config
from console.tui.status import EngineState, Pulse
from console.widgets.banner import Banner
from console.widgets.chart import Chart
from console.widgets.run_table import RunTable
from engine.base.errors import EngineUnreachable
from engine.base.paths import Home
from engine.index.writer import Store
from engine.runs.directory import Labels
from engine.runs.run import RunStatus
from tests import samples
from tests.console.driving import drawn_names, notifications, press, settle, table, until

Requests = list[Any]


async def test_cursor_moves_over_runs_and_not_over_heads_of_groups(make_app: Callable[..., ConsoleApp]):
    """A group's header is not a run, so actions do not apply to it."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        assert table(app).cursor_run == f"{11:010x}", "the newest experiment's first run"
        await press(pilot, "home")
        seen = []
        for _ in range(20):
            seen.append(table(app).cursor_run)
            await press(pilot, "down")

        assert None not in seen
        assert len(set(seen)) == 13


async def test_marks_choose_what_is_drawn_and_survive_the_console(make_app: Callable[..., ConsoleApp]):
    """After a restart, marks, filter and axes are the same."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "space", "space", "y", "x")
        marked = list(app.session.view.marked)
        home = app.screen_stack[0]
        assert isinstance(home, HomeScreen)
        assert [run.id for run in home.drawn_runs()] == marked
        await press(pilot, "q")

    again = make_app()
    assert again.session.view.marked == marked
    assert again.session.view.options.log_y
    assert again.session.view.options.axis == "step"


@pytest.mark.parametrize(
    ("words", "key", "request_name"),
    [
        ("status:running", "p", "Pause"),
        ("status:queued", "p", "Pause"),
        ("status:running", "s", "Stop"),
        ("status:paused", "r", "Resume"),
        ("status:failed", "r", "Retry"),
        ("status:succeeded", "d", "Remove"),
    ],
)
async def test_action_asks_the_engine_for_the_run_under_the_cursor(
    words: str, key: str, request_name: str, make_app: Callable[..., ConsoleApp], requests: Requests
):
    """One request for its id, and a confirmation."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash")
        app.screen.query_one("#filter", Input).value = words
        await press(pilot, "enter")
        chosen = table(app).cursor_run
        await press(pilot, key)
        await until(pilot, lambda: requests and notifications(app))

        (request,) = requests
        assert type(request).__name__ == request_name
        assert request.runs == (chosen,)


@pytest.mark.parametrize(("answer", "is_hidden"), [("y", True), ("n", False), ("", False)])
async def test_hiding_a_queued_run_asks_first_and_undo_queues_it_again(
    answer: str, is_hidden: bool, make_app: Callable[..., ConsoleApp], requests: Requests
):
    """Hiding cancels it, as the question says; undo is one request, which the engine carries out as a whole."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash")
        app.screen.query_one("#filter", Input).value = "status:queued"
        await press(pilot, "enter")
        chosen = table(app).cursor_run
        await press(pilot, "d")

        question = str(app.screen.query_one(".question", Static).content)
        assert question.startswith("Cancel and hide queued run ")
        assert not requests
        await press(pilot, *answer, "enter", "u")
        await until(pilot, lambda: notifications(app) and len(requests) == (2 if is_hidden else 0))

        expected = ["Remove", "Restore"] if is_hidden else []
        assert [type(request).__name__ for request in requests] == expected
        assert all(request.runs == (chosen,) for request in requests)


async def test_action_that_makes_no_sense_asks_for_nothing(make_app: Callable[..., ConsoleApp], requests: Requests):
    """A succeeded run cannot be paused, which the console itself reports."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "home", "p")
        await until(pilot, lambda: notifications(app))

        assert "succeeded" in notifications(app)
        assert not requests


async def test_an_unresponsive_engine_is_reported_and_nothing_is_lost(
    make_app: Callable[..., ConsoleApp], monkeypatch: pytest.MonkeyPatch
):
    """The reason is shown, and the console continues."""

    def fail(_home: Home, _request: Any) -> None:
        raise EngineUnreachable("the engine does not respond (3 s)")

    monkeypatch.setattr(console.tui.engine_link, "ask_for", fail)
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash", *"running", "enter", "p")
        await until(pilot, lambda: notifications(app))

        assert "does not respond" in notifications(app)


async def test_new_numbers_reach_the_table_and_the_charts(make_app: Callable[..., ConsoleApp]):
    """What the engine commits appears on screen soon, without a key."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "slash", *"resnet110", "enter")
        chart = app.screen.query_one("#second-chart", Chart)
        before = chart.as_lines(width=60, height=20, colour=False)
        run = table(app).cursor_run or ""
        store = Store(app.session.home.database)
        with store.transaction():
            store.ingest(run, [samples.sample_epoch(83, floor=60.0, at=samples.NOW)], [], end=0)
        store.close()
        await until(pilot, lambda: app.session.feed.runs[run].epoch == 83)
        await until(pilot, lambda: chart.as_lines(width=60, height=20, colour=False) != before)
        assert [row.epoch for row in app.session.feed.history(run).epochs] == list(range(1, 84))


async def test_a_damaged_database_is_reported_and_recovers(make_app: Callable[..., ConsoleApp], tmp_path: Path):
    """A banner while it is unreadable, and the runs once it is readable again."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        kept = tmp_path / "kept.db"
        app.session.home.database.rename(kept)
        for suffix in ("-wal", "-shm"):
            app.session.home.database.with_name(app.session.home.database.name + suffix).unlink(missing_ok=True)
        app.session.home.database.write_bytes(b"no database at all, but long enough to be looked at" * 50)
        banner = app.screen.query_one(Banner)
        await until(pilot, lambda: banner.display and "damaged" in str(banner.content))
        app.session.home.database.unlink()
        samples.fill_small(app.session.home)
        await until(pilot, lambda: not banner.display)
        assert len(app.session.feed.runs) == 13


async def test_database_that_appears_later_is_read(make_app: Callable[..., ConsoleApp]):
    """As with the first run of a home."""
    app = make_app(fill=None)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        assert app.screen.query_one("#no-runs").display
        samples.fill_small(app.session.home)
        await until(pilot, lambda: len(table(app).run_ids) == 13)
        assert not app.screen.query_one("#no-runs").display


async def test_engine_trouble_comes_and_goes(make_app: Callable[..., ConsoleApp], pulses: dict[str, Any]):
    """The banner is shown as long as the problem lasts."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        banner = app.screen.query_one(Banner)
        up = pulses["now"]
        pulses["now"] = Pulse(EngineState.SILENT, trouble="the engine is not responding")
        await until(pilot, lambda: banner.display)
        pulses["now"] = up
        await until(pilot, lambda: not banner.display)


async def test_chart_is_saved_as_picture_and_as_text(make_app: Callable[..., ConsoleApp]):
    """Both in the home, and the console shows their paths."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "home", "w")
        (as_text,) = app.session.home.saved_charts.glob("*.txt")
        (as_svg,) = app.session.home.saved_charts.glob("*.svg")
        assert "Training loss" in as_text.read_text()
        assert as_svg.read_text().startswith("<svg")
        assert str(as_svg) in notifications(app)


async def test_keys_can_be_given_others(make_app: Callable[..., ConsoleApp]):
    """By the ids that `depthscope config keys` lists."""
    app = make_app(config=Config(keys={"home.new": "ctrl+e"}))
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "n")
        assert isinstance(app.screen, HomeScreen)
        await press(pilot, "ctrl+e")
        assert isinstance(app.screen, NewExperimentScreen)


async def test_every_key_with_an_id_is_in_the_palette(make_app: Callable[..., ConsoleApp]):
    """Every action can be found by its name."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        wanted = {active.binding.description for active in app.screen.active_bindings.values() if active.binding.id}
        assert {command.title for command in app.get_system_commands(app.screen)} == wanted
        assert {"new", "mark", "compare", "pause", "smoothing", "save", "group by experiment"} <= wanted


async def test_mouse_moves_sorts_opens_and_presses_keys(make_app: Callable[..., ConsoleApp]):
    """Clicks on a run, a column title and a key of the key bar; a double click opens."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await pilot.click(RunTable, offset=(6, 4))
        assert table(app).cursor_run == table(app).run_ids[1]
        await pilot.click(RunTable, offset=(40, 1))
        assert app.session.view.sort != "submitted"
        await pilot.click("KeyBar", offset=(2, 0))
        assert isinstance(app.screen, NewExperimentScreen)
        await press(pilot, "escape")
        await pilot.click(RunTable, offset=(6, 4), times=2)
        await until(pilot, lambda: isinstance(app.screen, RunScreen))


async def test_curves_are_those_of_the_runs_that_fit(make_app: Callable[..., ConsoleApp]):
    """The filter applies to table and charts until a run is marked."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        home = app.screen_stack[0]
        assert isinstance(home, HomeScreen)
        await press(pilot, "home")
        before = home.drawn_runs()
        app.screen.query_one("#filter", Input).value = "arch:he-plain"
        await until(pilot, lambda: 0 < len(home.drawn_runs()) < len(before))
        await until(pilot, lambda: drawn_names(app) == [run.name for run in home.drawn_runs()])
        assert {run.spec.model.architecture for run in home.drawn_runs()} == {"he-plain"}


async def test_any_size_of_terminal(make_app: Callable[..., ConsoleApp]):
    """From impossibly small to very large and back, on every screen."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        for keys in ((), ("enter",), ("escape", "c"), ("escape", "n")):
            await press(pilot, *keys)
            for size in ((20, 5), (1, 1), (300, 90), (120, 36)):
                await pilot.resize_terminal(*size)
                await pilot.pause()
                assert app.size == Size(*size)


async def test_exit_message_says_what_continues(make_app: Callable[..., ConsoleApp]):
    """The message on exit says whether training continues."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        running = sum(run.status is RunStatus.RUNNING for run in app.session.feed.runs.values())

        assert running == 2
        assert app.exit_message().startswith("2 runs go on training, 1 in the queue")


async def test_ctrl_c_after_the_last_screen_has_no_effect(make_app: Callable[..., ConsoleApp]):
    """The restored terminal turns it into a signal, which may arrive while the app shuts down."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "q")
    app.action_leave()

    assert app.return_code == 0


async def test_a_pulse_taken_while_the_console_is_left_is_shown_nowhere(make_app: Callable[..., ConsoleApp]):
    """The engine may answer after the last screen is gone."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "q")
    assert not app.screen_stack
    app.session.engine.pulse = Pulse(EngineState.STARTING)
    await app.session.engine.take_pulse()

    assert app.session.engine.pulse.engine is EngineState.UP


async def test_first_and_last_reach_runs_in_a_grouped_table(make_app: Callable[..., ConsoleApp]):
    """The top line is a group heading, which cannot be selected."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        runs = table(app).run_ids
        await press(pilot, "end")
        assert table(app).cursor_run == runs[-1]
        await press(pilot, "home")
        assert table(app).cursor_run == runs[0]


async def test_a_run_removed_elsewhere_disappears_from_the_charts(make_app: Callable[..., ConsoleApp]):
    """It reappears when restored, wherever the cursor is."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "home", "b")
        home = app.screen_stack[0]
        assert isinstance(home, HomeScreen)
        drawn = [run.id for run in home.drawn_runs()]
        store = Store(app.session.home.database)
        gone = next(run for run in drawn if run != table(app).cursor_run)
        names = {run: app.session.feed.runs[run].name for run in drawn} | {gone: "gone"}
        labels = Labels(
            name="gone", experiment=app.session.feed.runs[gone].experiment, position=1, created_at=samples.NOW
        )
        for deleted_at in (samples.NOW, None):
            with store.transaction():
                store.set_labels(gone, msgspec.structs.replace(labels, deleted_at=deleted_at))
            shown = [names[run] for run in drawn if deleted_at is None or run != gone]
            await until(pilot, lambda shown=shown: sorted(drawn_names(app)) == sorted(shown))
        store.close()
