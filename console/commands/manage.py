"""Commands that change runs: stop, pause, resume, retry, rm, restore, prune. A wrong name fails the whole command."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.run_options import JsonOption, RunArguments

if TYPE_CHECKING:
    from engine.base.paths import Home
    from engine.control.protocol import AnyRunRequest
    from engine.runs.run import Run

MOST_LISTED = 20
"""Runs shown one by one, the largest first; `--json` has all."""
RUNS_AT_ONCE = 500
"""Runs of one request, between which the engine turns to other work."""


class What(StrEnum):
    """What `--only` deletes."""

    CHECKPOINTS = "checkpoints"
    HIDDEN = "hidden"


def stop(runs: RunArguments) -> None:
    """Stop runs after their next step, saving a checkpoint."""
    from engine.control.protocol import Stop

    change(Stop, runs, "stopped")


def pause(runs: RunArguments) -> None:
    """Pause runs after their next step, saving a checkpoint."""
    from engine.control.protocol import Pause

    change(Pause, runs, "paused")


def resume(runs: RunArguments) -> None:
    """Resume paused or stopped runs from their checkpoints."""
    from engine.control.protocol import Resume

    change(Resume, runs, "queued")


def retry(runs: RunArguments) -> None:
    """Retry failed, diverged or lost runs from their checkpoints."""
    from engine.control.protocol import Retry

    change(Retry, runs, "queued")


def remove(runs: RunArguments) -> None:
    """Hide runs, cancelling queued ones; `restore` undoes both."""
    from console.text.output import narrate
    from engine.control.protocol import Remove

    found = change(Remove, runs, "hidden", unfinished="cancelled and hidden")
    if cancelled := [run.id for run in found if not run.is_finished]:
        narrate(f"`depthscope restore {' '.join(cancelled)}` undoes this")


def restore(runs: RunArguments) -> None:
    """Show hidden runs again, queued or paused as before."""
    from console.text.formatting import clean
    from engine import client
    from engine.base.paths import find_home
    from engine.control.protocol import Restore

    home = find_home()
    done = client.change(home, Restore(runs=tuple(run.id for run in find(runs))))
    with client.read(home) as reader:
        found = [reader.run(run) for run in done.runs]
    typer.echo("\n".join(f"{run.id}  {clean(run.name)}  restored{restored_state(run)}" for run in found))


def restored_state(run: Run) -> str:
    """Suffix that says what an unfinished run is again: , queued or , held in the queue; empty if it is finished."""
    if run.is_finished:
        return ""
    return ", held in the queue" if run.held else f", {run.status}"


def find(names: list[str]) -> list[Run]:
    """Find runs by id or name."""
    from engine import client
    from engine.base.paths import find_home

    with client.read_fresh(find_home()) as reader:
        return [reader.find(name) for name in names]


def change(request: type[AnyRunRequest], names: list[str], done: str, *, unfinished: str | None = None) -> list[Run]:
    """Resolve all names before asking the engine, so that a wrong one changes nothing; return the runs as they were.

    Args:
        done: What was done, printed for each run.
        unfinished: The same for runs that were not finished; None for `done`.
    """
    from console.text.formatting import clean
    from engine import client
    from engine.base.paths import find_home

    found = find(names)
    client.change(find_home(), request(runs=tuple(run.id for run in found)))
    said = {run.id: done if run.is_finished or unfinished is None else unfinished for run in found}
    typer.echo("\n".join(f"{run.id}  {clean(run.name)}  {said[run.id]}" for run in found))
    return found


def prune(
    only: Annotated[What | None, typer.Option("--only", help="Just this; default: both.")] = None,
    delete: Annotated[bool, typer.Option("--delete", "--yes", help="Delete for good; otherwise only show.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show or delete spent checkpoints and hidden runs."""
    from console.text.formatting import byte_size
    from console.text.output import narrate, print_json
    from engine import client
    from engine.base.paths import find_home
    from engine.control.protocol import Prune

    home = find_home()
    with client.read_fresh(home) as reader:
        runs = reader.runs(with_deleted=True)
    found = find_deletable(home, runs, only)
    for begin in range(0, len(found) * delete, RUNS_AT_ONCE):
        part = found[begin : begin + RUNS_AT_ONCE]
        chosen = {what: tuple(run.id for kind, run, _ in part if kind is what) for what in What}
        client.change(home, Prune(hidden=chosen[What.HIDDEN], checkpoints=chosen[What.CHECKPOINTS]))
    total = sum(size for _, _, size in found)
    if as_json:
        rows = [
            {"what": what, "id": run.id, "name": run.name, "experiment": run.experiment, "num_bytes": size}
            for what, run, size in found
        ]
        print_json({"deleted": delete, "num_bytes": total, "runs": rows})
        return
    if found:
        typer.echo(deletable_table(found))
    if not found:
        narrate("nothing to delete: no run is hidden, and no succeeded run has checkpoints")
    elif delete:
        narrate(f"deleted {byte_size(total)}")
    else:
        narrate(f"nothing was deleted: `depthscope prune --delete` deletes this for good and frees {byte_size(total)}")


def find_deletable(home: Home, runs: Sequence[Run], only: What | None) -> list[tuple[What, Run, int]]:
    """What may be deleted, with its bytes on disk, the largest first."""
    from engine.runs.directory import RunDirectory
    from engine.runs.usage import bytes_below, bytes_of, spent_checkpoints

    found = []
    for run in runs:
        directory = RunDirectory(home.runs / run.id)
        if not run.is_finished or directory.wrong_run() is not None:
            continue
        if run.deleted_at is not None:
            if only is not What.CHECKPOINTS:
                found.append((What.HIDDEN, run, bytes_below(directory.path)))
        elif run.succeeded and only is not What.HIDDEN and (spent := spent_checkpoints(directory)):
            found.append((What.CHECKPOINTS, run, sum(map(bytes_of, spent))))
    return sorted(found, key=lambda one: -one[2])


def deletable_table(found: Sequence[tuple[What, Run, int]]) -> str:
    """Table of the largest, and totals."""
    from console.text.formatting import byte_size, table
    from console.text.status import counted

    names = {What.CHECKPOINTS: "checkpoints", What.HIDDEN: "hidden run"}
    rows = [
        [run.id, f"{run.experiment}/{run.name}", names[what], byte_size(size)]
        for what, run, size in found[:MOST_LISTED]
    ]
    lines = [table(["id", "run", "what", "size"], rows, align="<<<>")]
    if len(found) > MOST_LISTED:
        lines.append(f"and {len(found) - MOST_LISTED} more")
    for what in What:
        sizes = [size for kind, _, size in found if kind is what]
        if sizes:
            text = {
                What.CHECKPOINTS: f"checkpoints of {counted(len(sizes), 'succeeded run')}, whose weights stay",
                What.HIDDEN: f"{counted(len(sizes), 'hidden run')} with everything, weights and journals too",
            }[what]
            lines.append(f"{byte_size(sum(sizes))}: {text}")
    return "\n".join(lines)
