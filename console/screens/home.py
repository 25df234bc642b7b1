"""Home screen: the table of runs, and their curves."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widgets import Input, Static

from console.charts.metrics import METRICS, next_metric
from console.charts.styles import Look, Options, looks
from console.screens.base import set_text
from console.screens.charts import CHART_BINDINGS, ChartScreen
from console.screens.label_actions import LABEL_ACTIONS
from console.screens.queue_actions import QUEUE_ACTIONS
from console.screens.run_actions import RUN_ACTIONS, Chosen
from console.screens.run_groups import NO_RUNS, first_of_newest, grouped_lines, table_title
from console.screens.summary import ExperimentSummary
from console.text.columns import ORDERS, in_order
from console.text.filter import FilterError, no_match, parse_readable
from console.text.formatting import cells, cut
from console.text.listing import tags_and_note
from console.text.status import queue_places, remark
from console.tui.background import in_background
from console.tui.session import Session
from console.widgets.chart import Chart
from console.widgets.fields import Field
from console.widgets.question import Question
from console.widgets.run_table import RunTable
from console.widgets.summary import SummaryView
from engine.runs.run import Run


class HomeScreen(ChartScreen):
    """Runs on the left, curves on the right; stacked on narrow terminals."""

    ACTIONS: ClassVar = {action.id: action for action in (*RUN_ACTIONS, *QUEUE_ACTIONS, *LABEL_ACTIONS)}

    VERTICAL_BREAKPOINTS = [*ChartScreen.VERTICAL_BREAKPOINTS, (44, "-high")]  # noqa: RUF012

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "new", id="home.new"),
        Binding("space", "mark", "mark", id="home.mark"),
        Binding("enter", "open", "open", key_display="enter", id="home.open"),
        Binding("c", "compare", "compare", id="home.compare"),
        *(action.binding for action in ACTIONS.values()),
        # With priority, so that letters typed right after it reach the filter, not the table.
        Binding("slash", "filter", "filter", key_display="/", priority=True, id="home.filter"),
        Binding("V", "summary", "summary", id="home.summary"),
        *CHART_BINDINGS,
        Binding("m", "metric", "metric", show=False, id="chart.metric"),
        Binding("M", "other_metric", "lower chart's metric", show=False, id="chart.other-metric"),
        Binding("v", "swap_charts", "swap charts", show=False, id="chart.swap"),
        Binding("Y", "copy", "copy", show=False, id="home.copy"),
        Binding("o", "sort", "sort", show=False, id="home.sort"),
        Binding("O", "reverse", "reverse order", show=False, id="home.reverse"),
        Binding("g", "group", "group by experiment", show=False, id="home.group"),
        Binding("U", "unmark_all", "clear all marks", show=False, id="home.unmark-all"),
        Binding("escape", "clear", "clear filter, zoom, crosshair", show=False, id="home.clear"),
    ]

    def __init__(self, session: Session) -> None:
        super().__init__(session, session.view.options, session.view.crosshair)
        self.view = session.view
        self.charts_ready = False
        """Whether the plotting modules are loaded."""
        self.summary_view = SummaryView(unicode=session.has_unicode, id="summary")
        self.summary = ExperimentSummary(session, self.summary_view)
        self.summary_ready = False
        """Whether what a verdict needs is loaded."""
        self._unread: FilterError | None = None
        """Error in the filter; the table shows runs matching the part before it."""

    def compose_body(self) -> ComposeResult:
        with Container(id="home-body"):
            with Container(id="home-runs"):
                yield RunTable(unicode=self.session.has_unicode, id="runs")
                yield Static(NO_RUNS, id="no-runs", markup=False)
            with Vertical(id="home-charts"):
                yield self.summary_view
                # The table next to them is their legend.
                yield self.chart("first-chart")
                yield self.chart("second-chart")
        yield Field(
            placeholder="words, arch:plain depth>=56 test-error<10 tag:good star:yes !status:failed",
            id="filter",
            compact=True,
            # Text is selected on opening: the focus event may arrive after the first letters typed.
            select_on_focus=False,
        )
        yield Question()
        yield Static("", id="remark", markup=False)

    def on_mount(self) -> None:
        self.query_one("#filter", Input).display = False
        self.show_or_hide_summary()
        self.query_one(RunTable).focus()
        self.call_after_refresh(self.run_worker, self.prepare_charts())

    async def prepare_charts(self) -> None:
        """Load the plotting modules in a thread after the first frame, then draw for the first time."""
        await in_background(importlib.import_module, "console.charts.overlay")
        self.charts_ready = True
        self.draw_soon()
        # A verdict needs it, and would wait for it on the UI thread.
        await in_background(importlib.import_module, "scipy.special")
        self.summary_ready = True
        self.draw_soon()

    def current_runs(self) -> list[Run]:
        run = self.session.feed.runs.get(self.query_one(RunTable).cursor_run or "")
        return [] if run is None else [run]

    def chosen_runs(self) -> list[Run]:
        """Return the runs an action applies to: marked ones, or the one under the cursor."""
        marked = [run for run in map(self.session.feed.runs.get, self.view.marked) if run is not None]
        return marked or self.current_runs()

    def drawn_runs(self) -> list[Run]:
        """Return the runs to draw: marked ones, or runs with data of the experiment under the cursor that match."""
        feed, marked = self.session.feed, self.view.marked
        if shown := [feed.runs[id] for id in marked if id in feed.runs]:
            return shown
        if not (under_cursor := self.current_runs()):
            return []
        current = under_cursor[0]
        now, (fits, _) = time.monotonic(), parse_readable(self.view.filter)
        # Keep the run under the cursor, which is still in the table even if it no longer matches.
        return [
            run
            for run in feed.runs.values()
            if run.experiment == current.experiment and run.step and (run is current or fits(run, now))
        ]

    def watched_runs(self) -> list[str]:
        # Read no chart data before charts can be drawn, which is after the first frame.
        if not self.charts_ready:
            return []
        # The run under the cursor first, for the remark.
        summed_up = [run for run in self.summary.runs() if run.step] if self.summary_view.display else []
        return list({run.id: None for run in (*self.current_runs(), *self.drawn_runs(), *summed_up)})

    def drawn_looks(self) -> dict[str, Look]:
        return looks(self.drawn_runs(), self.session.curve_colours)

    def show_runs(self) -> None:
        feed, view, now = self.session.feed, self.view, time.monotonic()
        fits, self._unread = parse_readable(view.filter)
        runs = in_order([run for run in feed.runs.values() if fits(run, now)], view.sort, now, backwards=view.backwards)
        table = self.query_one(RunTable)
        table.show(
            grouped_lines(runs) if view.grouped else [run.id for run in runs],
            feed.runs,
            looks=self.drawn_looks(),
            colours=self.session.curve_colours,
            marked=frozenset(view.marked),
            sorted_by=view.sort,
            queue=queue_places(feed.runs.values()),
            cursor=view.cursor if view.cursor in feed.runs else first_of_newest(runs),
        )
        self.go_to_submitted(runs)
        title = table_title(view, len(runs), len(feed.runs), is_valid=self._unread is None)
        table.show_title(title if self.session.has_unicode else title.replace("·", "|"))
        self.summary.choose(next((run.experiment for run in self.current_runs()), None))
        self.query_one("#no-runs", Static).display = not feed.runs
        table.display = bool(feed.runs)
        self.show_remark()

    def go_to_submitted(self, runs: Sequence[Run]) -> None:
        """Move the cursor to the first run that this console has submitted, once it is listed."""
        after = self.session.submitted_after
        submitted = [run for run in runs if after is not None and run.position > after]
        if submitted:
            self.session.submitted_after = None
            self.query_one(RunTable).select(min(submitted, key=lambda run: run.position).id)

    def show_curves(self) -> None:
        self.show_remark()
        if not self.charts_ready:
            return
        if self.summary_ready and self.summary_view.display:
            self.summary.refresh()
        from console.charts.overlay import overlay, planned_range, rate_drops

        session, runs = self.session, self.drawn_runs()
        histories = {run.id: session.feed.history(run.id) for run in runs}
        metrics = [METRICS[name] for name in self.view.charts]
        drawn = [overlay(runs, histories, metric, self.options, session.curve_colours) for metric in metrics]
        x_range = planned_range(runs, [one for series in drawn for one in series], self.options)
        references = rate_drops(runs, self.options)
        for id, metric, series in zip(("#first-chart", "#second-chart"), metrics, drawn, strict=True):
            self.query_one(id, Chart).show(
                series,
                self.options,
                title=metric.title,
                crosshair=self.crosshair,
                x_range=x_range,
                references=references,
                highest_first=metric.name == "images-per-second",
            )

    def on_resize(self) -> None:
        self.show_remark()

    def show_remark(self) -> None:
        session, view = self.session, self.view
        text, now = "", time.monotonic()
        if self._unread is not None:
            text = self.pointing(self._unread, view.filter)
        elif runs := self.current_runs():
            history = session.feed.history(runs[0].id)
            place = queue_places(session.feed.runs.values()).get(runs[0].id)
            words = remark(runs[0], history.epochs, now, history.gradients, place=place)
            text = f"{words}  {tags_and_note(runs[0], unicode=session.has_unicode)}".rstrip()
        elif view.filter and session.feed.runs and not self.query_one(RunTable).run_ids:
            every = list(session.feed.runs.values())
            text = no_match(view.filter, every, now)
        width = max(self.size.width - 2, 1)
        set_text(self.query_one("#remark", Static), cut(text, width, unicode=session.has_unicode))

    def redraw(self) -> None:
        """Redraw after the user changed what is shown."""
        self.update_runs()
        self.session.save_view_soon()

    @on(RunTable.Moved)
    def follow_cursor(self) -> None:
        self.view.cursor = self.query_one(RunTable).cursor_run
        self.update_runs()

    @on(RunTable.Opened)
    def open_clicked(self) -> None:
        self.action_open()

    @on(RunTable.SortAsked)
    def sort_by(self, message: RunTable.SortAsked) -> None:
        view = self.view
        view.backwards = view.sort == message.key and not view.backwards
        view.sort = message.key
        self.redraw()

    def action_sort(self) -> None:
        """Sort by the next column."""
        view = self.view
        view.sort = ORDERS[(ORDERS.index(view.sort) + 1) % len(ORDERS)]
        view.backwards = False
        self.redraw()

    def action_reverse(self) -> None:
        """Reverse the sort order."""
        self.view.backwards = not self.view.backwards
        self.redraw()

    def action_group(self) -> None:
        """Toggle grouping by experiment."""
        self.view.grouped = not self.view.grouped
        self.redraw()

    def action_mark(self) -> None:
        """Toggle the mark of the run under the cursor and move to the next."""
        for run in self.current_runs():
            self.view.toggle_mark(run.id)
            self.query_one(RunTable).action_move(1)
        self.redraw()

    def action_unmark_all(self) -> None:
        """Clear all marks."""
        self.view.marked.clear()
        self.redraw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        # In an input, a slash and every key that opens a prompt are plain text.
        asks = action == "filter" or (action == "act" and self.ACTIONS[str(parameters[0])].asks)
        return not (asks and isinstance(self.focused, Input))

    def action_act(self, id: str) -> None:
        """Apply a run action to the chosen runs."""
        current = next(iter(self.current_runs()), None)
        self.ACTIONS[id].act(Chosen(self.session, self.chosen_runs(), current, self.query_one(Question)))

    def action_filter(self) -> None:
        """Open the filter field."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.value = self.view.filter
        # `focus` would act one turn of the message loop later, and letters typed ahead would go to the table.
        self.set_focus(field)
        field.select_all()

    @on(Input.Changed, "#filter")
    def filter_changed(self, message: Input.Changed) -> None:
        self.view.filter = message.value
        self.redraw()

    def pointing(self, error: FilterError, text: str) -> str:
        """Format a filter error below the position it refers to, or on one line if space is short."""
        line = f"{' ' * (error.column - 1)}^ {error.reason}"
        room = self.size.width - 2
        beneath = self.query_one("#filter", Input).display and max(cells(line), cells(text) + 1) <= room
        return line if beneath else cut(str(error), room)

    @on(Input.Submitted, "#filter")
    def leave_filter(self, message: Input.Submitted) -> None:
        """Return to the table if the filter is valid."""
        self.view.filter = message.value
        self.redraw()
        if self._unread is not None:
            return
        message.input.display = bool(message.value)
        self.query_one(RunTable).focus()

    def action_clear(self) -> None:
        """Clear the filter, zoom and crosshair, and return to the table."""
        field = self.query_one("#filter", Input)
        if field.has_focus or self.view.filter:
            self.view.filter = field.value = ""
            field.display = False
        self.show_whole_y()
        self.draw_with(self.options.with_window(None), None)
        self.query_one(RunTable).focus()
        self.redraw()

    def draw_with(self, options: Options, crosshair: float | None) -> None:
        super().draw_with(options, crosshair)
        self.view.options, self.view.crosshair = options, crosshair
        self.session.save_view_soon()

    def action_metric(self) -> None:
        """Show the next metric in the upper chart."""
        self.next_metric(0)

    def action_other_metric(self) -> None:
        """Show the next metric in the lower chart."""
        self.next_metric(1)

    def next_metric(self, place: int) -> None:
        charts = list(self.view.charts)
        charts[place] = next_metric(charts[place], self.session.feed.runs.values())
        self.view.charts = (charts[0], charts[1])
        self.redraw()

    def action_swap_charts(self) -> None:
        """Swap the charts; small terminals show only the upper one."""
        upper, lower = self.view.charts
        self.view.charts = (lower, upper)
        self.redraw()

    def show_or_hide_summary(self) -> None:
        """Show or hide the summary as the user chose, or by the terminal's size."""
        self.set_class(self.view.summary is True, "-summary")
        self.set_class(self.view.summary is False, "-no-summary")

    def action_summary(self) -> None:
        """Toggle the summary of the experiment; in small terminals it takes the place of the chart."""
        self.view.summary = not self.summary_view.display
        self.show_or_hide_summary()
        self.redraw()

    @on(SummaryView.Opened)
    def open_summary(self) -> None:
        self.action_compare()

    def action_copy(self) -> None:
        """Copy the ids of the chosen runs."""
        self.session.copy(" ".join(run.id for run in self.chosen_runs()), "run ids")

    def action_new(self) -> None:
        """Open the form of a new experiment."""
        from console.screens.new_experiment import NewExperimentScreen

        self.app.push_screen(NewExperimentScreen(self.session))

    def action_open(self) -> None:
        """Open the run under the cursor."""
        from console.screens.run import RunScreen

        for run in self.current_runs():
            self.app.push_screen(RunScreen(self.session, run.id))

    def action_compare(self) -> None:
        """Open the comparison of the marked runs, or of the experiment under the cursor.

        Marks within one experiment stand for that experiment.
        """
        from console.screens.comparison import ComparisonScreen

        chosen = self.chosen_runs()
        experiments = list(dict.fromkeys(run.experiment for run in chosen))
        if len(experiments) == 1:
            self.app.push_screen(ComparisonScreen(self.session, experiments[0]))
        elif experiments:
            title = f"{len(chosen)} marked runs of {', '.join(experiments)}"
            self.app.push_screen(ComparisonScreen(self.session, title, only=[run.id for run in chosen]))
