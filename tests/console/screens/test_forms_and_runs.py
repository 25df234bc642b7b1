"""The form, the run screen and the comparison, driven by keys: contents and requests to the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.events import Key
from textual.widgets import DataTable, Input, SelectionList, Static, TabbedContent

from console.app import ConsoleApp
from console.screens.comparison import ComparisonScreen
from console.screens.home import HomeScreen
from console.screens.new_experiment import NewExperimentScreen
from console.screens.run import RunScreen
from engine.spec.run import decode_spec
from tests.console.driving import notifications, press, settle, table, until

Requests = list[Any]


async def test_form_makes_the_runs_it_shows(make_app: Callable[..., ConsoleApp], requests: Requests):
    """Architectures, depths and seeds crossed, with a changed recipe, as a named experiment."""
    app = make_app()
    async with app.run_test(size=(120, 50)) as pilot:
        await settle(pilot)
        await press(pilot, "n", "space", "down", "space")
        screen = app.screen
        for name, value in {
            "depths": "18,20",
            "seeds": "0,1",
            "dataset": None,
            "epochs": "3",
            "width": "8",
            "experiment": "mine",
        }.items():
            if value is not None:
                screen.query_one(f"#{name}", Input).value = value
        await until(pilot, lambda: screen.query_one("#plan-table", DataTable).row_count == 8)
        await press(pilot, "ctrl+s")
        await until(pilot, lambda: requests)

        (request,) = requests
        assert request.experiment == "mine"
        specs = [run.spec for run in request.runs]
        assert {(spec.model.architecture.value, spec.model.depth, spec.seed) for spec in specs} == {
            (architecture, depth, seed) for architecture in ("resnet", "plain") for depth in (18, 20) for seed in (0, 1)
        }
        assert {(spec.recipe.epochs, spec.model.width) for spec in specs} == {(3, 8)}
        assert isinstance(app.screen, HomeScreen)


async def test_keys_typed_ahead_of_a_busy_form_all_count(make_app: Callable[..., ConsoleApp]):
    """On a busy machine, several keys may be queued before the form reads them."""
    app = make_app()
    async with app.run_test(size=(120, 50)) as pilot:
        await settle(pilot)
        await press(pilot, "n")
        for key in ("down", "down", "down", "space", "down", "space", "tab", "tab", "8", "tab", "3"):
            app.post_message(Key(key, key if len(key) == 1 else " " if key == "space" else None))
        screen = app.screen
        await until(pilot, lambda: screen.query_one("#seeds", Input).value)
        await settle(pilot)

        assert screen.query_one("#architectures", SelectionList).selected == ["he-resnet", "he-plain"]
        assert [screen.query_one(f"#{name}", Input).value for name in ("depths", "seeds")] == ["8", "3"]


async def test_form_says_what_is_wrong_in_the_words_of_the_command_line(
    make_app: Callable[..., ConsoleApp], requests: Requests
):
    """Immediately in the form, and nothing is queued."""
    app = make_app()
    async with app.run_test(size=(120, 50)) as pilot:
        await settle(pilot)
        await press(pilot, "n", "space")
        app.screen.query_one("#depths", Input).value = "20"
        trouble = app.screen.query_one("#new-trouble", Static)
        for name, value, message in (
            ("depths", "57", "depth 57 does not exist"),
            ("width", "0", "width must be in 1..2048"),
            ("batch_size", "60000", "batch size must be at most 50000"),
            ("epochs", "many", "epochs must be a whole number, got 'many'"),
            ("device", "tpu", "device must be cpu or cuda:N"),
            ("memory_limit", "6Gig", "memory limit must be a size such as 6GiB"),
            ("memory_limit", "1MiB", "resnet20-s0 needs ~1."),
            ("precision", "fp8", "precision must be one of auto, fp32, tf32, bf16, fp16, got 'fp8'"),
        ):
            app.screen.query_one("#seeds", Input).focus()
            field = app.screen.query_one(f"#{name}", Input)
            before, field.value = field.value, value
            await until(pilot, lambda message=message: message in str(trouble.content))
            await press(pilot, "ctrl+s")

            assert isinstance(app.screen, NewExperimentScreen)
            assert not requests
            if value != "1MiB":  # This error can be fixed in several fields.
                assert app.focused is field
            field.value = before
            await until(pilot, lambda message=message: message not in str(trouble.content))


async def test_clone_fills_the_form_as_the_run_was_asked_for(make_app: Callable[..., ConsoleApp]):
    """All its options, so that a single one can be changed."""
    app = make_app()
    async with app.run_test(size=(120, 50)) as pilot:
        await settle(pilot)
        await press(pilot, "end")
        run = app.session.feed.runs[table(app).cursor_run or ""]
        await press(pilot, "a")
        screen = app.screen
        assert isinstance(screen, NewExperimentScreen)
        await until(pilot, lambda: screen.query_one("#plan-table", DataTable).row_count == 1)

        (planned,) = screen.planned
        assert planned.spec == run.spec


async def test_run_screen_goes_through_its_parts(make_app: Callable[..., ConsoleApp]):
    """Epochs, the exact spec, and events."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "end", "enter", "2")
        assert isinstance(app.screen, RunScreen)
        assert app.screen.query_one("#run-epochs", DataTable).row_count == 164
        await press(pilot, "3")
        run = app.screen.current_runs()[0]
        shown = str(app.screen.query_one("#run-spec", Static).content)
        assert decode_spec(shown.encode()) == run.spec
        await press(pilot, "5")
        assert app.screen.query_one("#run-events", DataTable).row_count == 1
        await press(pilot, "escape")
        assert isinstance(app.screen, HomeScreen)


async def test_log_follows_and_finds(make_app: Callable[..., ConsoleApp]):
    """Lines appended by the worker appear; control characters in them have no effect."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        log = app.session.home.runs / (table(app).cursor_run or "") / "worker.log"
        log.parent.mkdir(mode=0o700)
        log.write_text("first line\n\x1b[31msecond\x1b[0m [bold]line[/bold]\u202e\nhalf a")
        await press(pilot, "enter", "4")
        view = app.screen.query_one("#run-log")
        await until(pilot, lambda: view.content_text)
        assert view.content_text == "first line\nsecond [bold]line[/bold]"
        with log.open("a") as file:
            file.write(" line\n")
        await until(pilot, lambda: view.content_text.endswith("half a line"))
        await press(pilot, "slash", *"second", "enter")
        await until(pilot, lambda: "in 1 lines" in notifications(app))


async def test_comparison_goes_from_depth_to_depth(make_app: Callable[..., ConsoleApp]):
    """Only the pair of one depth, with the overall verdict below."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "end", "c", "d")
        screen = app.screen
        assert isinstance(screen, ComparisonScreen)
        assert {run.spec.model.depth for run in screen.drawn_runs()} == {20}
        await press(pilot, "d")
        assert {run.spec.model.depth for run in screen.drawn_runs()} == {56}
        await press(pilot, "4")
        await until(pilot, lambda: screen.query_one("#comparison-tabs", TabbedContent).active == "table")
        assert "± 0.20 (n=3)" in str(screen.query_one("#comparison-table", Static).content)
