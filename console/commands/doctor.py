"""`depthscope doctor`: what could keep depthscope from working here, each with its remedy."""

from __future__ import annotations

import sys

import typer

from console.commands.options import JsonOption


def doctor(as_json: JsonOption = False) -> None:
    """Check Python, torch, GPU, terminal, home and datasets; status 1 if something has to be mended."""
    from console.programs import checks
    from console.text.output import narrate, print_json

    if sys.stderr.isatty():
        narrate("asking torch what it finds: some seconds")
    findings = checks.examine()
    if as_json:
        print_json({"findings": [checks.finding_document(finding) for finding in findings]})
    else:
        typer.echo(checks.findings_page(findings))
    if any(finding.level is checks.Level.BAD for finding in findings):
        raise typer.Exit(1)
