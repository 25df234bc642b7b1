"""`depthscope doctor`: what could keep depthscope from working here, each with its remedy."""

from __future__ import annotations

import sys

import typer

from console.commands.options import JsonOption


def doctor(as_json: JsonOption = False) -> None:
    """Check Python, torch, GPU, terminal, home and datasets; status 1 if something has to be mended."""
    from console import checkup
    from console.text.output import narrate, print_json

    if sys.stderr.isatty():
        narrate("asking torch what it finds: some seconds")
    findings = checkup.examine()
    if as_json:
        print_json({"findings": [checkup.finding_document(finding) for finding in findings]})
    else:
        typer.echo(checkup.findings_page(findings))
    if any(finding.level is checkup.Level.BAD for finding in findings):
        raise typer.Exit(1)
