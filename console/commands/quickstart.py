"""`depthscope quickstart`: a small, complete comparison on this machine, offline if need be."""

from __future__ import annotations

from typing import Annotated

import typer

from console.commands.run_options import JsonOption

ARCHITECTURES = ("he-plain", "he-resnet")
SHALLOW, DEEP = 8, 44
WIDTH = 8
SEEDS = "0,1,2"
TRAIN_IMAGES, TEST_IMAGES = 700, 300
EPOCHS, LEARNING_RATE = 10, 0.02
"""Found by experiment. With 32 layers the deep plain network sometimes starts to learn; with augmentation or a learning
rate of 0.05, some deep residual networks do not; with 500 images, three seeds scatter too much for a firm claim."""
HALF_PRECISION_BATCH, FULL_PRECISION_BATCH = 25, 22


def quickstart(
    dataset: Annotated[
        str | None, typer.Option("--data", help="Dataset; default: CIFAR-10 if available, else synthetic.")
    ] = None,
    seed: Annotated[str, typer.Option("--seed", help="Seeds of each network, such as 3,4,5.")] = SEEDS,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = EPOCHS,
    precision: Annotated[str, typer.Option(help="fp32, or bf16 where it is native.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Compare shallow and deep networks, with and without shortcuts."""
    from console.charts import metrics, overlay
    from console.comparison import description, tables
    from console.comparison.verdict import read_epochs, read_gradients
    from console.planning import planning
    from console.planning.estimates import gather
    from console.planning.options import BY_NAME, RunOptions
    from console.text import follow
    from console.text.output import narrate, print_json
    from engine import client
    from engine.data import datasets
    from engine.spec.settings import read_settings

    home = client.open_home()
    read_settings(home)
    seeds = BY_NAME["seeds"].parse(seed)
    chosen = dataset or planning.quick_dataset(home, narrate)
    num_train, num_test, _ = datasets.describe(home, chosen)
    options = RunOptions(
        architectures=ARCHITECTURES,
        # Longest runs first keeps all cores busy until the end.
        depths=(DEEP, SHALLOW),
        seeds=seeds,
        width=WIDTH,
        dataset=chosen,
        train_images=min(TRAIN_IMAGES, num_train),
        test_images=min(TEST_IMAGES, num_test),
        recipe="quick",
        epochs=epochs,
        batch_size=batch_size_for(precision),
        learning_rate=LEARNING_RATE,
        augment=False,
        precision=precision,
    )
    planned = sorted(planning.plan_runs(home, options), key=lambda run: -run.spec.model.depth)
    planning.check_all_fit(home, planned)
    narrate(
        f"{len(planned)} runs: {', '.join(ARCHITECTURES)} with {SHALLOW} and {DEEP} layers, seeds"
        f" {', '.join(map(str, seeds))}; {epochs} epochs of {options['train_images']} images of {chosen}."
        " Ctrl-C leaves, training continues"
    )
    narrate(
        "two questions, fixed now: is the training error higher with"
        f" {DEEP} than with {SHALLOW} layers, without shortcuts, and with them? Both answers together are wrong in at"
        " most 5 % of experiments; nothing else is claimed"
    )
    done = client.submit(home, gather(home).estimated(planned), experiment=None)
    follow.follow_until_done(home, done.runs, name=str(done.experiment), in_one_bar=True)
    with client.read(home) as reader:
        trained = [reader.run(run) for run in done.runs]
        rows, gradients = read_epochs(reader, trained), read_gradients(reader, trained)
        if as_json:
            print_json(description.comparison_document(str(done.experiment), trained, rows, gradients))
        else:
            one_seed = [run for run in trained if run.spec.seed == seeds[0]]
            for name in ("train-error", "test-error"):
                typer.echo(overlay.chart(reader, one_seed, metrics.find_metric(name), height=16))
            if len(seeds) > 1:
                typer.echo(f"curves: seed {seeds[0]} of each network; below, mean ± std over all seeds")
            typer.echo(f"\n{tables.comparison_text(trained, rows, gradients)}")
    narrate(
        "\nNext:\n"
        "  depthscope                                            # these runs in the console\n"
        f"  {f'depthscope report {done.experiment} -o report':<52}  # figures, tables, verdict\n"
        "  depthscope train -a resnet,plain -d 20,56 --seeds 3   # a comparison of your own"
    )
    follow.exit_for(trained)


def batch_size_for(precision: str) -> int:
    """Batch size for a precision; `auto` resolves to what the first device prefers."""
    from engine.spec.devices import candidates, find_devices
    from engine.spec.precision import Precision

    if precision == Precision.AUTO:
        precision = candidates(None, find_devices())[0].native[0]
    return HALF_PRECISION_BATCH if precision in (Precision.BF16, Precision.FP16) else FULL_PRECISION_BATCH
