"""`depthscope queue`: list, move, hold, release and drain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.run_options import JsonOption, RunArguments
from engine.base.errors import UsageError

if TYPE_CHECKING:
    from engine.control.queue_state import QueueState

queue_app = typer.Typer(help="Show and change the queue: ls, move, hold, release, drain.")

SomeRuns = Annotated[
    list[str] | None, typer.Argument(metavar="[RUN]...", help="Ids or names; default: the whole queue.")
]


@queue_app.callback(invoke_without_command=True)
def queue(context: typer.Context, as_json: JsonOption = False) -> None:
    """List running and queued runs in the order they will start."""
    if context.invoked_subcommand is None:
        list_queue(as_json)
    elif as_json:
        raise UsageError("--json comes after the command: `depthscope queue ls --json`")


@queue_app.command("ls")
def list_queue(as_json: JsonOption = False) -> None:
    """List running and queued runs in the order they will start."""
    from console.text import documents, listing
    from console.text.output import narrate, print_json
    from console.text.status import queue_sentence
    from engine import client
    from engine.base.paths import find_home
    from engine.control.queue_state import read_queue

    home = find_home()
    with client.read_fresh(home) as reader:
        runs = listing.in_queue_order(reader.unfinished_runs())
    state = read_queue(home).state
    if as_json:
        rows = [{"place_in_queue": number, **documents.run_document(run)} for number, run in runs]
        print_json({"queue": state.value, "runs": rows})
        return
    if runs:
        typer.echo(listing.queue_table(runs))
    if notice := queue_sentence(state) or ("" if runs else "the queue is empty"):
        narrate(notice)


@queue_app.command()
def move(
    runs: RunArguments,
    first: Annotated[bool, typer.Option("--first", help="To the front of the queue.")] = False,
    last: Annotated[bool, typer.Option("--last", help="To the end of the queue.")] = False,
    before: Annotated[str | None, typer.Option("--before", metavar="RUN", help="In front of this run.")] = None,
) -> None:
    """Move queued runs, in the order given."""
    from console.text.formatting import clean
    from engine import client
    from engine.base.paths import find_home
    from engine.control.protocol import Move

    if first + last + (before is not None) != 1:
        raise UsageError("choose one of --first, --last and --before RUN")
    home = find_home()
    with client.read_fresh(home) as reader:
        found = [reader.find(word) for word in runs]
        target = None if before is None else reader.find(before)
    client.change(
        home, Move(runs=tuple(run.id for run in found), before=None if target is None else target.id, last=last)
    )
    where = f"before {target.id}" if target is not None else "last" if last else "first"
    typer.echo("\n".join(f"{run.id}  {clean(run.name)}  {where}" for run in found))


@queue_app.command()
def hold(runs: SomeRuns = None) -> None:
    """Hold the queue or single runs; running jobs continue."""
    from console.commands.manage import change
    from engine.control.protocol import Hold
    from engine.control.queue_state import QueueState

    if runs:
        change(Hold, runs, "held")
    else:
        set_queue(QueueState.HELD)


@queue_app.command()
def release(runs: SomeRuns = None) -> None:
    """Release the queue, or single runs held by name."""
    from console.commands.manage import change
    from engine.control.protocol import Release
    from engine.control.queue_state import QueueState

    if runs:
        change(Release, runs, "released")
    else:
        set_queue(QueueState.OPEN)


@queue_app.command()
def drain() -> None:
    """Let running jobs finish and start nothing until `queue release`."""
    from engine.control.queue_state import QueueState

    set_queue(QueueState.DRAINING)


def set_queue(state: QueueState) -> None:
    """Set the queue's state and explain it."""
    from console.text.interruption import interruption
    from console.text.status import queue_sentence
    from engine import client
    from engine.control.protocol import SetQueue

    home = client.open_home()
    client.change(home, SetQueue(state=state))
    with client.read(home) as reader:
        stopped = interruption(home, reader.unfinished_runs())
    typer.echo(queue_sentence(state) or f"Queue open: runs start in order{f'; {stopped}' if stopped else ''}")
