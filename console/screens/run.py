"""Screen of one run: curves, epochs, spec, log, events and gradients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import ClassVar, TypeVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import DataTable, Input, Static, TabbedContent, TabPane

from console.charts.metrics import METRICS, selection_metric
from console.planning.form import spec_table
from console.screens.base import set_text
from console.screens.charts import CHART_BINDINGS, ChartScreen
from console.screens.label_actions import LABEL_ACTIONS
from console.screens.run_actions import RUN_ACTIONS, Chosen
from console.text.formatting import clean
from console.text.listing import epoch_cells, epoch_columns, star
from console.text.status import queue_places, remark, state
from console.tui.session import Session
from console.widgets.chart import Chart
from console.widgets.fields import Field
from console.widgets.layer_map import LayerMap
from console.widgets.log_view import LogView
from console.widgets.question import Question
from engine.runs.directory import RunDirectory
from engine.runs.journal import Gradients
from engine.runs.run import EventRow, Run, RunStatus
from models.catalog import ARCHITECTURES

TABS = ("curves", "epochs", "spec", "log", "events", "gradients")
CHARTS = (("#run-loss", ("train-loss", "test-loss")), ("#run-error", ("train-error", "test-error")))

WORKER_STARTS = ("started", "resumed", "adopted")
"""Events of a worker that begins to train, or that a new engine takes over."""

Row = TypeVar("Row")


class RunScreen(ChartScreen):
    """One run, in tabs."""

    ACTIONS: ClassVar = {action.id: action for action in (*RUN_ACTIONS, *LABEL_ACTIONS)}

    HELP = "One run. The numbers 1 to 6 choose what of it is shown; p, s and r pause, stop and resume it."

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "back", id="run.back"),
        *(Binding(str(n), f"tab('{name}')", name, show=False, id=f"run.{name}") for n, name in enumerate(TABS, 1)),
        *(action.binding for action in ACTIONS.values()),
        Binding("c", "compare", "compare", id="run.compare"),
        Binding("slash", "search", "search log", key_display="/", show=False, id="run.search"),
        *CHART_BINDINGS,
        Binding("Y", "copy", "copy", show=False, id="run.copy"),
        Binding("v", "beside", "gradients beside the counterpart's", show=False, id="run.beside"),
        Binding("J", "json", "spec as JSON or table", show=False, id="run.json"),
    ]

    def __init__(self, session: Session, run: str) -> None:
        super().__init__(session, session.view.options)
        self._run_id = run
        self._shows_json = False
        self._events: list[EventRow] = []
        """Events shown."""
        self._gradients: dict[str, list[Gradients]] = {}
        """Layer norms read so far, by run."""
        self._counterpart: str | None = None
        """Run whose map stands beside this one's; None shows one map."""
        self._layer_ranges: dict[str, tuple[float, float]] = {}

    def compose_body(self) -> ComposeResult:
        directory = RunDirectory(self.session.home.runs / self._run_id)
        yield Static("", id="run-title", markup=False)
        yield Static("", id="run-note", markup=False)
        with TabbedContent(id="run-tabs"):
            with TabPane("1 Curves", id="curves"), Vertical():
                # Chart titles serve as legends.
                yield self.chart("run-loss")
                yield self.chart("run-error")
            with TabPane("2 Epochs", id="epochs"):
                yield DataTable[str](id="run-epochs", cursor_type="row", zebra_stripes=True)
            with TabPane("3 Spec", id="spec"), VerticalScroll():
                yield Static("", id="run-spec", markup=False)
            with TabPane("4 Log", id="log"):
                yield Static("", id="run-log-starts", markup=False)
                yield Static("", id="run-log-empty", markup=False)
                yield LogView(directory.log, id="run-log")
                placeholder = "words to find in the log"
                yield Field(placeholder=placeholder, id="run-search", compact=True, select_on_focus=False)
            with TabPane("5 Events", id="events"):
                yield DataTable[str](id="run-events", cursor_type="row")
            with TabPane("6 Gradients", id="gradients"), Horizontal():
                yield LayerMap(unicode=self.session.has_unicode, id="run-gradients")
                yield LayerMap(unicode=self.session.has_unicode, id="counterpart-gradients")
        yield Question()
        yield Static("", id="remark", markup=False)

    def on_mount(self) -> None:
        self.query_one("#run-search", Input).display = False
        self.query_one("#run-epochs", DataTable).add_columns(*epoch_columns(validation=self.has_validation()))
        self.query_one("#run-events", DataTable).add_columns("when", "what", "more")
        self.query_one("#run-loss", Chart).focus()
        # The index does not announce changes to a worker's log.
        self.set_interval(1.0, self.read_log)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        asks = action == "act" and self.ACTIONS[str(parameters[0])].asks
        return not (asks and isinstance(self.focused, Input))

    def action_act(self, id: str) -> None:
        """Apply a run action to this run."""
        runs = self.current_runs()
        self.ACTIONS[id].act(Chosen(self.session, runs, next(iter(runs), None), self.query_one(Question)))

    def current_runs(self) -> list[Run]:
        run = self.session.feed.runs.get(self._run_id)
        return [] if run is None else [run]

    def has_validation(self) -> bool:
        """Whether the run holds images out of training."""
        return any(run.has_validation for run in self.current_runs())

    def watched_runs(self) -> list[str]:
        return [self._run_id]

    def show_runs(self) -> None:
        for run in self.current_runs():
            where = f" on {run.device}" if run.device else ""
            sign = star(run, unicode=self.session.has_unicode)
            title = f"{sign}{clean(run.experiment)}/{clean(run.name)}  {run.id}  {state(run, time.monotonic())}{where}"
            tags = " ".join(f"+{clean(tag)}" for tag in run.tags)
            set_text(self.query_one("#run-title", Static), f"{title}  {tags}".rstrip())
            note = self.query_one("#run-note", Static)
            note.display = bool(run.notes)
            set_text(note, f'note: "{clean(run.notes)}"')
            self.show_spec(run)
            history = self.session.feed.history(run.id)
            place = queue_places(self.session.feed.runs.values()).get(run.id)
            words = remark(run, history.epochs, time.monotonic(), history.gradients, place=place)
            set_text(self.query_one("#remark", Static), words)
        self.show_events()
        self.show_gradients()
        self.read_log()

    def show_spec(self, run: Run) -> None:
        """Show the run's spec as a table, or as JSON if the user asked for that."""
        text = spec_text(run) if self._shows_json else spec_table(run.spec, unicode=self.session.has_unicode)
        set_text(self.query_one("#run-spec", Static), text)

    def action_json(self) -> None:
        """Show the spec as JSON, or as a table again."""
        self._shows_json = not self._shows_json
        self.action_tab("spec")
        for run in self.current_runs():
            self.show_spec(run)

    def show_events(self) -> None:
        """Show the run's events, and at its log when and where its workers started."""
        events = merged_checkpoints(self.session.feed.events(self._run_id))
        if events == self._events:
            return
        table = self.query_one("#run-events", DataTable)
        if events[: len(self._events)] != self._events:
            table.clear()
        self._events = events
        add_new(table, events, event_cells)
        starts = [event_cells(event) for event in events if event.kind in WORKER_STARTS]
        set_text(self.query_one("#run-log-starts", Static), "\n".join("  ".join(cells) for cells in starts))

    def show_curves(self) -> None:
        from console.charts.overlay import overlay, planned_range, rate_drops

        session, runs = self.session, self.current_runs()
        histories = {run.id: session.feed.history(run.id) for run in runs}
        for selector, wanted in CHARTS:
            names = [selection_metric(name, runs) for name in wanted]
            series = []
            for name, marker, train in zip(names, "○●", (True, False), strict=True):
                for one in overlay(runs, histories, METRICS[name], self.options, session.curve_colours):
                    label = METRICS[name].title if one.label else ""
                    # The run's own colour, and beside it the terminal's for its training curve.
                    series.append(replace(one, marker=marker, label=label, colour=None if train else one.colour))
            title = f"○ {METRICS[names[0]].title}  ● {METRICS[names[1]].title}"
            self.query_one(selector, Chart).show(
                series,
                self.options,
                title=title,
                crosshair=self.crosshair,
                x_range=planned_range(runs, series, self.options),
                references=rate_drops(runs, self.options),
            )
        cells = partial(epoch_cells, validation=self.has_validation())
        add_new(self.query_one("#run-epochs", DataTable), self.session.feed.history(self._run_id).epochs, cells)
        self.show_gradients()

    def show_gradients(self) -> None:
        """Add newly recorded gradients, if their tab is visible."""
        if self.query_one("#run-tabs", TabbedContent).active != "gradients":
            return
        runs = self.session.feed.runs
        shown = {"#run-gradients": runs.get(self._run_id), "#counterpart-gradients": runs.get(self._counterpart or "")}
        for selector, run in shown.items():
            layers = self.query_one(selector, LayerMap)
            layers.display = run is not None
            if run is None:
                continue
            is_over = run.status is RunStatus.FINISHED
            layers.show(
                self.gradients_of(run),
                self.session.heat_colours,
                empty="this run recorded no gradients" if is_over else "no gradients yet: the first come with a step",
                ranges=self._layer_ranges,
                name=clean(run.name) if self._counterpart else "",
            )

    def gradients_of(self, run: Run) -> list[Gradients]:
        """Layer norms of a run, of which only new ones are read."""
        feed, known = self.session.feed, self._gradients.get(run.id, [])
        newest = known[-1].epoch if known else -1
        epochs = feed.history(run.id).epochs
        if run.id == self._run_id and newest > max((row.epoch for row in epochs[-1:]), default=0):
            # The run went back to a checkpoint or started over.
            known, newest = [], -1
        self._gradients[run.id] = [*known, *feed.gradients(run.id, after=newest)]
        return self._gradients[run.id]

    def action_beside(self) -> None:
        """Show the gradients of the counterpart of the same depth and seed beside this run's, or no longer."""
        self.action_tab("gradients")
        ours, theirs = (self.query_one(id, LayerMap) for id in ("#run-gradients", "#counterpart-gradients"))
        if self._counterpart is not None:
            self._counterpart = ours.partner = theirs.partner = None
            ours.focus()
        else:
            for run in self.current_runs():
                found = counterpart_of(run, self.session.feed.runs.values())
                if found is None:
                    other = ARCHITECTURES[run.spec.model.architecture].counterpart
                    words = f"no {other}{run.spec.model.depth} with seed {run.spec.seed} in {clean(run.experiment)}"
                    self.notify(words, markup=False, timeout=3)
                    return
                self._counterpart, ours.partner, theirs.partner = found.id, theirs, ours
        self.show_gradients()

    def read_log(self) -> None:
        log = self.query_one("#run-log", LogView)
        log.read_more()
        empty = "" if log.content_text else "No warnings or errors logged."
        set_text(self.query_one("#run-log-empty", Static), empty)

    def action_tab(self, name: str) -> None:
        """Switch to a tab."""
        self.query_one("#run-tabs", TabbedContent).active = name

    @on(TabbedContent.TabActivated)
    def focus_part(self, message: TabbedContent.TabActivated) -> None:
        # A focused widget on a hidden tab would reopen that tab.
        next(node for node in message.pane.query("*") if node.focusable).focus()
        for run in self.current_runs() if message.pane.id == "gradients" else ():
            # Once per visit: a scale that moved with every epoch would be hard to read.
            self._layer_ranges = self.session.feed.layer_ranges(run.experiment)
        self.show_gradients()

    def action_search(self) -> None:
        """Open the search field of the log."""
        self.action_tab("log")
        field = self.query_one("#run-search", Input)
        field.display = True
        field.select_all()
        self.call_after_refresh(field.focus)

    @on(Input.Submitted, "#run-search")
    def search(self, message: Input.Submitted) -> None:
        log = self.query_one("#run-log", LogView)
        num = log.find(message.value)
        self.notify(f"in {num} lines; N goes to the one before", markup=False, timeout=3)
        log.focus()

    def action_compare(self) -> None:
        """Open the comparison of this run's experiment."""
        from console.screens.comparison import ComparisonScreen

        for run in self.current_runs():
            self.app.push_screen(ComparisonScreen(self.session, run.experiment))

    def action_save(self) -> None:
        """Save the focused chart, or the log or gradients on their tabs, to a file."""
        if (tab := self.query_one("#run-tabs", TabbedContent).active) in ("log", "gradients"):
            self.save_shown_text(f"{tab}-{self._run_id}.txt", self.text_of(tab))
        else:
            super().action_save()

    def text_of(self, tab: str) -> str:
        """Return the log, or the gradients at their current size."""
        if tab == "log":
            return self.query_one("#run-log", LogView).content_text
        shown = self.query_one("#run-gradients", LayerMap)
        return shown.as_text(width=shown.content_size.width, height=shown.content_size.height)

    def action_copy(self) -> None:
        """Copy the current tab's content: log, gradients or spec; otherwise the run's id."""
        tab = self.query_one("#run-tabs", TabbedContent).active
        if tab in ("log", "gradients"):
            self.session.copy(self.text_of(tab), tab)
        elif tab == "spec" and (runs := self.current_runs()):
            self.session.copy(spec_text(runs[0]), "specification")
        else:
            self.session.copy(self._run_id, "run id")


def add_new(table: DataTable[str], rows: Sequence[Row], cells_of: Callable[[Row], Sequence[str]]) -> None:
    """Append new rows to a table, or refill it if the run started over."""
    if len(rows) < table.row_count:
        table.clear()
    if new := rows[table.row_count :]:
        table.add_rows(map(cells_of, new))
        table.move_cursor(row=len(rows) - 1, animate=False)


def counterpart_of(run: Run, others: Iterable[Run]) -> Run | None:
    """Run to compare a run's gradients with: of the same experiment, depth and seed, with or without shortcuts.

    One of the same width is preferred; None if there is none.
    """
    model = run.spec.model
    found = [
        other
        for other in others
        if other.experiment == run.experiment
        and other.spec.seed == run.spec.seed
        and other.spec.model.depth == model.depth
        and other.spec.model.architecture is ARCHITECTURES[model.architecture].counterpart
    ]
    return max(found, key=lambda other: other.spec.model.width == model.width, default=None)


def merged_checkpoints(events: Sequence[EventRow]) -> list[EventRow]:
    """Events with each series of checkpoints as one line: the last of them, and how many there were."""
    merged: list[EventRow] = []
    for kind, group in groupby(events, key=lambda event: event.kind):
        series = list(group)
        if kind == "checkpoint" and len(series) > 1:
            last = series[-1]
            merged.append(msgspec.structs.replace(last, text=f"{last.text}, the last of {len(series)} checkpoints"))
        else:
            merged += series
    return merged


def event_cells(event: EventRow) -> list[str]:
    """Format an event as table cells: time, kind and text."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    return [when, clean(event.kind), clean(event.text)]


def spec_text(run: Run) -> str:
    """Return the run's spec as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(run.spec), indent=2).decode()
