"""`depthscope plan`: what runs will need, before any of them is queued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.asking import takes_runs
from console.commands.options import ExperimentOption, JsonOption

if TYPE_CHECKING:
    from console.planning.planning import Asked

EXIT_INTERRUPTED = 130


@takes_runs
def plan(
    asked: Asked,
    experiment: ExperimentOption = None,
    probe: Annotated[
        bool | None,
        typer.Option(
            "--probe/--no-probe",
            help="Time a few steps of every network, or of none; what is not known yet is timed if left out.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Which runs will be done by 08:00, '2026-11-25 08:00' or in +6h."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Parameters, memory and time of each run, from past runs and short probes, and how far off those have been."""
    import sys
    from datetime import datetime

    from console.planning import deadline, estimates, planning, tables
    from console.text.formatting import supports_unicode
    from console.text.output import narrate, print_json
    from console.text.times import parse_until
    from engine.base.paths import find_home
    from engine.estimates.probes import ProbeFailed

    home = find_home()
    moment = None if until is None else parse_until(until, datetime.now().astimezone())
    planned = planning.plan_runs(home, asked, narrate)
    knowledge = estimates.gather(home, with_kept_probes=probe is not False)
    if probe is not False:
        try:
            knowledge = estimates.probe(knowledge, planned, again=bool(probe), report=narrate)
        except ProbeFailed as error:
            narrate(f"depthscope: {error}; going by past runs alone")
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None
    planned = knowledge.estimated(planned)
    outlook: deadline.Outlook | None = None
    if moment is not None:
        now = datetime.now().astimezone()
        outlook = deadline.look_ahead(planned, knowledge, asked, until=moment, now=now, experiment=experiment)
    if as_json:
        print_json({"experiment": experiment, **tables.plan_document(planned, knowledge, outlook)})
    else:
        typer.echo(tables.plan_page(planned, knowledge, outlook, unicode=supports_unicode(sys.stdout)))
