"""Summary of the experiment under the cursor, computed beside the UI thread."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from console.charts.styles import network_of
from console.tui.background import in_background
from console.tui.session import Session
from console.widgets.summary import SummaryView
from engine.base.errors import DepthscopeError
from engine.base.paths import Home
from engine.control.queue_state import QueueState
from engine.runs.run import Run, RunStatus

if TYPE_CHECKING:
    from console.comparison.claims import Epochs
    from console.comparison.summary import Summary
    from console.comparison.verdict import RunGradients
    from console.planning.estimates import Knowledge

MAX_AGE_SECONDS = 60.0
"""Age at which devices and past paces, on which estimates rest, are read again."""


class ExperimentSummary:
    """Keeps a view up to date with an experiment; computes only what changed, one summary at a time.

    Args:
        session: Gives the runs and their metrics.
        view: Shows the summary.
    """

    def __init__(self, session: Session, view: SummaryView) -> None:
        self.is_busy = False
        """Whether a summary is being computed."""
        self._session = session
        self._view = view
        self._experiment: str | None = None
        self._shown: Hashable = None
        """What the summary shown depends on."""
        self._estimates = Estimates(session.home)

    def runs(self) -> list[Run]:
        """Return all runs of the experiment."""
        return [run for run in self._session.feed.runs.values() if run.experiment == self._experiment]

    def choose(self, experiment: str | None) -> None:
        """Choose the experiment, and make room for its networks."""
        self._experiment = experiment
        self._view.reserve(len({network_of(run) for run in self.runs()}))

    def refresh(self) -> None:
        """Compute the summary in the background if it would differ; the metrics of its runs must be watched."""
        if not self.is_busy and self._experiment is not None and self._inputs() != self._shown:
            self.is_busy = True
            self._session.app.run_worker(self._compute())

    def _inputs(self) -> Hashable:
        """Return what a summary depends on: everything but progress within an epoch."""
        queue = [run for run in self._session.feed.runs.values() if run.status in (RunStatus.RUNNING, RunStatus.QUEUED)]
        ahead = tuple((run.id, run.place) for run in queue if run.status is RunStatus.RUNNING), len(queue)
        runs = tuple(
            (run.id, run.epoch, run.status, run.outcome, run.held, run.place, run.unreadable) for run in self.runs()
        )
        return self._experiment, runs, ahead, self._session.curve_colours, self._starts_runs()

    def _starts_runs(self) -> bool:
        """Return whether the engine starts queued runs."""
        greeting = self._session.engine.pulse.greeting
        return greeting is None or greeting.queue is QueueState.OPEN

    async def _compute(self) -> None:
        feed = self._session.feed
        try:
            while self._experiment is not None and (inputs := self._inputs()) != self._shown:
                experiment, runs = self._experiment, self.runs()
                histories = {run.id: feed.history(run.id) for run in runs}
                summary = await in_background(
                    summary_of,
                    experiment,
                    runs,
                    {id: list(history.epochs) for id, history in histories.items()},
                    {id: list(history.gradients) for id, history in histories.items()},
                    colours=self._session.curve_colours,
                    queue=queue_of(feed.runs, starts_runs=self._starts_runs()),
                    estimates=self._estimates,
                )
                self._shown = inputs
                if self._experiment == experiment:
                    self._view.show(summary)
        finally:
            self.is_busy = False


def queue_of(runs: Mapping[str, Run], *, starts_runs: bool) -> list[Run]:
    """Runs whose end can be estimated, in queue order: running ones, and queued ones that will start."""
    queue = [
        run
        for run in runs.values()
        if run.status is RunStatus.RUNNING or (starts_runs and run.status is RunStatus.QUEUED and not run.held)
    ]
    return sorted(queue, key=lambda run: (run.place, run.position, run.id))


class Estimates:
    """Time until runs end, from what is known of this machine; devices and past paces are read once in a while."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._knowledge: Knowledge | None = None
        self._read_at = 0.0

    def seconds_to_end(self, queue: Sequence[Run]) -> dict[str, float]:
        """Estimate the time until each run of a queue ends, by id; those missing are unknown."""
        from console.planning.deadline import seconds_to_end
        from console.planning.estimates import gather

        if self._knowledge is None or time.monotonic() - self._read_at > MAX_AGE_SECONDS:
            self._knowledge, self._read_at = gather(self._home), time.monotonic()
        try:
            return seconds_to_end(replace(self._knowledge, queue=tuple(queue)))
        except DepthscopeError:
            # A dataset of the queue cannot be read; its run will say so.
            return {}


def summary_of(
    experiment: str,
    runs: Sequence[Run],
    epochs: Epochs,
    gradients: RunGradients,
    *,
    colours: Sequence[int | str],
    queue: Sequence[Run],
    estimates: Estimates,
) -> Summary:
    """Sum up an experiment, with estimates if any of its runs is unfinished."""
    from console.comparison.summary import summarize

    ends = {} if all(run.is_finished for run in runs) else estimates.seconds_to_end(queue)
    return summarize(experiment, runs, epochs, gradients, colours=colours, seconds_to_end=ends, now=time.time())
