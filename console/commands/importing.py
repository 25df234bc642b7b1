"""`depthscope import`: runs that were copied from another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.commands.options import JsonOption


def import_runs(
    directories: Annotated[
        list[Path], typer.Argument(metavar="RUN_DIRECTORY...", help="As they lie under runs/ of the other home.")
    ],
    experiment: Annotated[
        str | None, typer.Option("-e", "--experiment", help="Its name here; the one that they had else.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy runs of another machine into this home; the originals stay, and what was on its way waits paused."""
    import secrets

    from console.text import documents
    from console.text.formatting import clean
    from console.text.output import narrate, print_json
    from engine import client
    from engine.base.errors import DepthscopeError
    from engine.control.protocol import Import
    from engine.runs import transfer

    home = client.open_home()
    looked_at = {run.id: run for run in map(transfer.look_at, directories)}
    here = [id for id, run in looked_at.items() if transfer.is_here(run, home)]
    for id in here:
        narrate(f"{id} is here already, with the same content: nothing to do")
    new = [run for id, run in looked_at.items() if id not in here]
    if new:
        token = secrets.token_hex(16)
        try:
            with transfer.staged(home, new, token, narrate):
                client.change(home, Import(token=token, runs=tuple(run.id for run in new), experiment=experiment))
        except OSError as error:
            raise DepthscopeError(f"{error.filename} cannot be copied: {error.strerror}") from error
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
