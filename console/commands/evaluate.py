"""`depthscope weights` and `depthscope eval`: locate a run's final weights, and evaluate any weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.run_options import JsonOption, RunArgument
from engine.base.errors import UsageError

if TYPE_CHECKING:
    from engine.runs.run import Run
    from engine.spec.run import RunSpec


def weights(run: RunArgument) -> None:
    """Print the path of a run's final weights, a PyTorch state_dict."""
    typer.echo(str(final_weights(found_run(run))))


def evaluate(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run; its final weights are evaluated.")] = None,
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="A state_dict file, instead of a run.")] = None,
    architecture: Annotated[
        str | None, typer.Option("-a", "--arch", help="Architecture of the weights, as for train.")
    ] = None,
    depth: Annotated[int | None, typer.Option("-d", "--depth", help="Depth of the network, as for train.")] = None,
    block: Annotated[str | None, typer.Option(help="basic or bottleneck; the default depends on the depth.")] = None,
    blocks: Annotated[str | None, typer.Option(help="Blocks per stage, such as 3,4,6,3, instead of a depth.")] = None,
    width: Annotated[int | None, typer.Option(help="Planes of the first stage (64; he-*: 16).")] = None,
    conv_bias: Annotated[bool, typer.Option("--conv-bias", help="Biases in the blocks' convolutions.")] = False,
    norm: Annotated[str, typer.Option(help="batch or none.")] = "batch",
    dataset: Annotated[str | None, typer.Option("--data", help="A dataset of `depthscope data ls`.")] = None,
    test_images: Annotated[int | None, typer.Option(help="Size of a class-balanced test subset.")] = None,
    mean: Annotated[str | None, typer.Option(help="R,G,B mean of the inputs; default: the dataset's.")] = None,
    std: Annotated[str | None, typer.Option(help="R,G,B std of the inputs; default: the dataset's.")] = None,
    centred: Annotated[
        bool, typer.Option("--centred-shortcuts", help="he-resnet: pad new channels on both sides.")
    ] = False,
    precision: Annotated[str | None, typer.Option(help="Default: fp32, or the run's own precision.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, or a GPU such as cuda:1; default: the first GPU.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the test error of a run or of a weights file."""
    from console.planning import planning
    from console.planning.options import BY_NAME, RunOptions
    from console.programs import evaluation
    from console.text.output import print_json
    from engine.base.paths import find_home
    from engine.control.messages import EvaluationTask
    from engine.spec import devices
    from engine.spec.precision import Precision

    home = find_home()
    found: Run | None = None
    if (run is None) == (weights is None):
        raise UsageError("give either a run or --weights FILE")
    if run is not None:
        if architecture or depth or blocks or dataset or test_images:
            raise UsageError(f"leave out -a, -d, --blocks, --data and --test-images: {run} determines them")
        found = found_run(run)
        weights, spec = final_weights(found), of_run(found, precision)
    else:
        if architecture is None:
            raise UsageError("--weights needs the network too, such as -a resnet -d 20")
        options = RunOptions(
            architectures=[architecture],
            depths=[] if depth is None else [depth],
            block=block,
            blocks=None if blocks is None else BY_NAME["blocks"].parse(blocks),
            width=width,
            conv_bias=conv_bias,
            norm=norm,
            dataset=dataset or "cifar10",
            test_images=test_images,
            precision=precision or Precision.FP32.value,
            device=device,
        )
        spec = planning.plan_runs(home, options)[0].spec
    assert weights is not None, "either a run or a file is given"
    task = EvaluationTask(
        home=str(home.root),
        weights=str(weights.absolute()),
        spec=spec,
        mean=None if mean is None else evaluation.channels(mean, "--mean"),
        std=None if std is None else evaluation.channels(std, "--std"),
        centred=centred,
    )
    chosen = devices.candidates(device, devices.find_devices())[0]
    measured = evaluation.evaluate(task, chosen)
    if as_json:
        print_json(evaluation.evaluation_document(task, measured, found))
    else:
        typer.echo(evaluation.evaluation_page(task, measured, found))


def found_run(word: str) -> Run:
    """Find a run by id or name."""
    from engine import client
    from engine.base.paths import find_home

    with client.read_fresh(find_home()) as reader:
        return reader.find(word)


def final_weights(run: Run) -> Path:
    """Path of a run's final weights.

    Raises:
        UsageError: the run has none (yet), or another run is in its directory.
    """
    from console.text.formatting import clean
    from engine.base.paths import find_home
    from engine.runs.directory import RunDirectory

    directory = RunDirectory(find_home().runs / run.id)
    if (wrong := directory.wrong_run()) is not None:
        raise wrong
    path = directory.weights
    if not run.is_finished or not path.is_file():
        state = run.outcome or f"{run.status} at epoch {run.epoch} of {run.spec.recipe.epochs}"
        raise UsageError(f"{run.id} ({clean(run.name)}) has no final weights: {state}")
    return path


def of_run(run: Run, precision: str | None) -> RunSpec:
    """Spec of a run with the given precision, by default the one it was trained in.

    Raises:
        UsageError: the precision does not exist.
    """
    import msgspec

    from engine.spec.precision import Precision

    try:
        used = Precision(precision) if precision is not None else run.precision or run.spec.recipe.precision
    except ValueError:
        raise UsageError(f"precision must be one of {', '.join(Precision)}, got {precision!r}") from None
    return msgspec.structs.replace(run.spec, recipe=msgspec.structs.replace(run.spec.recipe, precision=used))
