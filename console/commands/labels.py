"""Commands that label runs: note, tag, star, unstar, rename. None affects training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.commands.run_options import RunArgument

if TYPE_CHECKING:
    from engine.runs.run import Run

RunsOrExperimentsNamed = Annotated[
    list[str], typer.Argument(metavar="RUN|EXPERIMENT...", help="Ids or names of runs, or whole experiments.")
]


def note(
    run: RunArgument,
    text: Annotated[str | None, typer.Argument(help='The note; "" deletes it, leaving it out prints it.')] = None,
) -> None:
    """Write a note on a run, or print its note."""
    from console.text.formatting import clean

    if text is None:
        if found := find([run])[0].notes:
            typer.echo(clean(found))
        return
    # Escape sequences are removed as a whole here; the engine strips only single control characters.
    change([run], "note saved" if text else "note deleted", note=clean(text))


def tag(
    words: Annotated[
        list[str],
        typer.Argument(metavar="RUN|EXPERIMENT... [+TAG|-TAG]...", help="Then +word to add and -word to remove."),
    ],
) -> None:
    """Add, remove or list tags: `tag RUN|EXPERIMENT +baseline -bad`."""
    from console.text.formatting import clean
    from console.text.listing import parse_tags
    from engine.base.errors import UsageError

    runs = [word for word in words if word[:1] not in ("+", "-")]
    if not runs:
        raise UsageError(f"name a run before the tags: `depthscope tag RUN {' '.join(words)}`")
    add, remove = parse_tags([word for word in words if word[:1] in ("+", "-")])
    if add or remove:
        change(runs, None, experiments=True, add_tags=add, remove_tags=remove)
    else:
        found = find(runs, experiments=True)
        typer.echo("\n".join(f"{run.id}  {clean(run.name)}  {typed_tags(run)}".rstrip() for run in found))


def star(runs: RunsOrExperimentsNamed) -> None:
    """Star runs; `ls --where star:yes` lists them."""
    change(runs, "starred", experiments=True, starred=True)


def unstar(runs: RunsOrExperimentsNamed) -> None:
    """Unstar runs."""
    change(runs, "unstarred", experiments=True, starred=False)


def rename(
    run: Annotated[str, typer.Argument(metavar="RUN|EXPERIMENT", help="A run, or an experiment with -e.")],
    name: Annotated[str, typer.Argument(help="The new name.")],
    of_experiment: Annotated[bool, typer.Option("-e", "--experiment", help="Rename a whole experiment.")] = False,
) -> None:
    """Rename a run or an experiment; ids do not change."""
    from console.text.formatting import clean
    from console.text.status import counted
    from engine import client
    from engine.base.paths import find_home
    from engine.control.protocol import RenameExperiment

    if of_experiment:
        done = client.change(find_home(), RenameExperiment(experiment=run, name=name))
        typer.echo(f"Renamed {clean(run)} to {clean(name)} ({counted(len(done.runs), 'run')})")
    else:
        change([run], f"renamed to {clean(name)}", name=name)


def find(words: list[str], *, experiments: bool = False) -> list[Run]:
    """Find runs by id or name, and if wanted all runs of experiments, each once."""
    from engine import client
    from engine.base.paths import find_home

    with client.read_fresh(find_home()) as reader:
        found: dict[str, Run] = {}
        for word in words:
            of_it = reader.runs(experiment=word) if experiments and not reader.names_run(word) else []
            found |= {run.id: run for run in of_it or [reader.find(word, or_experiment=experiments)]}
        return list(found.values())


def typed_tags(run: Run) -> str:
    """Tags of a run as typed: +baseline +bad."""
    from console.text.formatting import clean

    return " ".join(f"+{clean(tag)}" for tag in run.tags)


def change(words: list[str], done: str | None, *, experiments: bool = False, **labels: Any) -> None:
    """Resolve all names before asking the engine, so that a wrong one changes nothing; then print the result.

    Args:
        words: Runs as typed.
        experiments: Whether a word may be an experiment, for all its runs.
        done: Result to print for each run; None prints its tags.
        labels: Fields of Relabel.
    """
    from console.text.formatting import clean
    from engine import client
    from engine.base.paths import find_home
    from engine.control.protocol import Relabel

    before = find(words, experiments=experiments)
    ids = [run.id for run in before]
    client.change(find_home(), Relabel(runs=tuple(ids), **labels))
    now = {run.id: run for run in find(ids)}
    results = {run.id: typed_tags(now[run.id]) or "no tags" if done is None else done for run in before}
    typer.echo("\n".join(f"{run.id}  {clean(run.name)}  {results[run.id]}" for run in before))
