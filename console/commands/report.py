"""Commands that write results to files: report and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.commands.run_options import ClaimOption, JsonOption, LastOption, RunsOrExperiments


def report(
    experiment: Annotated[str | None, typer.Argument(help="Default: the newest experiment.")] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="A new directory, or one of an earlier report.")
    ] = Path("report"),
    last: LastOption = None,
    claim: ClaimOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a report: Markdown, HTML, figures, specification."""
    from console.report.facts import gather_facts
    from console.report.write import write_report
    from console.text.listing import newest_experiment
    from console.text.output import narrate, print_json
    from console.text.status import states
    from engine import client
    from engine.base.paths import find_home

    home = find_home()
    with client.read_fresh(home) as reader:
        name = experiment or newest_experiment(reader)
        facts = gather_facts(reader, home.runs, name)
    files = write_report(facts, output, last=last, wanted=claim or ())
    narrate(f"{name}: {states(facts.runs)}")
    if as_json:
        print_json({"experiment": name, "directory": str(output), "files": files})
    else:
        typer.echo("\n".join(str(output / file) for file in files if not file.startswith("figures/")))


def export(
    names: RunsOrExperiments = None,
    everything: Annotated[bool, typer.Option("--all", help="Export every run.")] = False,
    format_word: Annotated[str, typer.Option("--format", help="csv, jsonl, parquet or tensorboard.")] = "csv",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="PATH", help="File, or TensorBoard's directory; default: stdout."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Export every number of runs in long format, one row each."""
    import sys

    from console.report import export_formats, export_rows
    from console.report.export_formats import FORMATS
    from console.text import listing
    from console.text.output import narrate
    from console.text.status import counted
    from engine import client
    from engine.base.errors import UsageError
    from engine.base.paths import find_home

    if format_word not in FORMATS:
        raise UsageError(f"the format must be one of {', '.join(FORMATS)}, got {format_word!r}")
    if everything and names:
        raise UsageError("--all exports every run: leave out either the names or --all")
    wanted = FORMATS[format_word]
    if output is None and wanted.write_text is None:
        raise UsageError(f"--format {wanted.name} needs -o PATH: it is not a text format")
    export_formats.check_importable(wanted)
    with client.read_fresh(find_home()) as reader:
        runs = reader.runs() if everything else listing.find_all(reader, names or [])
        rows = export_rows.rows(reader, runs)
        if output is not None:
            export_formats.write_export(output, wanted, rows, of=export_formats.selection(runs), force=force)
        elif wanted.write_text is not None:
            wanted.write_text(sys.stdout, rows)
    if output is not None:
        narrate(f"exported {counted(len(runs), 'run')} to {output}")
