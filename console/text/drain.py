"""Stop the engine, optionally after running jobs finish, reporting what it waits for; Ctrl-C leaves at any time."""

from __future__ import annotations

import select

import typer

from console.text.follow import EXIT_INTERRUPTED, SECONDS_BETWEEN_LOOKS
from console.text.output import narrate, narrate_after_ctrl_c
from console.text.status import counted
from engine.base.paths import Home
from engine.client import change, read
from engine.control import launch
from engine.control.protocol import Greeting, SetQueue
from engine.control.queue_state import QueueState, read_queue
from engine.control.stopped import read_stopped
from engine.runs.run import RunStatus


def drain_and_stop(home: Home) -> Greeting | None:
    """Finish running jobs, then stop the engine, leaving the queue as it was; None if no engine was running.

    Raises:
        EngineUnreachable: the engine does not answer or does not stop.
        typer.Exit: the user pressed Ctrl-C (status 130); the queue keeps draining.
    """
    greeting = launch.greet(home)
    if greeting is None and not launch.is_serving(home):
        return None
    was_open = read_queue(home).state is QueueState.OPEN
    try:
        if was_open:
            change(home, SetQueue(state=QueueState.DRAINING))
        wait_until_drained(home)
    except KeyboardInterrupt:
        narrate_after_ctrl_c(
            "still draining, and the engine stays up; `depthscope engine stop --drain` waits again,"
            " `depthscope queue release` starts queued runs"
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    return launch.stop(home, opens_queue=was_open)


def wait_until_drained(home: Home) -> None:
    """Wait until every run to be finished has finished; restart the engine if it dies meanwhile."""
    shown: tuple[int, int] | None = None
    with read(home) as reader:
        while True:
            if not launch.is_serving(home):
                launch.ensure_engine(home, trains=read_stopped(home) is None)
            # An engine that starts nothing does not finish a run whose worker crashed.
            to_finish = read_queue(home).to_finish if read_stopped(home) is None else ()
            unfinished = reader.unfinished_runs()
            # A run whose worker crashed is briefly queued again.
            going = [run for run in unfinished if run.status is RunStatus.RUNNING or run.id in to_finish]
            if not going:
                return
            now = len(going), len(unfinished) - len(going)
            if now != shown:
                shown = now
                queued = f" ({now[1]} queued)" if now[1] else ""
                narrate(f"waiting for {counted(now[0], 'run')} to finish{queued}; Ctrl-C leaves the engine draining")
            select.select([], [], [], SECONDS_BETWEEN_LOOKS)


def stop_with_progress(home: Home, *, keep_training: bool) -> Greeting | None:
    """Stop the engine as `engine stop` does, first saying what it waits for; None if no engine was running.

    Raises:
        EngineUnreachable: the engine does not answer or does not stop.
        typer.Exit: the user pressed Ctrl-C (status 130); the engine stops all the same.
    """
    try:
        greeting = launch.greet(home)
        if greeting is not None and greeting.num_running and not keep_training:
            narrate(
                f"waiting for {counted(greeting.num_running, 'run')} to save a checkpoint after the current step;"
                " any still running after 2 minutes is killed and resumes from its last checkpoint"
            )
        return launch.stop(home, keep_training=keep_training)
    except KeyboardInterrupt:
        if launch.is_serving(home):
            narrate_after_ctrl_c("the engine is still stopping and exits once every run is saved")
        raise typer.Exit(EXIT_INTERRUPTED) from None
