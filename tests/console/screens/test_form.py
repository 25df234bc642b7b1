"""The form of a new experiment, driven by keys: contents and requests to the engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from textual.events import Key
from textual.widgets import DataTable, Input, Static

from console.app import ConsoleApp
from console.planning.form import offered_depths
from console.planning.options import in_form
from console.planning.tables import columns_within
from console.screens.home import HomeScreen
from console.screens.new_experiment import NewExperimentScreen, Row
from console.widgets.fields import Heading, OneOf, Ticks
from models.catalog import model_spec
from tests.console.driving import press, settle, table, text_of, until

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
            "epochs": "3",
            "width": "8",
            "experiment": "mine",
        }.items():
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

        assert screen.query_one("#architectures", Ticks).selected == ["he-resnet", "he-plain"]
        assert [screen.query_one(f"#{name}", Input).value for name in ("depths", "seeds")] == ["8", "3"]


WRONG = (
    ("depths", "57", "depth 57 does not exist"),
    ("width", "0", "width must be in 1..2048"),
    ("batch_size", "60000", "batch size must be at most 50000"),
    ("epochs", "many", "epochs must be a whole number, got 'many'"),
    ("device", "tpu", "device must be cpu or cuda:N"),
    ("memory_limit", "6Gig", "memory limit must be a size such as 6GiB"),
    ("mean", "1,2", "mean must be"),
    ("seeds", "x", "seeds must be whole numbers"),
    ("memory_limit", "1MiB", "resnet20-s0 needs ~1."),
    ("memory_limit", "1300MiB", "(memory limit): "),
)
"""Fields, invalid values, and what the error says."""


async def test_form_says_at_the_field_what_is_wrong(make_app: Callable[..., ConsoleApp], requests: Requests):
    """Immediately, in the words of the form; ctrl+s goes to the field, says it again and queues nothing."""
    app = make_app()
    async with app.run_test(size=(120, 50)) as pilot:
        await settle(pilot)
        await press(pilot, "n", "space")
        app.screen.query_one("#depths", Input).value = "20"
        summary = app.screen.query_one("#new-summary", Static)
        for name, value, message in WRONG:
            app.screen.query_one("#experiment", Input).focus()
            field = app.screen.query_one(f"#{name}", Input)
            before, field.value = field.value, value
            await until(pilot, lambda message=message: message in str(summary.content))
            await press(pilot, "ctrl+s")

            assert isinstance(app.screen, NewExperimentScreen)
            assert not requests
            shown = str(summary.content)
            assert shown.startswith("Cannot start: ")
            assert "--" not in shown
            if "MiB" not in value:  # This error can be fixed in several fields.
                assert app.focused is field
                assert f" {shown.removeprefix('Cannot start: ')[:30]}" in text_of(app).split("Cannot start")[0]
            field.value = before
            await until(pilot, lambda message=message: message not in str(summary.content))


async def test_an_empty_form_says_what_to_choose(make_app: Callable[..., ConsoleApp], requests: Requests):
    """As a hint first, and as an error at the ticks once a start was asked for."""
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "n")
        summary = app.screen.query_one("#new-summary", Static)
        assert "choose an architecture" in str(summary.content)
        assert not summary.has_class("-wrong")
        await press(pilot, "ctrl+s")

        assert "Cannot start: choose an architecture" in str(summary.content)
        assert summary.has_class("-wrong")
        assert not requests


async def test_ticks_and_typed_depths_agree(make_app: Callable[..., ConsoleApp]):
    """Typing ticks and unticks; ticking keeps the depths that only the text has. The first space counts."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "n", "down", "down", "down", "space", "tab", "space")
        ticks, field = app.screen.query_one("#known-depths", Ticks), app.screen.query_one("#depths", Input)
        assert (ticks.selected, field.value) == (["8"], "8")

        field.value = "20,62"
        await until(pilot, lambda: ticks.selected == ["20"])
        await press(pilot, "right", "space")
        assert (ticks.selected, field.value) == (["14", "20"], "14,20,62")
        await press(pilot, "space")
        assert (ticks.selected, field.value) == (["20"], "20,62")


@pytest.mark.parametrize(
    ("chosen", "offered"),
    [
        (["he-resnet"], {8, 14, 20, 26, 56, 110, 1202}),
        (["resnet", "he-plain"], {20, 50, 56, 110, 152}),
        (["plain"], {18, 20, 34, 50, 56, 101, 110, 152}),
        ([], set()),
    ],
)
def test_depths_offered_exist_for_every_chosen_architecture(chosen: list[str], offered: set[int]):
    """Small ones of he-* too; for several architectures, those that all of them have."""
    found = set(offered_depths(chosen))

    assert offered <= found
    for architecture in chosen:
        assert all(model_spec(architecture, depth).depth == depth for depth in found)


async def test_a_small_terminal_shows_most_fields(make_app: Callable[..., ConsoleApp]):
    """At 80x24; the rest scrolls into sight with the focus."""
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "n", "space", "tab", "space")
        await until(pilot, lambda: app.screen.planned)
        form = app.screen.query_one("#new-form")

        def visible() -> list[str]:
            return [row.field_id for row in app.screen.query(Row) if row.display and form.region.overlaps(row.region)]

        assert len(visible()) >= 13
        await press(pilot, "ctrl+o")
        await until(pilot, lambda: "device" not in visible())
        while app.focused.id != "device":
            await press(pilot, "tab")
        await until(pilot, lambda: "device" in visible())


async def test_every_field_explains_itself(make_app: Callable[..., ConsoleApp]):
    """In a line while it has the focus, at 80 columns; tab reaches each."""
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "n", "space", "tab", "space", "ctrl+o")
        await until(pilot, lambda: app.screen.planned)
        explained: dict[str, str] = {}
        while app.focused.id not in explained:
            explained[app.focused.id] = str(app.screen.query_one("#new-help", Static).content)
            await press(pilot, "tab")

    assert {option.name for option in in_form()} | {"experiment", "known-depths", "start"} <= explained.keys()
    assert [name for name, words in explained.items() if not 10 < len(words) <= 78] == []


async def test_a_folded_heading_shows_what_differs(make_app: Callable[..., ConsoleApp]):
    """Keys and mouse unfold it; what a folded field holds stays visible and counts."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "n", "space", "tab", "space", "shift+tab", "up")
        heading, width = app.screen.query_one("#group-network", Heading), app.screen.query_one("#width", Input)
        assert app.focused is heading
        assert "more: width" in heading.note
        assert not width.parent.display
        await press(pilot, "enter")
        assert width.parent.display
        width.value = "8"
        app.screen.query_one("#norm", OneOf).value = "none"
        await press(pilot, "enter")
        assert not width.parent.display
        assert heading.note == "width 8, norm none"
        await until(pilot, lambda: app.screen.planned and app.screen.planned[0].spec.model.width == 8)

        await pilot.click("#group-network")
        assert width.parent.display
        await press(pilot, "ctrl+o")
        assert all(row.display for row in app.screen.query(Row))
        # Typed ahead: what was just unfolded is next, in the order of the screen.
        await press(pilot, "ctrl+o")
        for key in ("ctrl+o", "tab", "tab", "tab", "tab", "9"):
            app.post_message(Key(key, key if len(key) == 1 else None))
        await until(pilot, lambda: width.value == "9")
        await press(pilot, "ctrl+o")
        assert not width.parent.display


async def test_an_error_unfolds_its_group(make_app: Callable[..., ConsoleApp]):
    """A folded field that is wrong comes into sight."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "n", "space", "tab", "space")
        momentum = app.screen.query_one("#momentum", Input)
        assert not momentum.parent.display
        momentum.value = "2"
        await until(pilot, lambda: momentum.parent.display)
        assert "momentum must be at least 0 and below 1" in text_of(app)


async def test_arrows_and_enter_move_between_fields(make_app: Callable[..., ConsoleApp]):
    """Down and enter forwards, up back; left and right choose; all of them typed ahead."""
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "n", "tab", "tab")
        assert app.focused.id == "depths"
        for key in ("down", "4", "enter", "right", "down", "x", "up", "up", "backspace", "5"):
            app.post_message(Key(key, key if len(key) == 1 else None))
        screen = app.screen
        await until(pilot, lambda: screen.query_one("#seeds", Input).value == "5")

        assert screen.query_one("#stop_when", OneOf).value == "not-learning"
        assert screen.query_one("#experiment", Input).value == "x"


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_plan_table_shows_all_columns(make_app: Callable[..., ConsoleApp], size: tuple[int, int]):
    """Beside the form where there is room, else in its place on a key; the estimated time is not cut off."""
    app = make_app()
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        await press(pilot, "n", "space", "tab", "space")
        await until(pilot, lambda: app.screen.planned)
        if size[0] < 100:
            assert "MACs" not in text_of(app)
            await press(pilot, "ctrl+t")
        await until(pilot, lambda: "resnet18-s0" in text_of(app))
        line = next(line for line in text_of(app).splitlines() if "resnet18-s0" in line)
        assert re.search(r"resnet18-s0 +11.2 M +555 M +~1.87 GiB +yes +~2h19 ±\d+ %", line), line
        if size[0] < 100:
            await press(pilot, "escape")
            assert "architectures" in text_of(app)


def test_the_most_important_columns_stay_where_room_is_scarce():
    """Run, time and memory before the sizes of the network."""
    row = {"run": "he-resnet110-s0", "params": "1.7 M", "MACs": "253 M", "memory": "~1.3 GiB", "fits": "yes"}
    rows = [row | {"time": "~4h10 ±20 %"}]

    assert columns_within(rows, 80) == ["run", "params", "MACs", "memory", "fits", "time"]
    assert columns_within(rows, 50) == ["run", "memory", "fits", "time"]
    assert columns_within(rows, 32) == ["run", "time"]
    assert columns_within(rows, 10) == ["run"]


async def test_ticks_and_choices_take_the_mouse(make_app: Callable[..., ConsoleApp]):
    """A click ticks what is under it; the first click on a choice shows its values, the second takes one."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "n")
        await pilot.click("#architectures", offset=(14, 0))
        await pilot.click("#architectures", offset=(2, 1))
        assert app.screen.query_one("#architectures", Ticks).selected == ["plain", "he-resnet"]
        recipe = app.screen.query_one("#recipe", OneOf)
        await pilot.click("#recipe", offset=(12, 0))
        assert recipe.value == "reference"
        await pilot.click("#recipe", offset=(12, 0))
        assert recipe.value == "constant"


async def test_clone_fills_the_form_as_the_run_was_asked_for(make_app: Callable[..., ConsoleApp]):
    """All its options, so that a single one can be changed."""
    app = make_app()
    async with app.run_test(size=(120, 50)) as pilot:
        await settle(pilot)
        await press(pilot, "home")
        run = app.session.feed.runs[table(app).cursor_run or ""]
        await press(pilot, "a")
        screen = app.screen
        assert isinstance(screen, NewExperimentScreen)
        await until(pilot, lambda: screen.query_one("#plan-table", DataTable).row_count == 1)

        (planned,) = screen.planned
        assert planned.spec == run.spec
