"""Commands that change runs: stop, pause, resume, retry, rm, restore. An unknown name fails the whole command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from console.commands.run_options import RunArguments

if TYPE_CHECKING:
    from engine.control.protocol import AnyRunRequest


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
    """Hide runs, cancelling queued ones; `restore` shows them again."""
    from engine.control.protocol import Remove

    change(Remove, runs, "removed")


def restore(runs: RunArguments) -> None:
    """Show hidden runs again."""
    from engine.control.protocol import Restore

    change(Restore, runs, "restored")


def change(request: type[AnyRunRequest], names: list[str], done: str) -> None:
    """Resolve all names before asking the engine, so that a wrong one changes nothing."""
    from console.text.formatting import clean
    from engine import client
    from engine.base.paths import find_home

    home = find_home()
    with client.read_fresh(home) as reader:
        found = [reader.find(name) for name in names]
    client.change(home, request(runs=tuple(run.id for run in found)))
    typer.echo("\n".join(f"{run.id}  {clean(run.name)}  {done}" for run in found))
