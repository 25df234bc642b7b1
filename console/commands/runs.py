"""Commands that show runs: ls, show, logs, follow, wait, digest."""

from __future__ import annotations

from typing import Annotated

import typer

from console.commands.run_options import JsonOption, RunArgument, RunsOrExperiments

MOST_LISTED = 1000
"""Few enough to list at once."""


def list_runs(
    experiment: Annotated[str | None, typer.Argument(help="Only the runs of this experiment.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Include hidden runs.")] = False,
    where: Annotated[
        str | None, typer.Option(metavar="FILTER", help="Only matching runs, e.g. 'arch:plain depth>=56 !star:yes'.")
    ] = None,
    newest: Annotated[int, typer.Option("-n", "--newest", min=1, help="Show at most the newest N runs.")] = MOST_LISTED,
    as_json: JsonOption = False,
) -> None:
    """List runs, oldest first; `queued 2` is the second in the queue."""
    import time

    from console.text import listing
    from console.text.filter import no_match, parse_filter
    from console.text.interruption import interruption
    from console.text.output import narrate, print_json
    from console.text.status import queue_places
    from engine import client
    from engine.base.paths import find_home
    from engine.control import launch
    from engine.runs.strays import find_strays

    fits, now = parse_filter(where or ""), time.monotonic()
    # A filter has to see every run.
    limit = newest if where is None and not as_json else None
    home = find_home()
    with client.read_fresh(home) as reader:
        found = reader.runs(experiment=experiment, with_deleted=everything, newest=limit)
        unfinished = reader.unfinished_runs()
        stopped = interruption(home, unfinished)
        num_fitting = reader.count_runs(experiment=experiment, with_deleted=everything) if limit else 0
        unknown = None if found or experiment is None else reader.experiment_unknown(experiment)
        directories = reader.unreadable_directories()
        unreadable = listing.unreadable_lines(reader.unreadable_runs(), directories)
        strays = [] if experiment or where or as_json else find_strays(home.runs, reader.ids())
    if stopped is not None and unknown is None:
        narrate(stopped)
    failure = launch.failure(home)
    runs = [run for run in found if fits(run, now)]
    num_fitting = num_fitting or len(runs)
    if as_json:
        from console.text import documents

        listed = [documents.run_document(run) for run in runs]
        print_json({"runs": listed, "unreadable": [{"name": name, "why": why} for name, why in directories]})
    elif runs:
        typer.echo(listing.runs_table(runs[-newest:], queue_places(unfinished)))
        if num_fitting > newest:
            narrate(f"the newest {newest} of {num_fitting} runs; -n {num_fitting} lists all of them")
    elif found:
        narrate(no_match(where or "", found, now))
    elif unknown is not None:
        raise unknown
    elif not unreadable and failure is None:
        narrate(listing.NO_RUNS)
    for line in (*unreadable, *listing.stray_lines(strays), *([] if failure is None else [failure])):
        narrate(line)


def show(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show one run: spec, status, diagnoses and every epoch."""
    from console.text import documents, listing
    from console.text.output import print_json
    from console.text.status import queue_places
    from engine import client
    from engine.analysis.diagnosis import diagnose
    from engine.base.paths import find_home

    with client.read_fresh(find_home()) as reader:
        found = reader.find(run)
        epochs, steps, events = reader.epochs(found.id), reader.steps(found.id), reader.events(found.id)
        findings = diagnose(found, epochs, reader.first_and_newest_gradients(found.id))
        queue = queue_places(reader.unfinished_runs())
    if as_json:
        print_json(documents.run_details(found, epochs, steps, events, findings))
    else:
        typer.echo(listing.run_page(found, epochs, events, findings, queue))


def logs(
    run: RunArgument,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep printing until the run finishes.")] = False,
) -> None:
    """Print a run's worker log and its events."""
    from console.text import listing
    from engine import client
    from engine.base.paths import find_home

    home = find_home()
    with client.read_fresh(home) as reader:
        found = reader.find(run)
        listing.print_log(home, reader, found, follow=follow)


def follow(
    words: RunsOrExperiments = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Without a terminal: print past epochs, too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Watch runs until they finish; Ctrl-C leaves them training."""
    watch(words, quiet=False, as_json=as_json, from_start=from_start)


def wait(words: RunsOrExperiments = None, as_json: JsonOption = False) -> None:
    """Wait silently until runs finish; status 4 unless all succeed."""
    watch(words, quiet=True, as_json=as_json)


def watch(words: list[str] | None, *, quiet: bool, as_json: bool, from_start: bool = True) -> None:
    """Follow the named runs, print them if `as_json`, and exit with status 4 unless all succeed."""
    from console.text import documents, follow, listing
    from console.text.output import print_json
    from engine import client
    from engine.base.paths import find_home

    home = find_home()
    with client.read_fresh(home) as reader:
        runs = listing.find_all(reader, words or [])
    follow.follow_until_done(
        home, [run.id for run in runs], name=" ".join(words or []), quiet=quiet, from_start=from_start
    )
    with client.read(home) as reader:
        done = [reader.run(run.id) for run in runs]
    if as_json:
        print_json({"runs": [documents.run_document(run) for run in done]})
    follow.exit_for(done)


def digest(
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="12h, 08:00 or '2026-11-24 08:00'; default: your last look.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Summarise what happened since you last looked."""
    import time
    from datetime import datetime

    from console.comparison import digest
    from console.text.output import print_json
    from console.text.times import parse_since
    from console.tui.config import read_config
    from console.tui.view_state import load_view
    from engine import client
    from engine.base.paths import find_home

    home = find_home()
    if since is not None:
        begin = parse_since(since, datetime.now().astimezone()).timestamp()
    else:
        looked_at = load_view(home, read_config(home)[0]).looked_at
        begin = time.time() - 3600 * digest.HOURS_WITHOUT_A_LOOK if looked_at is None else looked_at
    # First let an engine record what ended while none was running.
    client.read_fresh(home).close()
    found = digest.read_away(home, since=begin)
    if as_json:
        print_json(digest.away_document(found))
    else:
        typer.echo("\n".join(digest.away_lines(found)))
