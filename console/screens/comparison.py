"""Comparison of an experiment's networks: losses, errors, gaps, errors by depth and the final table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static, TabbedContent, TabPane

from console.charts.metrics import METRICS, Axis, Metric, selection_metric
from console.comparison import tables
from console.comparison.claim_text import conclusion_line
from console.comparison.groups import group_runs, pair_groups
from console.comparison.verdict import conclude
from console.screens.base import set_text
from console.screens.charts import CHART_BINDINGS, ChartScreen
from console.text.formatting import clean
from console.text.status import counted, states
from console.tui.session import Session
from console.widgets.chart import Chart
from engine.runs.journal import Epoch, Gradients
from engine.runs.run import Run

ALL = ("train-loss", "test-error")
MARGINS = 4
"""Columns of the screen that are not the table's: padding and a scroll bar."""
UNPAIRED = "No gap: no network was trained both with and without shortcuts"


class ComparisonScreen(ChartScreen):
    """The report's figures and table, updated while runs train."""

    HELP = (
        "An experiment's networks: 1 all training losses and test errors, 2 the gap (plain minus residual of the same"
        " seed) over the epochs, 3 final errors against depth, beside the published ones, 4 the table."
        " d goes from depth to depth: residual and plain networks of that depth alone."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "back", id="comparison.back"),
        Binding("1", "tab('figures')", "figures", id="comparison.figures"),
        Binding("2", "tab('gap')", "gap", id="comparison.gap"),
        Binding("3", "tab('depths')", "by depth", id="comparison.by-depth"),
        Binding("4", "tab('table')", "table", id="comparison.table"),
        Binding("d", "depth(1)", "next depth", id="comparison.depth"),
        Binding("D", "depth(-1)", "depth before", show=False, id="comparison.depth-before"),
        *CHART_BINDINGS,
        Binding("Y", "copy", "copy table", show=False, id="comparison.copy"),
    ]

    def __init__(self, session: Session, experiment: str, *, only: Sequence[str] | None = None) -> None:
        """Compare an experiment's runs, or some of several experiments.

        Args:
            session: Shared by all screens.
            experiment: Name of the experiment, or a title for the runs in `only`.
            only: Ids of the runs to compare; None for all of the experiment.
        """
        super().__init__(session, session.view.options.with_window(None))
        self._experiment = experiment
        self._only = None if only is None else frozenset(only)
        self._depth: int | None = None

    def compose_body(self) -> ComposeResult:
        yield Static("", id="run-title", markup=False)
        with TabbedContent(id="comparison-tabs"):
            with TabPane("1 Figures", id="figures"), Vertical():
                yield self.chart("comparison-loss", named=True)
                yield self.chart("comparison-error", named=True)
            with TabPane("2 Gap", id="gap"), Vertical():
                yield self.chart("comparison-gap-train", named=True)
                yield self.chart("comparison-gap-test", named=True)
            with TabPane("3 Depth", id="depths"), Vertical():
                yield self.chart("comparison-depth-train", named=True)
                yield self.chart("comparison-depth-test", named=True)
            with TabPane("4 Table", id="table"), VerticalScroll(can_focus=True):
                yield Static("", id="comparison-table", markup=False)
        yield Static("", id="remark", markup=False)

    def on_mount(self) -> None:
        self.query_one("#comparison-loss", Chart).focus()

    def runs(self) -> list[Run]:
        """Return all runs to compare, shallow before deep, residual before plain."""
        every, only = self.session.feed.runs.values(), self._only
        found = [run for run in every if (run.experiment == self._experiment if only is None else run.id in only)]
        return [run for group in group_runs(found) for run in (*group.runs, *(copy for _, copy in group.copies))]

    def drawn_runs(self) -> list[Run]:
        """Return the runs of the chosen depth, or of all."""
        runs = self.runs()
        return [run for run in runs if self._depth in (None, run.spec.model.depth)]

    def watched_runs(self) -> list[str]:
        # The verdict uses all runs, including those not drawn.
        return [run.id for run in self.runs()]

    def epochs(self) -> dict[str, list[Epoch]]:
        """Return the epochs of every run, by id."""
        return {run.id: self.session.feed.history(run.id).epochs for run in self.runs()}

    def gradients(self) -> dict[str, list[Gradients]]:
        """Return the layer measurements of every run, by id."""
        return {run.id: self.session.feed.history(run.id).gradients for run in self.runs()}

    def show_runs(self) -> None:
        runs = self.runs()
        depths = "all depths" if self._depth is None else f"depth {self._depth}"
        which = f"{clean(self._experiment)}: {counted(len(runs), 'run')}, {depths}"
        set_text(self.query_one("#run-title", Static), f"{which}: {states(runs)}")
        # Of some of their metrics, table and verdict would be wrong.
        if runs and not self.session.feed.has_unread:
            set_text(self.query_one("#comparison-table", Static), self.table_text(self.size.width - MARGINS))
            groups = group_runs(runs)
            line = conclusion_line(conclude(groups, self.epochs())) or tables.data_line(runs)
            standing = tables.standing_line(groups, self.epochs())
            set_text(self.query_one("#remark", Static), self.written(f"{standing}\n{line}" if standing else line))

    def show_curves(self) -> None:
        from console.charts.overlay import overlay, planned_range, rate_drops
        from console.comparison.depth_curves import chance_line, published_lines

        session, runs = self.session, self.drawn_runs()
        groups = group_runs(runs)
        histories = {run.id: session.feed.history(run.id) for run in runs}
        for selector, name in zip(("#comparison-loss", "#comparison-error"), ALL, strict=True):
            metric: Metric = METRICS[selection_metric(name, runs)]
            series = overlay(runs, histories, metric, self.options, session.curve_colours)
            published = published_lines(groups) if metric.name == "test-error" else []
            self.query_one(selector, Chart).show(
                series,
                self.options,
                title=", ".join([metric.title, *(one.label for one in chance_line(groups, metric.field))]),
                crosshair=self.crosshair,
                x_range=planned_range(runs, series, self.options),
                references=[*rate_drops(runs, self.options), *published, *chance_line(groups, metric.field)],
            )
        self.show_gaps()
        self.show_depths()

    def show_gaps(self) -> None:
        """Draw the gap between plain and residual networks per epoch."""
        from console.charts.overlay import rate_drops
        from console.charts.plot import Reference
        from console.comparison.depth_curves import gap_curves

        pairs = [pair for pair in pair_groups(group_runs(self.runs())) if self._depth in (None, pair.depth)]
        epochs, colours = self.epochs(), self.session.curve_colours
        paired = [run for pair in pairs for run in (*pair.plain.runs, *pair.residual.runs)]
        last = max((run.spec.recipe.epochs for run in paired), default=0)
        by_epoch = msgspec.structs.replace(self.options, axis=Axis.EPOCH)
        references = [Reference("no gap", y=0.0), *rate_drops(paired, by_epoch)]
        held_out = selection_metric("test-error", self.runs())
        for selector, name in (("#comparison-gap-train", "train-error"), ("#comparison-gap-test", held_out)):
            series = gap_curves(pairs, epochs, METRICS[name].field, colours, smoothing=self.options.smoothing)
            title = f"{METRICS[name].title}: plain - residual, paired by seed" if pairs else UNPAIRED
            self.query_one(selector, Chart).show(
                series,
                self.options,
                title=title,
                crosshair=self.crosshair,
                x_range=(1.0, float(max(last, 2))) if last else None,
                x_label="epoch",
                references=references,
            )

    def show_depths(self) -> None:
        """Draw final errors against depth, with published values."""
        from console.comparison.depth_curves import (
            chance_line,
            depth_curves,
            depth_range,
            missing_finals,
            published_curves,
        )

        groups, colours = group_runs(self.runs()), self.session.curve_colours
        measured = {name: depth_curves(groups, METRICS[name].field, colours) for name in ("train-error", "test-error")}
        others = published_curves(groups, None)
        x_range, missing = depth_range(groups), missing_finals(groups)
        for selector, name, beside in (
            ("#comparison-depth-train", "train-error", []),
            ("#comparison-depth-test", "test-error", others),
        ):
            chance = chance_line(groups, METRICS[name].field)
            self.query_one(selector, Chart).show(
                [*measured[name], *beside],
                self.options,
                title=f"Final {', '.join([METRICS[name].title.lower(), *(one.label for one in chance)])}{missing}",
                crosshair=self.crosshair,
                x_range=x_range,
                x_label="depth",
                references=chance,
            )

    @on(TabbedContent.TabActivated)
    def focus_part(self, message: TabbedContent.TabActivated) -> None:
        # The crosshair's epoch has no meaning on a depth axis.
        self.draw_with(self.options.with_window(None), None)
        # A focused chart on a hidden tab would reopen that tab.
        next(node for node in message.pane.query("*") if node.focusable).focus()

    def action_tab(self, name: str) -> None:
        """Switch to a tab."""
        self.query_one("#comparison-tabs", TabbedContent).active = name

    def action_depth(self, step: int) -> None:
        """Cycle through the depths, then all of them."""
        depths: list[int | None] = [None, *sorted({run.spec.model.depth for run in self.runs()})]
        self._depth = depths[(depths.index(self._depth) + step) % len(depths)] if self._depth in depths else None
        self.update_runs()

    def action_save(self) -> None:
        """Save the focused chart, or the table on its tab, to a file."""
        if self.query_one("#comparison-tabs", TabbedContent).active == "table":
            name = self._experiment if self._only is None else "marked"
            self.save_shown_text(f"comparison-{name}.txt".replace("/", "_"), self.table_text())
        else:
            super().action_save()

    def action_copy(self) -> None:
        """Copy the table."""
        self.session.copy(self.table_text(), "table")

    def on_resize(self) -> None:
        # The table has the columns that fit.
        self.show_runs()

    def table_text(self, width: int | None = None) -> str:
        """All tables; with a width, as many columns as fit, and prose wrapped."""
        runs = self.runs()
        if not runs:
            return "no runs"
        return self.written(tables.comparison_text(runs, self.epochs(), self.gradients(), width=width))

    def written(self, text: str) -> str:
        """Return text in characters this terminal can show."""
        return text if self.session.has_unicode else text.replace("±", "+-")
