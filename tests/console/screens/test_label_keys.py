"""Star, tags, note and names by key: requests to the engine, and labels on screens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from textual.events import Key
from textual.widgets import Input, Static

from console.app import ConsoleApp
from console.widgets.question import Answer, Question
from engine.base.paths import Home
from engine.control.protocol import Relabel, RenameExperiment
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import Labels
from tests import samples
from tests.console.driving import notifications, press, settle, table, until

FIRST = f"{11:010x}"
"""The run under the cursor when the console opens."""
BROKEN = tuple(f"{number:010x}" for number in (11, 12, 13))
"""All runs of its experiment."""
NAMES = {"*": "asterisk", " ": "space", "+": "plus", "-": "minus", "?": "question_mark"}
WORDS = {"starred": True, "tags": ("baseline", "good"), "notes": "stopped by hand: \x1b[31m[b]too slow[/b]"}


def fill_labelled(home: Home) -> None:
    """Fill the small sample, with one run that has every label."""
    samples.fill_small(home)
    with Reader(home.database) as reader:
        run = reader.run(FIRST)
    store = Store(home.database)
    with store.transaction():
        store.set_labels(
            FIRST, Labels(name=run.name, experiment=run.experiment, position=run.position, created_at=0.0, **WORDS)
        )
    store.close()


@pytest.mark.parametrize("opened", [(), ("enter",)], ids=["home", "run"])
@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("*",), Relabel(id="", runs=(FIRST,), starred=True)),
        (("t", *"+a -b c", "enter"), Relabel(id="", runs=(FIRST,), add_tags=("a", "c"), remove_tags=("b",))),
        (("i", *"dull?", "enter"), Relabel(id="", runs=(FIRST,), note="dull?")),
        (("R", *"x", "enter"), Relabel(id="", runs=(FIRST,), name="plain56-s0x")),
        (("L", *"a -b", "enter"), Relabel(id="", runs=BROKEN, add_tags=("a",), remove_tags=("b",))),
        (("G", "backspace", "enter"), RenameExperiment(id="", experiment="broken", name="broke")),
    ],
    ids=["star", "tags", "note", "rename", "tag experiment", "rename experiment"],
)
async def test_keys_typed_at_once_ask_the_engine(
    opened: tuple[str, ...],
    keys: tuple[str, ...],
    expected: Any,
    make_app: Callable[..., ConsoleApp],
    requests: list[Any],
):
    """Letters of the answer are commands elsewhere: t tags, i names, s stops, d removes, q quits."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, *opened)
        await settle(pilot)
        for key in keys:
            name = NAMES.get(key, key)
            app.post_message(Key(name, key if len(key) == 1 else None))
        await until(pilot, lambda: requests and notifications(app))

        assert [msgspec.structs.replace(request, id="") for request in requests] == [expected]
        assert not app.screen.query_one(Question).display
        assert not isinstance(app.screen.focused, Input)


async def test_a_question_is_left_by_escape_and_a_wrong_tag_is_refused(
    make_app: Callable[..., ConsoleApp], requests: list[Any]
):
    """The engine gets no request, and keys act as before."""
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "space", "space", "i", "x", "escape")
        assert not app.screen.query_one(Question).display
        assert app.screen.focused is table(app)
        assert len(app.session.view.marked) == 2

        await press(pilot, "t")
        assert app.screen.query_one(Answer).placeholder == "separated by spaces or commas"
        await press(pilot, "plus", "a", "asterisk", "enter")
        await until(pilot, lambda: notifications(app))
        assert "a tag must be one word" in notifications(app)
        assert not requests


async def test_a_name_with_a_slash_is_refused_as_by_the_command(
    make_app: Callable[..., ConsoleApp], requests: list[Any]
):
    """It would look like a run of another experiment."""
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "R", "slash", "x", "enter")
        await until(pilot, lambda: notifications(app))

        assert "must not contain /, as in experiment/run, got 'plain56-s0/x'" in notifications(app)
        assert not requests


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50)])
async def test_labels_are_shown_without_what_moves_a_cursor(size: tuple[int, int], make_app: Callable[..., ConsoleApp]):
    """The table never cuts off the star, and the run screen cuts off nothing."""
    app = make_app(fill_labelled)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        row = "".join(segment.text for segment in table(app).run_line(FIRST, is_cursor=True))
        assert "★ plain56-s0" in row
        remark = str(app.screen.query_one("#remark", Static).content)
        assert '+baseline +good "stopped by hand: [b]too slow[/b]"' in remark or size[0] < 200

        await press(pilot, "enter")
        await settle(pilot)
        title, note = (str(app.screen.query_one(id, Static).content) for id in ("#run-title", "#run-note"))
        assert title == f"★ broken/plain56-s0  {FIRST}  diverged on cpu  +baseline +good"
        assert note == 'note: "stopped by hand: [b]too slow[/b]"'
