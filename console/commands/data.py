"""`depthscope data` and `depthscope import`: list, fetch, import and verify datasets; import runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.run_options import JsonOption
from engine.base.errors import FULL, PRUNE_ADVICE, DatasetError, DepthscopeError

if TYPE_CHECKING:
    from engine.data.cache import DatasetInfo
    from engine.data.datasets import ListedDataset

INFO_FIELDS = ("name", "source", "synthetic", "num_train", "num_test", "classes", "mean", "std")
LISTED_FIELDS = (
    "name", "built_in", "cached", "source", "synthetic", "num_train", "num_test", "num_classes", "num_bytes", "problem",
)  # fmt: skip

data_app = typer.Typer(no_args_is_help=True, help="List, fetch, import and verify datasets.")


def print_info(info: DatasetInfo, *, as_json: bool) -> None:
    from console.text.output import print_json

    if as_json:
        fields = {name: getattr(info, name) for name in INFO_FIELDS}
        print_json({"dataset": {**fields, "sha256": info.digest()}})
    else:
        typer.echo(
            f"{info.name}: {info.num_train} + {info.num_test} images of {info.num_classes} classes ({info.source})"
        )


@data_app.command("ls")
def list_command(as_json: JsonOption = False) -> None:
    """List the datasets a run can train on."""
    from console.text.formatting import byte_size, table
    from console.text.output import narrate, print_json
    from engine.base.paths import find_home
    from engine.data.datasets import list_datasets

    datasets = list_datasets(find_home())
    if as_json:
        print_json({"datasets": [{name: getattr(each, name) for name in LISTED_FIELDS} for each in datasets]})
        return
    rows = [
        [
            each.name,
            *("?" if number is None else str(number) for number in (each.num_train, each.num_test, each.num_classes)),
            byte_size(each.num_bytes) if each.num_bytes else "-",
            state(each),
            each.source,
        ]
        for each in datasets
    ]
    typer.echo(table(["name", "train", "test", "classes", "size", "state", "source"], rows, align="<>>>><<"))
    for each in datasets:
        if each.problem:
            narrate(each.problem)


def state(dataset: ListedDataset) -> str:
    """Availability of a dataset in a word."""
    if dataset.problem:
        return "damaged"
    if dataset.cached:
        return "ready"
    return "generated on use" if dataset.synthetic else "not fetched"


@data_app.command("fetch")
def fetch_command(
    name: Annotated[str, typer.Argument(help="cifar10, cifar100, fashion-mnist or synthetic.")],
    source: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Directory or archive with the published files.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download and convert a built-in dataset, or repair a damaged one."""
    from console.text.output import narrate
    from engine.base.paths import find_home
    from engine.data.datasets import prepare

    print_info(prepare(find_home(), name, source=source, repair=True, report=narrate), as_json=as_json)


@data_app.command("import")
def import_command(
    path: Annotated[Path, typer.Argument(help="train/<class>/ and test/<class>/, or a tar or zip of them.")],
    name: Annotated[str, typer.Option("--name", help="Name of the new dataset.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing dataset of this name.")] = False,
    resize: Annotated[bool, typer.Option("--resize", help="Resize images of other sizes to 32×32.")] = False,
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", metavar="HEX", help="Expected checksum; SHA256SUMS beside it is always checked."),
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave out links that lead nowhere; otherwise refused.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Convert your own images to a dataset."""
    from console.text.output import narrate
    from engine.base.paths import find_home
    from engine.data.datasets import import_images

    info = import_images(
        find_home(),
        path,
        name,
        replace=replace,
        resize=resize,
        sha256=sha256,
        skip_broken=skip_broken,
        report=narrate,
    )
    print_info(info, as_json=as_json)


@data_app.command("verify")
def verify_command(
    names: Annotated[list[str] | None, typer.Argument(help="Datasets; default: all converted ones.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check converted datasets against their checksums."""
    from console.text.output import narrate, print_json
    from engine.base.paths import find_home
    from engine.data.datasets import describe, list_datasets, verify

    home = find_home()
    problems: dict[str, str | None] = {}
    here = [each.name for each in list_datasets(home) if each.cached or each.problem]
    for name in names or here:
        if name not in here:
            describe(home, name)
        try:
            verify(home, name)
            problems[name] = None
        except DatasetError as error:
            problems[name] = str(error)
        if not as_json:
            typer.echo(f"{name}: {'ok' if problems[name] is None else 'not ok'}")
    if as_json:
        rows = [{"name": name, "ok": problem is None, "problem": problem} for name, problem in problems.items()]
        print_json({"datasets": rows})
    bad = [problem for problem in problems.values() if problem is not None]
    for problem in bad[:-1]:
        narrate(problem)
    if bad:
        raise DepthscopeError(bad[-1])


def import_runs(
    directories: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_DIRECTORY...", help="Run directories, as under runs/ of the other home."),
    ],
    experiment: Annotated[
        str | None, typer.Option("-e", "--experiment", help="Experiment to put them in; default: the original.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy runs of another machine into this home."""
    import secrets

    from console.text import documents
    from console.text.formatting import clean
    from console.text.output import narrate, print_json
    from engine import client
    from engine.control.protocol import Import
    from engine.runs import transfer

    home = client.open_home()
    with client.read(home) as reader:
        known = reader.ids() | {path.name for path in home.runs.iterdir()}
    found = transfer.look_at_all(directories, known)
    here = [id for id, run in found.items() if transfer.is_here(run, home)]
    for id in here:
        narrate(f"{id} is already here with the same contents: nothing to do")
    new = [run for id, run in found.items() if id not in here]
    if new:
        token = secrets.token_hex(16)
        try:
            with transfer.staged(home, new, token, narrate):
                client.change(home, Import(token=token, runs=tuple(run.id for run in new), experiment=experiment))
        except OSError as error:
            advice = f": {PRUNE_ADVICE}" if error.errno in FULL else ""
            raise DepthscopeError(f"cannot copy {error.filename}: {error.strerror}{advice}") from error
    with client.read(home) as reader:
        runs = [reader.run(run.id) for run in new]
    if as_json:
        print_json({"runs": [documents.run_document(run) for run in runs], "already_here": here})
    elif runs:
        typer.echo(
            "\n".join(
                f"{run.id}  {clean(run.experiment)}/{clean(run.name)}  {run.outcome or run.status}" for run in runs
            )
        )
