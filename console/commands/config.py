"""`depthscope config`: show and check settings and keys."""

from __future__ import annotations

import typer

from console.commands.run_options import JsonOption

config_app = typer.Typer(no_args_is_help=True, help="Show settings and keys.")


@config_app.command()
def show(as_json: JsonOption = False) -> None:
    """Show every setting, its value and its source; check config.toml."""
    import os

    from console.keymap import read_checked
    from console.text.formatting import table
    from console.text.output import print_json
    from console.tui.sources import explain
    from engine.base.paths import find_home
    from engine.spec.config_file import BadConfig

    home = find_home()
    config, problems = read_checked(home)
    rows = explain(home, os.environ, config, problems)
    if as_json:
        print_json({"settings": [{"name": name, "value": value, "source": source} for name, value, source in rows]})
    else:
        typer.echo(table(["setting", "value", "from"], rows, align="<<<"))
    if problems:
        raise BadConfig(home, problems)


@config_app.command()
def keys(as_json: JsonOption = False) -> None:
    """List the console's keys and their ids in config.toml."""
    from console.keymap import all_keys, read_checked
    from console.text.formatting import table
    from console.text.output import print_json
    from engine.base.paths import find_home
    from engine.spec.config_file import BadConfig

    home = find_home()
    config, problems = read_checked(home)
    rows = all_keys(config)
    if as_json:
        print_json({"keys": [{"id": id, "key": key, "does": does} for id, key, does in rows]})
    else:
        typer.echo(table(["id", "key", "does"], rows, align="<<<"))
    if problems:
        raise BadConfig(home, problems)


@config_app.command()
def path() -> None:
    """Print the path of config.toml, whether or not it exists."""
    from engine.base.paths import find_home

    typer.echo(find_home().config)
