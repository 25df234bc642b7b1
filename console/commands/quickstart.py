"""`depthscope quickstart`: a small, complete comparison on this machine, offline if need be."""

from __future__ import annotations

from typing import Annotated

import typer

from console.commands.run_options import JsonOption

ARCHITECTURES = ("he-plain", "he-resnet")
SHALLOW, DEEP = 8, 44
WIDTH = 8
TRAIN_IMAGES, TEST_IMAGES = 3000, 1000
EPOCHS, BATCH_SIZE, LEARNING_RATE = 6, 32, 0.05
"""Found by trying: on two CPU cores the four runs take minutes, and the deep plain network shows what depth does."""


def quickstart(
    dataset: Annotated[
        str | None,
        typer.Option("--data", help="CIFAR-10 if it is here or quickly fetched, else synthetic images, if left out."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = EPOCHS,
    as_json: JsonOption = False,
) -> None:
    """Train a shallow and a deep network, each with and without shortcuts, and say what depth did."""
    from console.charts import metrics, overlay
    from console.comparison import description, tables
    from console.comparison.verdict import read_epochs, read_gradients
    from console.planning import planning
    from console.planning.estimates import gather
    from console.text import follow
    from console.text.output import narrate, print_json
    from engine import client
    from engine.data import datasets

    home = client.open_home()
    chosen = dataset or planning.quick_dataset(home, narrate)
    num_train, num_test, _ = datasets.describe(home, chosen)
    asked = planning.Asked(
        architectures=ARCHITECTURES,
        depths=(SHALLOW, DEEP),
        width=WIDTH,
        dataset=chosen,
        train_images=min(TRAIN_IMAGES, num_train),
        test_images=min(TEST_IMAGES, num_test),
        recipe="quick",
        overrides={"epochs": epochs, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE},
    )
    planned = planning.plan_runs(home, asked)
    planning.check_all_fit(home, planned)
    narrate(
        f"{len(planned)} networks, {epochs} epochs over {min(TRAIN_IMAGES, num_train)} images of {chosen};"
        " Ctrl-C leaves, and training goes on"
    )
    done = client.submit(home, gather(home).estimated(planned), experiment=None)
    follow.follow_until_done(home, done.runs, name=str(done.experiment))
    with client.read(home) as reader:
        trained = [reader.run(run) for run in done.runs]
        rows, gradients = read_epochs(reader, trained), read_gradients(reader, trained)
        if as_json:
            print_json(description.comparison_document(str(done.experiment), trained, rows, gradients))
        else:
            for name in ("train-loss", "test-error"):
                metric = metrics.find_metric(name)
                typer.echo(overlay.chart(reader, trained, metric, height=16))
            typer.echo(tables.comparison_text(trained, rows, gradients))
    narrate(f"more: `depthscope show`, `depthscope plot {done.experiment}`, `depthscope train --help`")
    follow.exit_for(trained)
