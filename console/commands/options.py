"""Options and arguments that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
RunArguments = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Ids, beginnings of ids, names, or experiment/name.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="An id, the beginning of one, or a name.")]
ExperimentOption = Annotated[
    str | None, typer.Option("-e", "--experiment", help="Its name; one that exists gets the runs added.")
]
