"""The run screen, driven by keys."""

from __future__ import annotations

import re
from collections.abc import Callable

from textual.widgets import DataTable, Static

from console.app import ConsoleApp
from console.planning.form import SINGULAR, spec_table
from console.planning.options import in_form
from console.screens.home import HomeScreen
from console.screens.run import RunScreen, merged_checkpoints
from engine.runs.run import EventRow
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec, decode_spec
from models.catalog import model_spec
from tests.console.driving import notifications, press, settle, table, text_of, until


async def test_run_screen_goes_through_its_parts(make_app: Callable[..., ConsoleApp]):
    """Epochs, the spec as a table and exactly, and events."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "home", "enter", "2")
        assert isinstance(app.screen, RunScreen)
        assert app.screen.query_one("#run-epochs", DataTable).row_count == 164
        await press(pilot, "3")
        run = app.screen.current_runs()[0]
        spec = app.screen.query_one("#run-spec", Static)
        assert re.search(rf"architecture +{run.spec.model.architecture}\b", str(spec.content))
        await press(pilot, "J")
        assert decode_spec(str(spec.content).encode()) == run.spec
        await press(pilot, "5")
        assert app.screen.query_one("#run-events", DataTable).row_count == 1
        await press(pilot, "escape")
        assert isinstance(app.screen, HomeScreen)


async def test_log_of_a_quiet_run_says_where_it_started(make_app: Callable[..., ConsoleApp]):
    """A worker without warnings writes nothing to its log."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "end", "enter", "4")
        await until(pilot, lambda: "No warnings or errors logged." in text_of(app))
        assert re.search(r"\d\d:\d\d:\d\d  started  on a processor in fp32, pid \d+", text_of(app))


def test_a_series_of_checkpoints_is_one_event():
    """Other events stay as they are, and part the series."""

    def event(kind: str, text: str = "") -> EventRow:
        return EventRow(at=0.0, kind=kind, text=text)

    saved = [event("checkpoint", f"step {step}") for step in (10, 20, 30)]
    merged = merged_checkpoints([event("started"), *saved, event("resumed"), saved[0], event("finished")])

    assert [(one.kind, one.text) for one in merged] == [
        ("started", ""),
        ("checkpoint", "step 30, the last of 3 checkpoints"),
        ("resumed", ""),
        ("checkpoint", "step 10"),
        ("finished", ""),
    ]


def test_spec_table_marks_what_differs():
    """Every option of the form has a line; the width of the family is no difference, another one is."""
    usual = RunSpec(model=model_spec("he-resnet", 20), seed=3)
    odd = RunSpec(model=model_spec("he-plain", 20, width=8), recipe=recipe("quick", momentum=0.5))
    marked = re.compile(r"[*] ([a-z ]+?)  ")

    assert [
        option.name
        for option in in_form()
        if SINGULAR.get(option.name, option.label) not in spec_table(usual, unicode=False)
    ] == []
    assert marked.findall(spec_table(usual, unicode=False)) == []
    assert set(marked.findall(spec_table(odd, unicode=False))) == {"width", "momentum"}


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
