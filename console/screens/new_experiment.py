"""Form for a new experiment, with a live table of the runs it would create."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.timer import Timer
from textual.widgets import Button, DataTable, Input, Label, Select, SelectionList, Static

from console.planning.estimates import Knowledge, gather
from console.planning.form import RECIPE_FIELDS, Filled, filled_from, offered_depths, plan, plan_rows
from console.planning.option import Option, split_values
from console.planning.options import BY_NAME, in_form, of_field
from console.planning.planning import check_all_fit, missing_dataset_notice
from console.screens.base import ConsoleScreen
from console.tui.session import Session
from console.widgets.fields import Choices, Field
from engine.base.errors import DepthscopeError
from engine.control.protocol import NewRun, Submit
from engine.spec.errors import InvalidField
from engine.spec.recipes import RECIPES
from engine.spec.run import RunSpec
from models.catalog import Architecture

SECONDS_AFTER_TYPING = 0.15
"""Delay before the table updates after a key, so that typing never waits for it."""
PLAN_COLUMNS = ("run", "parameters", "MACs", "memory", "fits", "time")
MANY_RUNS = 200
FIELDS = tuple(option for option in in_form() if option.name != "architectures")
"""Options shown as fields; architectures have a list."""


class NewExperimentScreen(ConsoleScreen):
    """Form for what to train; nothing is queued until it is submitted."""

    HELP = (
        "Space chooses architectures and depths; tab goes to the next field. Every network is crossed with every seed."
        " An empty field takes the default that stands in it. ctrl+s starts what the table shows."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "start", "start training", priority=True, id="new.start"),
        Binding("escape", "app.pop_screen", "back", id="new.back"),
        # With priority, they act before the next key is dispatched, so that keys typed ahead reach the right field.
        Binding("tab", "app.focus_next", "next field", priority=True, id="new.next"),
        Binding("shift+tab", "app.focus_previous", "field before", show=False, priority=True, id="new.previous"),
    ]

    def __init__(self, session: Session, spec: RunSpec | None = None) -> None:
        super().__init__(session)
        self._filled = Filled(texts={}) if spec is None else filled_from(spec)
        self.planned: list[NewRun] = []
        self._wrong = ""
        """Field that the error shown is about."""
        self._waiting: Timer | None = None
        self._offered: list[int] = []
        self._knowledge: Knowledge

    def compose_body(self) -> ComposeResult:
        filled = self._filled
        with Container(id="new-body"):
            with VerticalScroll(id="new-form", can_focus=False):
                with Horizontal(classes="choices"):
                    architectures = Choices[str](
                        *((one.value, one.value, one.value in filled.architectures) for one in Architecture),
                        id="architectures",
                        classes="panel",
                        compact=True,
                    )
                    architectures.border_title = "Architectures"
                    yield architectures
                    depths = Choices[int](id="known-depths", classes="panel", compact=True)
                    depths.border_title = "Depths"
                    yield depths
                for option in FIELDS:
                    yield from self.field(option, filled.texts.get(option.name, ""))
                with Horizontal(classes="field"):
                    yield Label("experiment")
                    yield Field(placeholder="exp1, exp2, ...", id="experiment", compact=True)
            with Container(id="new-plan", classes="panel"):
                yield Static("", id="new-trouble", markup=False)
                yield DataTable[str](id="plan-table", cursor_type="none")
                yield Button("Start training", id="start", variant="primary", compact=True)

    def field(self, option: Option, text: str) -> ComposeResult:
        """Yield a line of the form: a label, and an input or a choice."""
        with Horizontal(classes="field"):
            yield Label(option.label)
            if option.choices is None:
                yield Field(text, placeholder=option.placeholder, id=option.name, compact=True)
                return
            text = text or option.unset or option.text(option.default)
            choices = [*([option.unset] if option.unset else []), *option.choices(self.session.home)]
            if text not in choices:
                choices.append(text)
            yield Select(((one, one) for one in choices), value=text, allow_blank=False, id=option.name, compact=True)

    def text_of(self, option: Option) -> str:
        """Return a field's text; empty if left out."""
        widget = self.query_one(f"#{option.name}")
        if isinstance(widget, Input):
            return widget.value
        assert isinstance(widget, Select)
        return "" if widget.value == option.unset else str(widget.value)

    def on_mount(self) -> None:
        self._knowledge = gather(self.session.home)
        self.query_one("#plan-table", DataTable).add_columns(*PLAN_COLUMNS)
        self.query_one("#new-plan").border_title = "Runs"
        self.show_placeholders()
        self.offer_depths()
        # `focus` would act later, and the first keys may arrive before the first frame.
        self.set_focus(self.query_one("#architectures"))
        self.show_plan()

    def filled(self) -> Filled:
        """Return the form's current contents."""
        return Filled(
            architectures=list(self.query_one("#architectures", SelectionList).selected),
            texts={option.name: self.text_of(option) for option in FIELDS},
        )

    def show_placeholders(self) -> None:
        """Show the recipe's values as placeholders of empty fields."""
        recipe = RECIPES[str(self.query_one("#recipe", Select).value)]
        for name in RECIPE_FIELDS:
            self.query_one(f"#{name}", Input).placeholder = BY_NAME[name].text(getattr(recipe, name)) or "none"

    def offer_depths(self) -> None:
        """List the depths that all chosen architectures support, keeping the typed ones selected."""
        chosen = self.query_one("#architectures", SelectionList).selected
        depths = self.query_one("#known-depths", SelectionList)
        typed = set(split_values([self.query_one("#depths", Input).value]))
        offered = offered_depths(chosen)
        if self._offered == offered:
            return
        self._offered = offered
        with self.prevent(SelectionList.SelectedChanged):
            depths.clear_options()
            depths.add_options([(str(depth), depth, str(depth) in typed) for depth in offered])

    @on(SelectionList.SelectedChanged, "#architectures")
    def architectures_chosen(self) -> None:
        self.offer_depths()
        self.change()

    @on(SelectionList.SelectedChanged, "#known-depths")
    def depth_chosen(self) -> None:
        """Copy the list's selection into the field, which accepts any depth."""
        depths = self.query_one("#known-depths", SelectionList)
        offered = set(map(str, self._offered))
        field = self.query_one("#depths", Input)
        others = [word for word in split_values([field.value]) if word not in offered]
        chosen = sorted({*map(str, depths.selected), *others}, key=lambda word: (len(word), word))
        field.value = ",".join(chosen)

    @on(Select.Changed, "#recipe")
    def recipe_chosen(self) -> None:
        self.show_placeholders()
        self.change()

    @on(Input.Changed)
    @on(Select.Changed)
    def change(self) -> None:
        """Schedule an update of the table after an edit."""
        if self._waiting is not None:
            self._waiting.stop()
        self._waiting = self.set_timer(SECONDS_AFTER_TYPING, self.show_plan)

    def show_plan(self) -> None:
        """Show the runs the form would create, or its error with those that are invalid."""
        home, table = self.session.home, self.query_one("#plan-table", DataTable)
        trouble, filled = self.query_one("#new-trouble", Static), self.filled()
        table.clear()
        self.planned = []
        self._wrong = ""
        try:
            planned = self._knowledge.estimated(plan(home, filled))
            table.add_rows(plan_rows(home, planned[:MANY_RUNS]))
            check_all_fit(home, planned)
        except DepthscopeError as error:
            text = str(error)
            if isinstance(error, InvalidField):
                text = error.naming(error.field.replace("_", " "))
                option = of_field(error.field)
                self._wrong = "" if option is None else option.name
            trouble.update(text)
            trouble.set_class(bool(filled.architectures), "-wrong")
        else:
            self.planned = planned
            more = f", the first {MANY_RUNS} shown" if len(planned) > MANY_RUNS else ""
            runs = "1 run" if len(planned) == 1 else f"{len(planned)} runs"
            missing = missing_dataset_notice(home, filled.dataset())
            trouble.update(f"{runs}{more}; {missing or 'memory and time are estimates (~)'}")
            trouble.remove_class("-wrong")
        self.query_one("#start", Button).disabled = not self.planned

    @on(Button.Pressed, "#start")
    def start_pressed(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        """Submit the form: queue its runs as an experiment."""
        self.show_plan()
        if not self.planned:
            self.notify(str(self.query_one("#new-trouble", Static).content), severity="error", markup=False)
            if self._wrong:
                self.query_one(f"#{self._wrong}").focus()
            return
        name = self.query_one("#experiment", Input).value.strip() or None
        runs = "1 run" if len(self.planned) == 1 else f"{len(self.planned)} runs"
        self.session.engine.request(Submit(runs=tuple(self.planned), experiment=name), f"{runs} queued")
        self.app.pop_screen()
