"""Say something about runs: note, tag, star, unstar, rename. Nothing of it changes how they are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.run_options import RunArgument, RunArguments

if TYPE_CHECKING:
    from engine.control.protocol import Relabel
    from engine.runs.run import Run


def note(
    run: RunArgument,
    text: Annotated[str | None, typer.Argument(help='The note; "" deletes it, leaving it out prints it.')] = None,
) -> None:
    """Write a note on a run, or print its note."""
    from console.text.formatting import clean
    from engine.control.protocol import Relabel

    if text is None:
        if found := find([run])[0].notes:
            typer.echo(clean(found))
        return
    # Whole escape sequences go here; the engine takes single control characters from whoever asks it.
    change(Relabel(runs=(run,), note=clean(text)), "noted" if text else "note taken away")


def tag(
    words: Annotated[
        list[str], typer.Argument(metavar="RUN... [+TAG|-TAG]...", help="Runs, then +word to add and -word to remove.")
    ],
) -> None:
    """Add or remove tags: `tag RUN +baseline -bad`; no tag lists them."""
    from console.text.formatting import clean
    from console.text.listing import parse_tags
    from engine.base.errors import UsageError
    from engine.control.protocol import Relabel

    runs = [word for word in words if word[:1] not in ("+", "-")]
    if not runs:
        raise UsageError(f"name a run before the tags: `depthscope tag RUN {' '.join(words)}`")
    add, remove = parse_tags([word for word in words if word[:1] in ("+", "-")])
    if add or remove:
        change(Relabel(runs=tuple(runs), add_tags=add, remove_tags=remove), None)
    else:
        typer.echo("\n".join(f"{run.id}  {clean(run.name)}  {tag_words(run)}".rstrip() for run in find(runs)))


def star(runs: RunArguments) -> None:
    """Star runs; `ls --where star:yes` lists them."""
    from engine.control.protocol import Relabel

    change(Relabel(runs=tuple(runs), starred=True), "starred")


def unstar(runs: RunArguments) -> None:
    """Unstar runs."""
    from engine.control.protocol import Relabel

    change(Relabel(runs=tuple(runs), starred=False), "not starred")


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
    from engine.control.protocol import Relabel, RenameExperiment

    if of_experiment:
        done = client.change(find_home(), RenameExperiment(experiment=run, name=name))
        typer.echo(f"{clean(run)} is called {clean(name)} now: {counted(len(done.runs), 'run')}")
    else:
        change(Relabel(runs=(run,), name=name), f"is called {clean(name)} now")


def find(words: list[str]) -> list[Run]:
    """The runs that words mean."""
    from engine import client
    from engine.base.paths import find_home

    with client.read_fresh(find_home()) as reader:
        return [reader.find(word) for word in words]


def tag_words(run: Run) -> str:
    """A run's tags as they are typed."""
    from console.text.formatting import clean

    return " ".join(f"+{clean(tag)}" for tag in run.tags)


def change(request: Relabel, done: str | None) -> None:
    """Resolve the words here, where a wrong one costs nothing, ask the engine, and say what stands now.

    Args:
        request: With runs as they were typed.
        done: What to say of each; None says its tags.
    """
    import msgspec

    from console.text.formatting import clean
    from engine import client
    from engine.base.paths import find_home

    before = find(list(request.runs))
    ids = [run.id for run in before]
    client.change(find_home(), msgspec.structs.replace(request, runs=tuple(ids)))
    now = {run.id: run for run in find(ids)}
    said = {run.id: tag_words(now[run.id]) or "no tags" if done is None else done for run in before}
    typer.echo("\n".join(f"{run.id}  {clean(run.name)}  {said[run.id]}" for run in before))
