"""`depthscope weights` and `depthscope eval`: locate a run's final weights, and evaluate any weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.run_options import JsonOption, RunArgument
from engine.base.errors import DepthscopeError, UsageError

if TYPE_CHECKING:
    from engine.runs.run import Run
    from engine.spec.run import RunSpec


AsOption = Annotated[
    str | None,
    typer.Option("--as", metavar="PRESET", help="pytorch-cifar, akamaster, torchvision or report."),
]


def weights(
    run: RunArgument,
    preset: AsOption = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="With --as: a new file for that program.")
    ] = None,
) -> None:
    """Print the path of a run's final weights, or export them."""
    from console.programs import evaluation
    from console.text.formatting import clean
    from engine.control.messages import ExportTask
    from engine.spec.presets import find_preset

    if (preset is None) != (output is None):
        raise UsageError("--as PRESET and -o FILE go together")
    found = found_run(run)
    path = final_weights(found)
    if preset is None or output is None:
        typer.echo(str(path))
        return
    wanted = find_preset(preset)
    evaluation.check_preset(wanted, found.spec.model.architecture)
    task = ExportTask(weights=str(path), model=found.spec.model, preset=wanted, output=str(output.absolute()))
    exported = evaluation.export(task)
    typer.echo(f"{clean(str(output))}: {exported.num_tensors} tensors as {wanted} names them")
    for note in exported.notes:
        typer.echo(f"note: {note}")


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
    projection_bias: Annotated[bool, typer.Option("--projection-bias", help="Biases in the projections.")] = False,
    norm: Annotated[str, typer.Option(help="batch or none.")] = "batch",
    preset: AsOption = None,
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
    from engine.spec.presets import PRESETS, find_preset

    home = find_home()
    trained_by = None if preset is None else find_preset(preset)
    conventions = None if trained_by is None else PRESETS[trained_by]
    found: Run | None = None
    if (run is None) == (weights is None):
        raise UsageError("give either a run or --weights FILE")
    if run is not None:
        if architecture or depth or blocks or dataset or test_images:
            raise UsageError(f"leave out -a, -d, --blocks, --data and --test-images: {run} determines them")
        if preset:
            raise UsageError("leave out --as: it says who trained the weights of a file")
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
            conv_bias=conv_bias or (conventions is not None and conventions.biases),
            projection_bias=projection_bias or (conventions is not None and conventions.biases),
            norm=norm,
            dataset=dataset or "cifar10",
            test_images=test_images,
            precision=precision or Precision.FP32.value,
            device=device,
        )
        spec = planning.plan_runs(home, options)[0].spec
        if trained_by is not None:
            evaluation.check_preset(trained_by, spec.model.architecture)
    assert weights is not None, "either a run or a file is given"
    if found is None:
        check_beside(weights, spec)
    given_mean = None if mean is None else evaluation.channels(mean, "--mean")
    given_std = None if std is None else evaluation.channels(std, "--std")
    task = EvaluationTask(
        home=str(home.root),
        weights=str(weights.absolute()),
        spec=spec,
        mean=given_mean if conventions is None else given_mean or conventions.mean,
        std=given_std if conventions is None else given_std or conventions.std,
        centred=centred or (conventions is not None and conventions.centred),
        preset=trained_by,
        is_run=found is not None,
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


def check_beside(weights: Path, spec: RunSpec) -> None:
    """Check weights in a run directory against the network that the run trained.

    The tensors of he-resnet and he-plain are the same, but spec.json tells them apart.

    Raises:
        UsageError: the run trained another architecture.
    """
    from engine.base.regular_files import read_regular
    from engine.runs.directory import FileName
    from engine.runs.identity import Identity
    from models import catalog

    if weights.name != FileName.WEIGHTS:
        return
    try:
        trained = Identity.decode(read_regular(weights.with_name(FileName.SPEC.value))).spec.model
    except (OSError, DepthscopeError):
        return  # A copy of the weights alone.
    if trained.architecture is not spec.model.architecture:
        raise UsageError(f"{weights} is {catalog.label(trained)}'s, as {FileName.SPEC} beside it says")


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
