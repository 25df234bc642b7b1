"""Follow runs until they are done: a live table on a terminal, plain lines elsewhere. Leaving never stops training."""

from __future__ import annotations

import math
import select
import sys
import time
from collections.abc import Sequence

import typer

from console.text.formatting import (
    UNKNOWN,
    can_redraw,
    clean,
    duration,
    percent,
    progress_bar,
    supports_unicode,
    table,
)
from console.text.output import narrate, narrate_after_ctrl_c
from console.text.status import held_out_error, last_line, left, loss, queue_sentence, rate, state
from engine.base.errors import EngineUnreachable
from engine.base.paths import Home
from engine.client import read
from engine.control import launch
from engine.control.queue_state import read_queue
from engine.control.stopped import read_stopped
from engine.index.database import IndexLocked
from engine.index.queries import Reader, RunUnknown
from engine.index.reader import Version
from engine.runs.journal import Epoch
from engine.runs.run import Run, RunStatus
from models.cost import forward_macs

SECONDS_BETWEEN_LOOKS = 0.25
SECONDS_BETWEEN_ENGINE_CHECKS = 2.0
EXIT_NOT_SUCCEEDED = 4
EXIT_INTERRUPTED = 130
LEAST_SHARE_FOR_ETA = 0.02


def follow_until_done(
    home: Home,
    runs: Sequence[str],
    *,
    name: str,
    quiet: bool = False,
    in_one_bar: bool = False,
    from_start: bool = True,
) -> None:
    """Return once every run is finished or paused; restart the engine if it dies.

    Args:
        home: Where the runs are.
        runs: Full ids.
        name: Argument for `depthscope follow`, suggested when the user leaves.
        quiet: Print no progress.
        in_one_bar: On a terminal, show one bar for all runs instead of a table.
        from_start: Without a terminal, print the epochs that are already done, too.

    Raises:
        RunUnknown: one of them no longer exists.
        typer.Exit: the user pressed Ctrl-C (status 130).
    """
    if not quiet and (notice := queue_sentence(read_queue(home).state)):
        narrate(notice)
    is_live = can_redraw(sys.stderr) and not quiet
    try:
        with read(home) as reader:
            if quiet:
                wait_for(home, reader, runs)
            elif is_live and in_one_bar:
                show_bar(home, reader, runs)
            elif is_live:
                show_live(home, reader, runs)
            else:
                print_lines(home, reader, runs, from_start=from_start)
    except KeyboardInterrupt:
        # The live table overwrites the `^C` that the terminal echoes.
        say = narrate if is_live else narrate_after_ctrl_c
        say(f"stopped following; training continues. `{f'depthscope follow {name}'.rstrip()}` picks it up again")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def exit_for(runs: Sequence[Run]) -> None:
    """Exit with status 4 and the reasons unless every run succeeded."""
    for run in runs:
        if run.unreadable is not None:
            narrate(f"{run.id} {clean(run.name)} is unreadable: {clean(run.unreadable)}")
        elif run.is_finished and not run.succeeded:
            reason = f": {last_line(run.error)}" if run.error else ""
            narrate(f"{run.id} {clean(run.name)} {run.outcome}{reason}")
        elif not run.is_finished:
            narrate(f"{run.id} {clean(run.name)} is {run.status}")
    if not all(run.succeeded for run in runs):
        raise typer.Exit(EXIT_NOT_SUCCEEDED)


class Watch:
    """Polls the index for changes and keeps the engine alive."""

    def __init__(self, home: Home, reader: Reader, runs: Sequence[str]) -> None:
        self._home = home
        self._reader = reader
        self._ids = list(runs)
        self._version: Version | None = None
        self._checked_at = 0.0
        self._has_looked = False
        self._stands_still = False
        """Whether runs remain and none is running; then the next look asks whether any training goes on."""
        self._whole_file: tuple[int, int] | None = None
        """A complete index file that lacks one of the runs; None while all are found."""

    def look(self) -> list[Run] | None:
        """Return the runs, or None if nothing has changed since the last look.

        The first look needs no engine, so that the states are shown, and finished runs need no other.

        Raises:
            RunUnknown: the index was rebuilt without one of them.
            EngineUnreachable: training was ended, so that the unfinished runs make no progress.
        """
        if self._has_looked:
            self.keep_engine()
        self._has_looked = True
        if self._stands_still:
            self._stands_still = False
            launch.check_trains(self._home)
        try:
            version = self._reader.data_version()
            if version == self._version:
                return None
            found = [self._reader.run(run) for run in self._ids]
        except RunUnknown as unknown:
            self._wait_for_index(version, unknown)
            return None
        except IndexLocked:
            # Locked by another program; the next look may succeed.
            return None
        self._version, self._whole_file = version, None
        unfinished = [run for run in found if not is_done(run)]
        self._stands_still = bool(unfinished) and all(run.status is not RunStatus.RUNNING for run in unfinished)
        return found

    def _wait_for_index(self, version: Version, unknown: RunUnknown) -> None:
        """Wait for an index that is being rebuilt; give up once it is complete and lacks a run.

        The engine answers only after rebuilding, so a file that predates an answer and still stands is complete.

        Raises:
            RunUnknown: the index is complete and lacks a run.
        """
        file, _ = version
        if file is not None and file == self._whole_file:
            why = f"it was rebuilt, and {self._home.runs} has no run directory of that name"
            raise RunUnknown(unknown.run, why) from unknown
        try:
            answered = launch.greet(self._home) is not None
        except EngineUnreachable:
            answered = False
        self._whole_file = file if answered else None

    def keep_engine(self) -> None:
        """Restart an engine that has died, checking every few seconds.

        Raises:
            EngineUnreachable: someone stopped the engine.
        """
        if not self._checked_at and not launch.is_serving(self._home) and read_stopped(self._home) is None:
            # Only an engine that dies while it is watched is started again as it was.
            launch.ensure_engine(self._home, trains=False)
        now = time.monotonic()
        if now - self._checked_at >= SECONDS_BETWEEN_ENGINE_CHECKS:
            self._checked_at = now
            launch.keep_engine(self._home)

    def pause(self) -> None:
        """Wait before the next look."""
        select.select([], [], [], SECONDS_BETWEEN_LOOKS)


def is_done(run: Run) -> bool:
    """Whether a run will make no further progress by itself."""
    return run.is_finished or run.unreadable is not None or (run.status is RunStatus.PAUSED and not run.waits_for_disk)


def followed_state(run: Run) -> str:
    """State of a run, never "stalled": whoever follows it sees for themselves."""
    return state(run, -math.inf)


def wait_for(home: Home, reader: Reader, runs: Sequence[str]) -> None:
    """Wait silently until all are done."""
    watch = Watch(home, reader, runs)
    while (found := watch.look()) is None or not all(map(is_done, found)):
        watch.pause()


def print_lines(home: Home, reader: Reader, runs: Sequence[str], *, from_start: bool) -> None:
    """Print a line for every epoch and every change of state; those of before only if `from_start`."""
    watch = Watch(home, reader, runs)
    last_epoch = dict.fromkeys(runs, 0)
    last_state: dict[str, str] = {}
    while True:
        found = watch.look()
        for run in found or []:
            if not from_start and run.id not in last_state:
                last_epoch[run.id] = run.epoch
            for row in reader.epochs(run.id, after=last_epoch[run.id]):
                narrate(epoch_line(run, row))
                last_epoch[run.id] = row.epoch
            now = followed_state(run)
            if last_state.get(run.id) != now:
                last_state[run.id] = now
                where = f" on {run.device}" if run.status is RunStatus.RUNNING else ""
                why = f": {last_line(run.error)}" if run.error else ""
                narrate(f"{clean(run.name)}  {now}{where}{why}")
        if found is not None and all(map(is_done, found)):
            return
        watch.pause()


def epoch_line(run: Run, row: Epoch) -> str:
    """Metrics of one epoch in a line."""
    return (
        f"{clean(run.name)}  epoch {row.epoch}/{run.spec.recipe.epochs}"
        f"  train loss {loss(row.train_loss)}, error {percent(row.train_error_percent)}"
        f"{held_out_text(run, row)}"
        f"  {row.images_per_second:.0f} images/s, {duration(row.seconds)}"
    )


def held_out_text(run: Run, row: Epoch) -> str:
    """Metrics of an epoch on the held-out sets that it was evaluated on."""
    parts = []
    if run.has_validation:
        parts.append(f"  validation loss {loss(row.validation_loss)}, error {percent(row.validation_error_percent)}")
    if not run.has_validation or row.test_error_percent is not None:
        parts.append(f"  test loss {loss(row.test_loss)}, error {percent(row.test_error_percent)}")
    return "".join(parts)


def show_live(home: Home, reader: Reader, runs: Sequence[str]) -> None:
    """Show a table that is redrawn on changes, and nothing else: further lines would scroll it away."""
    from rich.live import Live
    from rich.text import Text

    watch = Watch(home, reader, runs)
    with Live(auto_refresh=False, transient=False) as live:
        while True:
            found = watch.look()
            if found is not None:
                live.update(Text(live_table(found, width=live.console.width), no_wrap=True), refresh=True)
                if all(map(is_done, found)):
                    return
            watch.pause()


def live_table(runs: Sequence[Run], *, width: int) -> str:
    """Table of the followed runs, one row each."""
    rows = [
        [
            clean(run.name),
            followed_state(run),
            progress_bar(run.fraction_done, 12),
            f"{run.epoch}/{run.spec.recipe.epochs}",
            UNKNOWN if run.train_loss is None and not run.epoch else loss(run.train_loss),
            held_out_error(run),
            rate(run),
            left(run),
        ]
        for run in runs
    ]
    header = ["run", "status", "", "epoch", "train loss", "test error", "images/s", "ETA"]
    return table(header, rows, align="<<<>>>>>", max_width=width)


def show_bar(home: Home, reader: Reader, runs: Sequence[str]) -> None:
    """Show one bar for all runs on stderr; it disappears when they are done."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    watch, began = Watch(home, reader, runs), time.monotonic()
    found: list[Run] = []
    shown = ""
    # Checked first, because Live replaces sys.stderr.
    unicode = supports_unicode(sys.stderr)
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        while not found or not all(map(is_done, found)):
            found = watch.look() or found
            line = bar_line(found, time.monotonic() - began, width=live.console.width, unicode=unicode)
            if line != shown:
                shown = line
                live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
            watch.pause()


def bar_line(runs: Sequence[Run], elapsed_seconds: float, *, width: int, unicode: bool) -> str:
    """Progress of several runs in a line: bar, number done, ETA and the epochs under way."""
    share = fraction_of_work(runs)
    num_done = sum(map(is_done, runs))
    # Earlier, most of the elapsed time is worker start-up.
    eta = f"ETA {duration(elapsed_seconds * (1 - share) / share)}" if share >= LEAST_SHARE_FOR_ETA else "ETA -"
    epochs = [
        f"{clean(run.name)} {run.epoch}/{run.spec.recipe.epochs}" for run in runs if run.status is RunStatus.RUNNING
    ]
    bar = progress_bar(share, min(30, max(10, width - 70)), unicode)
    return f"{bar} {math.floor(100 * share):3d} %  {num_done}/{len(runs)} runs  {eta}  {', '.join(epochs)}"


def fraction_of_work(runs: Sequence[Run]) -> float:
    """Fraction of training done, runs weighted by their multiply-accumulates; 0 without runs."""
    work = [
        (forward_macs(run.spec.model) * run.spec.recipe.epochs, 1.0 if is_done(run) else run.fraction_done)
        for run in runs
    ]
    return sum(size * done for size, done in work) / (sum(size for size, _ in work) or 1)
