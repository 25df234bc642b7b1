"""`depthscope engine`: the background process that trains."""

from __future__ import annotations

from typing import Annotated

import typer

from console.commands.options import JsonOption

engine_app = typer.Typer(no_args_is_help=True, help="The background engine: start, stop, status, and its index.")


@engine_app.command()
def start() -> None:
    """Start the engine, unless it serves already; every command that needs it does so too."""
    from engine import client, launch

    greeting = launch.ensure_engine(client.open_home())
    typer.echo(f"the engine serves {greeting.home} (pid {greeting.pid}, version {greeting.version})")


@engine_app.command()
def stop(
    keep_training: Annotated[
        bool, typer.Option("--keep-training", help="Leave running workers alone; the next engine takes them over.")
    ] = False,
) -> None:
    """Let every run save a checkpoint, and end the engine; runs that were under way wait in the queue."""
    from engine import client, launch
    from engine.paths import find_home
    from engine.run import RunStatus

    home = find_home()
    ended = launch.stop(home, keep_training=keep_training)
    if ended is None:
        typer.echo("no engine serves")
        return
    with client.read(home) as reader:
        unfinished = [run.status for run in reader.unfinished_runs()]
    left = [
        f"{number} {status}" for status in (RunStatus.QUEUED, RunStatus.RUNNING) if (number := unfinished.count(status))
    ]
    waiting = f"; left for the next one: {' and '.join(left)}" if left else ""
    typer.echo(f"the engine (pid {ended.pid}) has ended{waiting}")


@engine_app.command()
def restart() -> None:
    """Replace the engine by one of this version that reads config.toml anew; training goes on meanwhile."""
    from engine import client, launch
    from engine.settings import read_settings

    home = client.open_home()
    # Before the one that serves is ended: the next could not be started.
    read_settings(home)
    launch.stop(home, keep_training=True, for_good=False)
    greeting = launch.ensure_engine(home)
    typer.echo(f"the engine serves {greeting.home} (pid {greeting.pid}, version {greeting.version})")


@engine_app.command()
def rebuild() -> None:
    """Build the database anew from the run directories and keep the old one beside it; training goes on meanwhile."""
    from engine import client

    home = client.open_home()
    client.rebuild(home)
    with client.read(home) as reader:
        typer.echo(f"{len(reader.runs(with_deleted=True))} runs in an index built from {home.runs}")


@engine_app.command()
def status(as_json: JsonOption = False) -> None:
    """Say whether the engine serves, and what it has to do."""
    import msgspec

    from console.formatting import duration
    from console.output import narrate, print_json
    from console.states import queue_sentence
    from engine import launch
    from engine.paths import find_home

    home = find_home()
    greeting = launch.greet(home)
    if as_json:
        found = None if greeting is None else msgspec.to_builtins(greeting)
        print_json({"home": str(home.root), "serves": greeting is not None, "engine": found})
    elif greeting is None and launch.is_serving(home):
        typer.echo(f"an engine holds {home.engine_lock} but does not listen: it is starting, or ending")
    elif greeting is None:
        typer.echo(f"no engine serves {home.root}; the next command that needs one starts it")
    else:
        # An engine of before there were slots tells of none.
        slots = greeting.slots or (1,) * len(greeting.devices)
        devices = [
            name if num == 1 else f"{name} ({num} slots)" for name, num in zip(greeting.devices, slots, strict=True)
        ]
        typer.echo(
            f"version {greeting.version}, pid {greeting.pid}, up {duration(greeting.uptime_seconds)}:"
            f" {greeting.num_running} running, {greeting.num_queued} queued on {', '.join(devices)}"
        )
        if words := queue_sentence(greeting.queue):
            narrate(words)


@engine_app.command()
def logs(
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many of the last lines.")] = 50,
) -> None:
    """Print the end of the engine's log."""
    from console.formatting import clean
    from console.output import narrate
    from engine.paths import find_home

    log = find_home().engine_log
    if not log.exists():
        narrate(f"no engine has written to {log} yet")
        return
    for line in log.read_text(errors="replace").splitlines()[-lines:]:
        typer.echo(clean(line))
