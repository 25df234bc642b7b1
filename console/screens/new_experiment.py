"""Form for a new experiment, with a live table of the runs it would create."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.events import DescendantFocus
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Button, DataTable, Input, Label, Static

from console.planning.estimates import Knowledge, gather
from console.planning.form import (
    ARCHITECTURE_NOTES,
    EXPERIMENT_NOTE,
    RECIPE_FIELDS,
    Filled,
    differing,
    filled_from,
    offered_depths,
    plan,
    toggled,
)
from console.planning.option import GROUPS, Option, split_values
from console.planning.options import BY_NAME, in_form, label_named, of_field
from console.planning.planning import check_all_fit, is_missing, judge_all
from console.planning.tables import accuracy_line, form_rows, form_summary
from console.screens.base import ConsoleScreen, set_text
from console.tui.session import Session
from console.widgets.fields import Field, Heading, OneOf, Ticks, move_focus
from console.widgets.plan_pane import PlanPane
from engine.base.errors import DepthscopeError
from engine.control.protocol import NewRun, Submit
from engine.spec.errors import InvalidField
from engine.spec.recipes import RECIPES
from engine.spec.run import RunSpec
from models.catalog import Architecture

SECONDS_AFTER_TYPING = 0.15
"""Delay before the table updates after a key, so that typing never waits for it."""
MANY_RUNS = 200
FIELDS = tuple(option for option in in_form() if option.name != "architectures")
"""Options shown as fields; architectures are ticked."""


class NewExperimentScreen(ConsoleScreen):
    """Form for what to train; nothing is queued until it is submitted."""

    AUTO_FOCUS = "#architectures"

    HELP = (
        "Tick architectures and depths with space, or type any depths. Every network is trained with every seed."
        " An empty field takes the default that stands in it; enter on a heading shows its rare fields."
        " ctrl+s queues the runs of the table."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "start", "start training", priority=True, id="new.start"),
        Binding("ctrl+t", "table", "runs", priority=True, id="new.table"),
        Binding("ctrl+o", "unfold", "all fields", priority=True, id="new.unfold"),
        Binding("escape", "back", "back", id="new.back"),
        # With priority, they act before the next key is dispatched, so that keys typed ahead reach the right field.
        Binding("tab", "next(1)", "next field", priority=True, id="new.next"),
        Binding("shift+tab", "next(-1)", "field before", show=False, priority=True, id="new.previous"),
        Binding("up", "line(-1)", "field above", show=False, priority=True, id="new.up"),
        Binding("down", "line(1)", "field below", show=False, priority=True, id="new.down"),
        Binding("enter", "enter", "next field, or fold", show=False, priority=True, id="new.enter"),
    ]

    def __init__(self, session: Session, spec: RunSpec | None = None) -> None:
        super().__init__(session)
        self._filled = Filled(texts={}) if spec is None else filled_from(spec)
        self.planned: list[NewRun] = []
        self._wrong = ""
        """Field that the error shown is about."""
        self._refused = False
        """Whether a start was refused for what is shown."""
        self._waiting: Timer | None = None
        self._knowledge: Knowledge

    def compose_body(self) -> ComposeResult:
        filled = self._filled
        with Container(id="new-body"):
            with VerticalScroll(id="new-form", can_focus=False):
                for group in GROUPS:
                    options = [option for option in in_form() if option.group == group]
                    yield Heading(
                        group.capitalize(),
                        id=f"group-{group}",
                        can_fold=any(option.rare for option in options),
                        changed=self.show_group,
                        unicode=self.session.has_unicode,
                    )
                    for option in options:
                        yield from self.field(option, filled.texts.get(option.name, ""))
                    if group == "run":
                        yield Row("experiment", Field(placeholder="exp1, exp2, ...", id="experiment", compact=True))
                yield Static("", id="new-wrong", markup=False)
            yield PlanPane(id="new-plan")
        yield Static("", id="new-help", markup=False)
        with Horizontal(id="new-start"):
            yield Static("", id="new-summary", markup=False)
            yield Button("Start training", id="start", variant="primary", compact=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        # Ticks move their own cursor first.
        return action not in ("line", "enter") or isinstance(self.focused, (Field, OneOf, Heading))

    def action_line(self, step: int) -> None:
        """Move to the field above or below."""
        if self.focused is not None:
            move_focus(self.focused, step)

    def action_next(self, step: int) -> None:
        """Move to the next or previous field, from the last to the first."""
        if self.focused is None:
            self.set_focus(self.query_one("#architectures"))
        else:
            move_focus(self.focused, step, wraps=True)

    def action_enter(self) -> None:
        """Fold or unfold the focused group; from a field, go to the next."""
        if isinstance(self.focused, Heading):
            self.focused.fold(is_open=not self.focused.is_open)
        else:
            self.action_line(1)

    def field(self, option: Option, text: str) -> ComposeResult:
        """Yield the lines of an option: a label, and a text or a choice."""
        if option.name == "architectures":
            names = [str(one) for one in Architecture]
            ticks = Ticks(names, self._filled.architectures, id=option.name, changed=self.architecture_toggled)
            yield Row(option.label, ticks)
            return
        if option.name == "depths":
            empty = "choose an architecture first"
            yield Row(option.label, Ticks(id="known-depths", changed=self.depth_toggled, empty=empty))
            yield Row("or any depths", Field(text, placeholder=option.placeholder, id=option.name, compact=True))
            return
        if option.choices is None:
            widget: Widget = Field(text, placeholder=option.placeholder, id=option.name, compact=True)
        else:
            text = text or option.unset or option.text(option.default)
            choices = [*([option.unset] if option.unset else []), *option.choices(self.session.home)]
            if text not in choices:
                choices.append(text)
            changed = self.recipe_chosen if option.name == "recipe" else self.change
            widget = OneOf(choices, text, id=option.name, changed=changed)
        yield Row(option.label, widget, group=option.group if option.rare else "")

    def text_of(self, option: Option) -> str:
        """Return a field's text; empty if left out."""
        widget = self.query_one(f"#{option.name}")
        if isinstance(widget, Input):
            return widget.value
        assert isinstance(widget, OneOf)
        return "" if widget.value == option.unset else widget.value

    def on_mount(self) -> None:
        self._knowledge = gather(self.session.home)
        self.show_recipe()
        self.show_depths()
        for heading in self.query(Heading):
            self.show_group(heading)
        # `focus` would act later, and the first keys may arrive before the first frame.
        self.set_focus(self.query_one("#architectures"))
        self.show_plan()

    def filled(self) -> Filled:
        """Return the form's current contents."""
        return Filled(
            architectures=list(self.query_one("#architectures", Ticks).selected),
            texts={option.name: self.text_of(option) for option in FIELDS},
        )

    def show_recipe(self) -> None:
        """Show the recipe's values in the fields left empty."""
        recipe = RECIPES[self.query_one("#recipe", OneOf).value]
        for name in RECIPE_FIELDS:
            option, widget = BY_NAME[name], self.query_one(f"#{name}")
            value = option.text(getattr(recipe, name)) or "none"
            if isinstance(widget, OneOf):
                widget.name_value(option.unset, f"{value} ({option.unset})")
            elif isinstance(widget, Input):
                widget.placeholder = value

    # Ticks and typed depths

    def show_depths(self) -> None:
        """List the depths of all chosen architectures, with ticks at those typed."""
        typed = split_values([self.query_one("#depths", Input).value])
        offered = offered_depths(self.query_one("#architectures", Ticks).selected)
        self.query_one("#known-depths", Ticks).show([*map(str, offered)], typed)

    def architecture_toggled(self, _name: str) -> None:
        self.show_depths()
        self.change()

    def depth_toggled(self, depth: str) -> None:
        """Add a ticked depth to the typed ones, or remove it from them: the text is what counts."""
        field = self.query_one("#depths", Input)
        field.value = toggled(field.value, depth)

    @on(Input.Changed, "#depths")
    def depths_typed(self) -> None:
        self.show_depths()

    def recipe_chosen(self) -> None:
        self.show_recipe()
        self.change()

    # Groups

    def show_group(self, heading: Heading) -> None:
        """Show or hide a group's rare fields."""
        for row in self.query(Row):
            if row.group and f"group-{row.group}" == heading.id:
                row.display = heading.is_open
                if self.focused in row.children and not heading.is_open:
                    self.set_focus(heading)
        self.note_folded(heading)

    def note_folded(self, heading: Heading) -> None:
        """Show at a folded heading which of its fields differ from their defaults, else which there are."""
        folded = [option for option in FIELDS if option.rare and f"group-{option.group}" == heading.id]
        if heading.is_open or not folded:
            heading.show_note("")
            return
        changed = [text for option in folded if (text := differing(option, self.text_of(option)))]
        heading.show_note(", ".join(changed) or f"more: {', '.join(option.label for option in folded)}")

    def action_unfold(self) -> None:
        """Show all fields, or fold the rare ones again."""
        headings = [heading for heading in self.query(Heading) if heading.can_fold]
        opens = not all(heading.is_open for heading in headings)
        for heading in headings:
            heading.fold(is_open=opens)

    # The plan

    @on(Input.Changed)
    def change(self) -> None:
        """Schedule an update of the table after an edit."""
        if self._waiting is not None:
            self._waiting.stop()
        self._waiting = self.set_timer(SECONDS_AFTER_TYPING, self.show_plan)

    def show_plan(self) -> None:
        """Show the runs the form would create, or its error with those that do not fit."""
        home, filled = self.session.home, self.filled()
        self.planned = []
        rows: list[dict[str, str]] = []
        wrong, text = "", ""
        try:
            planned = self._knowledge.estimated(plan(home, filled))
            verdicts = judge_all(home, planned)
            rows = form_rows(planned[:MANY_RUNS], verdicts[:MANY_RUNS], unicode=self.session.has_unicode)
            if not all(verdict.fits for verdict in verdicts):
                check_all_fit(home, planned)
        except DepthscopeError as error:
            text = label_named(error)
            option = of_field(error.field) if isinstance(error, InvalidField) else None
            wrong = "" if option is None else option.name
        else:
            self.planned = planned
            self._refused = False
        # What is still to be filled in is not wrong until somebody asks to start.
        self.show_wrong(wrong, text, is_new=not filled.is_complete and not self._refused)
        if self.planned:
            text = form_summary(planned, verdicts)
            if is_missing(home, filled.dataset()):
                text += f"\n{filled.dataset()} is not downloaded yet: the first run fetches it"
        set_text(self.query_one("#new-summary", Static), text)
        self.query_one("#start", Button).disabled = not self.planned
        for heading in self.query(Heading):
            self.note_folded(heading)
        truths = self._knowledge.truths
        accuracy = accuracy_line(truths) if truths else ""
        self.query_one(PlanPane).show(rows, num_planned=len(self.planned), accuracy=accuracy)

    def show_wrong(self, name: str, text: str, *, is_new: bool) -> None:
        """Show an error, at its field as well, unfolding its group; in a new form it is only a hint."""
        self._wrong = name
        self.query_one("#new-summary").set_class(bool(text) and not is_new, "-wrong")
        line = self.query_one("#new-wrong", Static)
        line.display = bool(name) and not is_new
        for row in self.query(Row):
            row.set_class(line.display and row.field_id == name, "-wrong")
            if line.display and row.field_id == name:
                if row.group:
                    self.query_one(f"#group-{row.group}", Heading).fold(is_open=True)
                set_text(line, text)
                self.query_one("#new-form").move_child(line, after=row)

    def on_resize(self) -> None:
        self.call_after_refresh(self.fit_plan)

    def fit_plan(self) -> None:
        self.query_one(PlanPane).fill()

    @property
    def shows_table_only(self) -> bool:
        """Whether the runs have replaced the form, for lack of room for both."""
        return self.has_class("-table") and self.has_class("-narrow")

    def action_table(self) -> None:
        """Show the runs instead of the form where only one of them fits; elsewhere move between them."""
        leaves = self.shows_table_only or isinstance(self.focused, DataTable)
        self.set_class(not leaves, "-table")
        self.set_focus(self.query_one("#architectures" if leaves else "#plan-table"))
        self.call_after_refresh(self.fit_plan)

    def action_back(self) -> None:
        """Go back to the form, or from there to the screen before."""
        if self.shows_table_only:
            self.action_table()
        else:
            self.app.pop_screen()

    # Help

    @on(DescendantFocus)
    @on(Ticks.Moved)
    def show_help(self) -> None:
        """Explain the focused field in a line."""
        set_text(self.query_one("#new-help", Static), self.help_text(self.focused))

    def help_text(self, widget: Widget | None) -> str:
        """Explain a widget of the form."""
        name = "" if widget is None else widget.id or ""
        match widget:
            case Ticks(id="architectures") if widget.highlighted is not None:
                return f"{widget.highlighted}: {ARCHITECTURE_NOTES[Architecture(widget.highlighted)]}. Space ticks it."
            case Ticks():
                return "Depths of all chosen architectures. Space ticks one; type others below."
            case Heading():
                return f"Enter {'hides' if widget.is_open else 'shows'} the rare fields of this group."
            case OneOf():
                return f"{BY_NAME[name].help} Arrows choose."
            case Button():
                return "Queues these runs as an experiment."
            case DataTable():
                return "Memory and time are estimates. ctrl+t goes back to the form."
        if name == "experiment":
            return EXPERIMENT_NOTE
        return BY_NAME[name].help if name in BY_NAME else ""

    # Start

    @on(Button.Pressed, "#start")
    def start_pressed(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        """Submit the form: queue its runs as an experiment."""
        if self._waiting is not None:
            self._waiting.stop()
        self._refused = True
        self.show_plan()
        if not self.planned:
            summary = self.query_one("#new-summary", Static)
            set_text(summary, f"Cannot start: {summary.content}")
            if self._wrong:
                self.focus_field(self._wrong)
            return
        name = self.query_one("#experiment", Input).value.strip() or None
        runs = "1 run" if len(self.planned) == 1 else f"{len(self.planned)} runs"
        self.session.submitted_after = max((run.position for run in self.session.feed.runs.values()), default=-1)
        self.session.engine.request(Submit(runs=tuple(self.planned), experiment=name), f"{runs} queued")
        self.app.pop_screen()

    def focus_field(self, name: str) -> None:
        """Focus a field, from the table as well."""
        if self.shows_table_only:
            self.action_table()
        self.set_focus(self.query_one(f"#{name}"))


class Row(Horizontal):
    """Line of the form: a label beside its field.

    Args:
        label: Name of the field.
        field: The field.
        group: Group it is folded with; empty if it is always shown.
    """

    def __init__(self, label: str, field: Widget, *, group: str = "") -> None:
        super().__init__(Label(label, markup=False), field, classes="field")
        self.group = group
        self.field_id = field.id
