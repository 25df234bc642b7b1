"""`depthscope train` and `depthscope plan`: train or estimate every combination of architecture, depth and seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.commands.run_options import ExperimentOption, JsonOption, takes_runs
from console.planning.options import RunOptions


@takes_runs
def train(
    options: RunOptions | None,
    listed: Annotated[
        Path | None, typer.Option("--from", metavar="PATH", help="Train the runs of a report (its spec.json) again.")
    ] = None,
    experiment: ExperimentOption = None,
    detach: Annotated[bool, typer.Option("--detach", help="Queue the runs and return at once.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be trained, and train nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train networks in the background and follow their progress.

    Ctrl-C stops following, never training.
    """
    from console.planning import planning, report_recipe, spec_file
    from console.planning.estimates import gather
    from console.text import documents, follow
    from console.text.formatting import clean
    from console.text.output import narrate, print_json
    from console.text.status import counted
    from engine import client
    from engine.base.paths import find_home
    from engine.spec.settings import read_settings

    home = find_home()
    if options is not None:
        planned = planning.plan_runs(home, options, narrate)
    else:
        assert listed is not None, "either options or --from are given"
        planned = spec_file.plan_listed(home, spec_file.read_spec_list(listed), narrate)
    if dry_run:
        verdicts = planning.judge_all(home, planned)
        if as_json:
            print_json(documents.plan_document(planned, verdicts))
        else:
            typer.echo(planning.plan_table(planned, verdicts))
            if options is not None and options["recipe"] == report_recipe.RECIPE:
                typer.echo(f"\n{report_recipe.report_page(options, planned)}")
    planning.check_all_fit(home, planned)
    for dataset in dict.fromkeys(run.spec.data.name for run in planned):
        if (missing := planning.missing_dataset_notice(home, dataset)) is not None:
            narrate(missing)
    if dry_run:
        return
    home = client.open_home()
    read_settings(home)
    done = client.submit(home, gather(home).estimated(planned), experiment=experiment)
    narrate(f"{done.experiment}: {counted(len(done.runs), 'run')} queued")
    if not detach:
        follow.follow_until_done(home, done.runs, name=str(done.experiment))
    with client.read(home) as reader:
        trained = [reader.run(run) for run in done.runs]
    if as_json:
        print_json({"experiment": done.experiment, "runs": [documents.run_document(run) for run in trained]})
    elif detach:
        typer.echo("\n".join(f"{run.id}  {clean(run.name)}" for run in trained))
    if not detach:
        follow.exit_for(trained)


@takes_runs
def plan(
    options: RunOptions,
    experiment: ExperimentOption = None,
    probe: Annotated[
        bool | None,
        typer.Option("--probe/--no-probe", help="Time each network, or none; by default those not timed yet."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Which runs finish by 08:00, '2026-11-25 08:00' or +6h.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate the parameters, memory and time of each run.

    Time comes from past runs and short probes; shows how far off such estimates have been.
    """
    import sys
    from datetime import datetime

    from console.planning import deadline, estimates, planning, tables
    from console.text import follow
    from console.text.formatting import supports_unicode
    from console.text.output import narrate, print_json
    from console.text.times import parse_until
    from engine.base.paths import find_home
    from engine.estimates.probes import ProbeFailed
    from engine.spec.settings import read_settings

    home = find_home()
    read_settings(home)
    moment = None if until is None else parse_until(until, datetime.now().astimezone())
    planned = planning.plan_runs(home, options, narrate)
    knowledge = estimates.gather(home, with_kept_probes=probe is not False)
    if probe is not False:
        try:
            knowledge = estimates.probe(knowledge, planned, again=bool(probe), report=narrate)
        except ProbeFailed as error:
            narrate(f"depthscope: {error}; using past runs only")
        except KeyboardInterrupt:
            raise typer.Exit(follow.EXIT_INTERRUPTED) from None
    planned = knowledge.estimated(planned)
    outlook: deadline.Outlook | None = None
    if moment is not None:
        now = datetime.now().astimezone()
        outlook = deadline.look_ahead(planned, knowledge, options, until=moment, now=now, experiment=experiment)
    if as_json:
        print_json({"experiment": experiment, **tables.plan_document(planned, knowledge, outlook)})
    else:
        typer.echo(tables.plan_page(planned, knowledge, outlook, unicode=supports_unicode(sys.stdout)))
