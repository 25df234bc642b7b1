"""`depthscope doctor` and `depthscope config`: check the installation; show settings and keys."""

from __future__ import annotations

import sys

import typer

from console.commands.run_options import JsonOption


def doctor(as_json: JsonOption = False) -> None:
    """Check the installation; status 1 if something needs fixing."""
    import msgspec

    from console.programs import checks
    from console.text.output import narrate, print_json

    if sys.stderr.isatty():
        narrate("loading torch, which takes a few seconds")
    findings = checks.examine()
    if as_json:
        print_json({"findings": msgspec.to_builtins(findings)})
    else:
        typer.echo(checks.findings_page(findings))
    if any(finding.level is checks.Level.BAD for finding in findings):
        raise typer.Exit(1)


config_app = typer.Typer(no_args_is_help=True, help="Show settings and keys.")


@config_app.command()
def show(as_json: JsonOption = False) -> None:
    """Show every setting, its value and its source."""
    import os

    from console.text.formatting import table
    from console.text.output import print_json
    from console.tui.config import explain
    from engine.base.paths import find_home

    rows = explain(find_home(), os.environ)
    if as_json:
        print_json({"settings": [{"name": name, "value": value, "source": source} for name, value, source in rows]})
    else:
        typer.echo(table(["setting", "value", "from"], rows, align="<<<"))


@config_app.command()
def keys(as_json: JsonOption = False) -> None:
    """List the console's keys and their ids in config.toml."""
    from console.keymap import all_keys, check_keys
    from console.text.formatting import table
    from console.text.output import print_json
    from console.tui.config import read_config
    from engine.base.paths import find_home

    home = find_home()
    config = read_config(home)
    check_keys(home, config)
    rows = all_keys(config)
    if as_json:
        print_json({"keys": [{"id": id, "key": key, "does": does} for id, key, does in rows]})
    else:
        typer.echo(table(["id", "key", "does"], rows, align="<<<"))
