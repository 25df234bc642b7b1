"""`depthscope engine`: control the background process that trains."""

from __future__ import annotations

from typing import Annotated

import typer

from console.commands.run_options import JsonOption

engine_app = typer.Typer(no_args_is_help=True, help="The background engine: start, stop, status, index.")


@engine_app.command()
def start() -> None:
    """Start the engine unless it is running."""
    from engine import client
    from engine.control import launch
    from engine.spec.settings import read_settings

    home = client.open_home()
    # Told here to the user; an engine only logs what is wrong and uses the default.
    read_settings(home)
    greeting = launch.ensure_engine(home)
    typer.echo(f"the engine serves {greeting.home} (pid {greeting.pid}, version {greeting.version})")


@engine_app.command()
def stop(
    keep_training: Annotated[
        bool, typer.Option("--keep-training", help="Leave workers running; the next engine adopts them.")
    ] = False,
    drain: Annotated[bool, typer.Option("--drain", help="Let running jobs finish first; start nothing else.")] = False,
) -> None:
    """Stop the engine; running jobs save a checkpoint and are queued."""
    from console.text.drain import drain_and_stop, stop_with_progress
    from engine.base.errors import UsageError
    from engine.base.paths import find_home
    from engine.index.database import DatabaseUnusable
    from engine.index.queries import Reader
    from engine.runs.run import RunStatus

    if keep_training and drain:
        raise UsageError("choose one: --keep-training leaves workers running, --drain waits for them")
    home = find_home()
    ended = drain_and_stop(home) if drain else stop_with_progress(home, keep_training=keep_training)
    if ended is None:
        typer.echo("no engine is running")
        return
    try:
        with Reader(home.database) as reader:
            unfinished = [run.status for run in reader.unfinished_runs()]
    except DatabaseUnusable:
        # Repairing the index would start an engine again.
        unfinished = []
    remaining = [
        f"{number} {status}" for status in (RunStatus.QUEUED, RunStatus.RUNNING) if (number := unfinished.count(status))
    ]
    rest = f"; left for the next one: {' and '.join(remaining)}" if remaining else ""
    typer.echo(f"stopped the engine (pid {ended.pid}){rest}")


@engine_app.command()
def restart() -> None:
    """Restart the engine and reload config.toml; training continues."""
    from engine import client
    from engine.control import launch

    greeting = launch.restart(client.open_home())
    typer.echo(f"the engine serves {greeting.home} (pid {greeting.pid}, version {greeting.version})")


@engine_app.command()
def rebuild() -> None:
    """Rebuild the database from the run directories."""
    from console.text.status import counted
    from engine import client
    from engine.control.protocol import Rebuild

    home = client.open_home()
    client.change(home, Rebuild())
    with client.read(home) as reader:
        typer.echo(f"rebuilt the index from {home.runs}: {counted(len(reader.runs(with_deleted=True)), 'run')}")


@engine_app.command()
def status(as_json: JsonOption = False) -> None:
    """Show whether the engine is running, and its load."""
    import msgspec

    from console.text.formatting import duration
    from console.text.output import narrate, print_json
    from console.text.status import queue_sentence
    from engine.base.paths import find_home
    from engine.control import launch
    from engine.control.engine_lock import absent_listener

    home = find_home()
    greeting = launch.greet(home)
    if as_json:
        found = None if greeting is None else msgspec.to_builtins(greeting)
        print_json({"home": str(home.root), "serves": greeting is not None, "engine": found})
    elif greeting is None and (who := absent_listener(home)) is not None:
        typer.echo(who)
    elif greeting is None:
        typer.echo(f"no engine is running for {home.root}; {launch.absence(home)}")
    else:
        # An engine from before slots existed reports none.
        slots = greeting.slots or (1,) * len(greeting.devices)
        devices = [
            name if num == 1 else f"{name} ({num} slots)" for name, num in zip(greeting.devices, slots, strict=True)
        ]
        typer.echo(
            f"version {greeting.version}, pid {greeting.pid}, up {duration(greeting.uptime_seconds)}:"
            f" {greeting.num_running} running, {greeting.num_queued} queued on {', '.join(devices)}"
        )
        if notice := queue_sentence(greeting.queue):
            narrate(notice)
        if greeting.trouble is not None:
            narrate(greeting.trouble)
        if not greeting.starts_runs:
            narrate(f"it starts no runs: {launch.absence(home)}")


@engine_app.command()
def logs(
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="Number of lines from the end.")] = 50,
) -> None:
    """Print the end of the engine's log."""
    from console.text.formatting import clean
    from console.text.output import narrate
    from engine.base.paths import find_home
    from engine.base.regular_files import read_end

    log = find_home().engine_log
    if not log.exists():
        narrate(f"{log} does not exist yet: no engine has run here")
        return
    for line in read_end(log).splitlines()[-lines:]:
        typer.echo(clean(line))


@engine_app.command("install-service")
def install_service(
    show: Annotated[bool, typer.Option("--print", help="Print the unit without writing it.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace another unit, keeping it as .old.")] = False,
) -> None:
    """Install a systemd user service for the engine."""
    import shutil

    from console.text.output import narrate
    from engine import client
    from engine.control import launch, systemd
    from engine.control.systemd import systemd_runs

    home = client.open_home()
    if show:
        typer.echo(systemd.unit_text(home), nl=False)
        return
    done = systemd.install(home, replaces=replace)
    typer.echo(f"{systemd.unit_path()} {done}")
    if shutil.which("systemctl") is None or not systemd_runs():
        narrate("systemd is not running on this machine: the unit takes effect where it is")
        return
    steps = [
        "systemctl --user daemon-reload",
        f"systemctl --user enable --now {systemd.UNIT}",
        "loginctl enable-linger",
    ]
    if launch.is_serving(home):
        # Otherwise the unit's engine would find this one and exit.
        steps.insert(0, "depthscope engine stop --keep-training")
    narrate("to start it now and at boot, and keep it running after logout:")
    narrate("\n".join(f"  {step}" for step in steps))
