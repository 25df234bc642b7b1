"""Commands that show results: plot, compare, describe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.run_options import ClaimOption, JsonOption, LastOption, RunsOrExperiments

if TYPE_CHECKING:
    from console.charts.layer_grid import Quantity
    from engine.runs.journal import Epoch, Gradients
    from engine.runs.run import Run


def plot(
    names: RunsOrExperiments = None,
    metric: Annotated[
        str, typer.Option(help="Such as test-error, train-loss, learning-rate, gradients.")
    ] = "test-error",
    x_axis: Annotated[str, typer.Option("-x", "--x-axis", help="epoch, step or time (seconds).")] = "epoch",
    log_y: Annotated[bool, typer.Option("--log-y", help="Logarithmic y axis.")] = False,
    width: Annotated[int | None, typer.Option(min=20, help="Columns; default: the terminal's.")] = None,
    height: Annotated[int | None, typer.Option(min=6, help="Lines; default: most of the terminal's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a metric over epochs, or a map of all layers."""
    from console.charts import metrics, overlay
    from console.charts.layer_grid import LAYER_METRICS
    from console.text import listing
    from console.text.output import print_json
    from engine import client
    from engine.base.errors import UsageError
    from engine.base.paths import find_home

    if metric in LAYER_METRICS:
        if x_axis != "epoch":
            raise UsageError(f"{metric} are drawn by layer and epoch: leave out --x-axis {x_axis}")
        plot_layers(names or [], LAYER_METRICS[metric], width=width, height=height, as_json=as_json)
        return
    wanted = metrics.find_metric(metric)
    if x_axis not in list(metrics.Axis):
        raise UsageError(f"the x axis must be one of {', '.join(metrics.Axis)}, got {x_axis!r}")
    axis = metrics.Axis(x_axis)
    with client.read_fresh(find_home()) as reader:
        runs = listing.find_all(reader, names or [])
        if as_json:
            print_json(overlay.curves_document(reader, runs, wanted, axis))
            return
        text = overlay.chart(reader, runs, wanted, axis, log_y=log_y, width=width, height=height)
    typer.echo(text)


def plot_layers(names: list[str], quantity: Quantity, *, width: int | None, height: int | None, as_json: bool) -> None:
    """Print a layer metric of runs as a chart or JSON."""
    from console.layer_maps import profiles
    from console.text import listing
    from console.text.output import print_json
    from engine import client
    from engine.base.paths import find_home

    with client.read_fresh(find_home()) as reader:
        runs = listing.find_all(reader, names)
        if as_json:
            print_json(profiles.layers_document(reader, runs, quantity))
            return
        text = profiles.layers_text(reader, runs, quantity, width=width, height=height)
    typer.echo(text)


def compare(
    experiment: Annotated[str | None, typer.Argument(help="Default: the newest experiment.")] = None,
    last: LastOption = None,
    claim: ClaimOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare final errors over seeds, residual against plain."""
    from console.comparison import description, tables
    from console.text.output import print_json

    name, runs, epochs, gradients = read_experiment(experiment)
    if as_json:
        print_json(description.comparison_document(name, runs, epochs, gradients, last=last, wanted=claim or ()))
    else:
        typer.echo(tables.comparison_text(runs, epochs, gradients, last=last, wanted=claim or ()))


def describe(
    experiment: Annotated[str | None, typer.Argument(help="Default: the newest experiment.")] = None,
    last: LastOption = None,
    claim: ClaimOption = None,
    as_json: JsonOption = False,
) -> None:
    """Describe an experiment in words: networks, diagnoses, verdict."""
    from console.comparison import description
    from console.text.output import print_json

    found = read_experiment(experiment)
    sentences = description.description(*found, last=last, wanted=claim or ())
    if as_json:
        print_json({**description.comparison_document(*found, last=last, wanted=claim or ()), "words": sentences})
    else:
        typer.echo("\n".join(sentences))


def read_experiment(word: str | None) -> tuple[str, list[Run], dict[str, list[Epoch]], dict[str, list[Gradients]]]:
    """Read an experiment: its name, runs, and their epochs and gradients by id."""
    from console.comparison.verdict import read_epochs, read_gradients
    from console.text.listing import find_experiment
    from engine import client
    from engine.base.paths import find_home

    with client.read_fresh(find_home()) as reader:
        name, runs = find_experiment(reader, word)
        return name, runs, read_epochs(reader, runs), read_gradients(reader, runs)
