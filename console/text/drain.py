"""Let what trains be finished, start nothing else, and end the engine then; said on the way, and left at any time."""

from __future__ import annotations

import select

import typer

from console.text.follow import EXIT_INTERRUPTED, SECONDS_BETWEEN_LOOKS
from console.text.output import narrate, narrate_behind_ctrl_c
from console.text.status import counted
from engine.base.paths import Home
from engine.client import change, read
from engine.control import launch
from engine.control.protocol import Greeting, SetQueue
from engine.control.queue_state import QueueState, read_queue
from engine.runs.run import RunStatus


def drain_and_stop(home: Home) -> Greeting | None:
    """Finish what runs and end the engine; the queue is as it was before, for the next one. None where none served.

    Raises:
        EngineUnreachable: it does not answer, or does not end.
        typer.Exit: the user left with Ctrl-C (status 130); the queue drains on.
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
        narrate_behind_ctrl_c(
            "left: the engine drains on and does not end; `depthscope engine stop --drain` waits again,"
            " `depthscope queue release` starts what waits"
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    return launch.stop(home, opens_queue=was_open)


def wait_until_drained(home: Home) -> None:
    """Return when nothing runs that is to be finished; an engine that dies meanwhile is started again."""
    told: tuple[int, int] | None = None
    with read(home) as reader:
        while True:
            if not launch.is_serving(home):
                launch.ensure_engine(home)
            to_finish = read_queue(home).to_finish
            unfinished = reader.unfinished_runs()
            # One that crashed waits in the queue for a moment.
            going = [run for run in unfinished if run.status is RunStatus.RUNNING or run.id in to_finish]
            if not going:
                return
            now = len(going), len(unfinished) - len(going)
            if now != told:
                told = now
                left = f", {counted(now[1], 'run')} stay in the queue" if now[1] else ""
                narrate(f"waiting for {counted(now[0], 'run')} to be finished{left}; Ctrl-C leaves, and it drains on")
            select.select([], [], [], SECONDS_BETWEEN_LOOKS)


def stop_with_words(home: Home, *, keep_training: bool) -> Greeting | None:
    """End the engine as `engine stop` does; what is waited for is told first. None where none served.

    Raises:
        EngineUnreachable: it does not answer, or does not end.
        typer.Exit: the user left with Ctrl-C (status 130); the engine ends all the same.
    """
    try:
        greeting = launch.greet(home)
        if greeting is not None and greeting.num_running and not keep_training:
            narrate(
                f"waiting for {counted(greeting.num_running, 'run')} to save a checkpoint, behind the step under way;"
                " one that has not left after 2 minutes is ended, and goes on from its last checkpoint"
            )
        return launch.stop(home, keep_training=keep_training)
    except KeyboardInterrupt:
        if launch.is_serving(home):
            narrate_behind_ctrl_c("left: the engine ends by itself once every run is saved")
        raise typer.Exit(EXIT_INTERRUPTED) from None
