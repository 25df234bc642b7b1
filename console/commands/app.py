"""The command line: one Typer app with every command.

Command modules import what they work with inside their functions, so that `--help` and completion load neither numpy
nor textual nor plotext. Nothing in this process ever loads torch.
"""

from __future__ import annotations

from typing import Annotated

import typer

from console.commands import (
    data,
    evaluate,
    labels,
    manage,
    queue,
    quickstart,
    report,
    results,
    runs,
    train,
)
from console.commands.machine import bench, config, doctor, engine
from engine.base.version import VERSION

app = typer.Typer(
    name="depthscope",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What does depth do to training, and what does a shortcut cure?",
)


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"depthscope {VERSION}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What does depth do to training, and what does a shortcut cure?"""


app.command()(quickstart.quickstart)
app.command()(train.train)
app.command()(train.plan)
app.command("ls")(runs.list_runs)
app.command()(runs.show)
app.command()(runs.logs)
app.command()(runs.follow)
app.command()(runs.wait)
app.command()(manage.stop)
app.command()(manage.pause)
app.command()(manage.resume)
app.command()(manage.retry)
app.command("rm")(manage.remove)
app.command()(manage.restore)
app.command()(manage.prune)
app.command()(labels.note)
# -word removes a tag, so it must not be parsed as options such as -h.
app.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})(labels.tag)
app.command()(labels.star)
app.command()(labels.unstar)
app.command()(labels.rename)
app.add_typer(queue.queue_app, name="queue")
app.command()(runs.digest)
app.command()(results.plot)
app.command()(results.compare)
app.command()(results.describe)
app.command()(report.report)
app.command()(report.export)
app.command("import")(data.import_runs)
app.command()(evaluate.weights)
app.command("eval")(evaluate.evaluate)
app.command()(bench.bench)
app.add_typer(data.data_app, name="data")
app.add_typer(engine.engine_app, name="engine")
app.add_typer(config.config_app, name="config")
app.command()(doctor.doctor)
