"""`depthscope doctor`: check the installation."""

from __future__ import annotations

import sys

import typer

from console.commands.run_options import JsonOption


def doctor(as_json: JsonOption = False) -> None:
    """Check the installation; status 1 if something needs fixing."""
    import msgspec

    from console.keymap import read_checked
    from console.programs import checks
    from console.text.output import narrate, print_json
    from engine.base.paths import find_home

    if sys.stderr.isatty():
        narrate("loading torch, which takes a few seconds")
    _, problems = read_checked(find_home())
    findings = checks.examine(problems)
    if as_json:
        print_json({"findings": msgspec.to_builtins(findings)})
    else:
        typer.echo(checks.findings_page(findings))
    if any(finding.level is checks.Level.BAD for finding in findings):
        raise typer.Exit(1)
