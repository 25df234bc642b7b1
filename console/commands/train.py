"""`depthscope train`: the cross product of architectures, depths and seeds as one experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.asking import takes_runs
from console.commands.options import ExperimentOption, JsonOption

if TYPE_CHECKING:
    from console.planning.planning import Asked


@takes_runs
def train(
    asked: Asked | None,
    listed: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", help="Train the runs of a report (its spec.json), instead of -a, -d."),
    ] = None,
    experiment: ExperimentOption = None,
    detach: Annotated[bool, typer.Option("--detach", help="Queue the runs and return at once.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be trained, and train nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train networks in the background and follow them; Ctrl-C stops following, never training."""
    from console.planning import planning, spec_file
    from console.planning.estimates import gather
    from console.text import documents, follow
    from console.text.formatting import clean
    from console.text.output import narrate, print_json
    from engine import client
    from engine.base.paths import find_home

    home = find_home()
    if asked is not None:
        planned = planning.plan_runs(home, asked, narrate)
    else:
        assert listed is not None, "either is given"
        planned = spec_file.plan_listed(home, spec_file.read_spec_list(listed), narrate)
    if dry_run:
        verdicts = planning.judge_all(home, planned)
        if as_json:
            print_json(documents.plan_document(planned, verdicts))
        else:
            typer.echo(planning.plan_table(planned, verdicts))
    planning.check_all_fit(home, planned)
    for dataset in dict.fromkeys(run.spec.data.name for run in planned):
        if (missing := planning.not_here_yet(home, dataset)) is not None:
            narrate(missing)
    if dry_run:
        return
    home = client.open_home()
    done = client.submit(home, gather(home).estimated(planned), experiment=experiment)
    narrate(f"{done.experiment}: {len(done.runs)} {'run' if len(done.runs) == 1 else 'runs'} queued")
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
