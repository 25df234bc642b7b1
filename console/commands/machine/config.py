"""`depthscope config`: show, check and change settings and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from console.commands.run_options import JsonOption

if TYPE_CHECKING:
    from engine.base.paths import Home

config_app = typer.Typer(no_args_is_help=True, help="Show and change settings and keys.")

SettingArgument = Annotated[
    str, typer.Argument(metavar="KEY", help='Such as theme, slots.cpu or keys."home.new".', show_default=False)
]


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


@config_app.command("set", context_settings={"ignore_unknown_options": True})
def set_(
    key: SettingArgument,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="TOML, or else plain text.", show_default=False)],
) -> None:
    """Change a setting in config.toml; its comments stay."""
    from console.tui.config_edit import key_of, shown, value_of, with_setting
    from engine.base.paths import find_home
    from engine.spec.config_file import read_text_to_edit

    home = find_home()
    parts = key_of(key)
    wanted = value_of(parts, value)
    text = read_text_to_edit(home)
    edited = with_setting(text, parts, wanted)
    write_checked(home, text, edited, parts)
    tell(home, f"{shown(parts, wanted)} in {home.config}", parts)


@config_app.command()
def unset(key: SettingArgument) -> None:
    """Remove a setting from config.toml, so that its default applies."""
    from console.tui.config_edit import NotSet, key_of, without_setting
    from engine.base.paths import find_home
    from engine.spec.config_file import read_text_to_edit

    home = find_home()
    parts = key_of(key)
    text = read_text_to_edit(home)
    try:
        edited = without_setting(text, parts)
    except NotSet as error:
        refuse_unknown(home, parts)
        typer.echo(f"{error} in {home.config}; nothing changed")
        return
    write_checked(home, text, edited)
    tell(home, f"removed {'.'.join(parts)} from {home.config}", parts)


def write_checked(home: Home, text: str, edited: str, key: tuple[str, ...] = ()) -> None:
    """Write config.toml unless the edit brings a problem, or `key` has one; others may be mended later.

    Raises:
        BadConfig: it does; the file is untouched.
        UsageError: the file cannot be written.
    """
    import msgspec

    from console.keymap import problems_in
    from engine.base.errors import UsageError
    from engine.base.paths import write_atomically
    from engine.spec.config_file import BadConfig

    before = {(problem.key, problem.text) for problem in problems_in(text)}
    # Without lines, which would be those of a text that is not written.
    wrong = [
        msgspec.structs.replace(problem, line=None)
        for problem in problems_in(edited)
        if (problem.key, problem.text) not in before or problem.key == key[: len(problem.key)]
    ]
    if wrong:
        raise BadConfig(home, wrong)
    home.create()
    try:
        # People link their settings from elsewhere; the link stays.
        write_atomically(home.config.resolve(), edited.encode())
    except OSError as error:
        raise UsageError(f"{home.config} cannot be written: {error.strerror}") from error


def refuse_unknown(home: Home, key: tuple[str, ...]) -> None:
    """Raise BadConfig if there is no such setting, with the nearest name."""
    import msgspec

    from console.keymap import problems_in
    from console.tui.config import FIELDS
    from console.tui.config_edit import with_setting
    from engine.spec.config_file import BadConfig

    if key[0] not in FIELDS:
        (problem,) = problems_in(with_setting("", key, ""))
        raise BadConfig(home, [msgspec.structs.replace(problem, line=None)])


def tell(home: Home, what: str, key: tuple[str, ...]) -> None:
    """Print what was written, and what must be restarted to see it."""
    from engine.control import launch
    from engine.spec.settings import ENGINE_KEYS

    typer.echo(what)
    if key[0] not in ENGINE_KEYS:
        typer.echo("a console that is open shows it once it is started again")
    elif launch.is_serving(home):
        typer.echo("the engine is running: `depthscope engine restart` applies it, and training continues")
