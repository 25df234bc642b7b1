"""Changing one setting in the text of config.toml; comments, order and layout of the rest stay."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable, MutableMapping
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from engine.base.errors import UsageError
from engine.spec.config_file import parse, parts_of

FLAT_TABLES = ("keys", "slots")
"""Tables whose keys may contain dots and colons, which need no quotes on the command line."""


class NotSet(UsageError):
    """The setting to remove is not in the file."""


def key_of(word: str) -> tuple[str, ...]:
    """Split a setting's name as typed: `theme`, `slots.cpu`, `keys."home.new"` or `keys.home.new`.

    Raises:
        UsageError: it is empty or has a line break.
    """
    if not word.strip() or len(word.splitlines()) > 1:
        raise UsageError(f"a setting is a name such as theme or slots.cpu, got {word!r}")
    # A name that is not TOML, such as slots.cuda:0, is table and key.
    parts = parts_of(word) or tuple(word.split(".", 1))
    return (parts[0], ".".join(parts[1:])) if parts[0] in FLAT_TABLES and len(parts) > 1 else parts


def value_of(key: tuple[str, ...], text: str) -> Any:
    """Read a value as TOML, and as a string if it is none; a key such as 1 is always a string."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    if set(found) != {"value"} or (len(key) == 2 and key[0] == "keys" and not isinstance(found["value"], str)):
        return text
    return found["value"]


def with_setting(text: str, key: tuple[str, ...], value: Any) -> str:
    """Return the text with a setting added or replaced.

    Raises:
        UsageError: the text is not TOML, or the key lies in something that is not a table.
    """

    def change(found: MutableMapping[str, Any]) -> None:
        for part in key[:-1]:
            found = table_in(found.setdefault(part, {}), part)
        found[key[-1]] = value

    return changed(text, change)


def without_setting(text: str, key: tuple[str, ...]) -> str:
    """Return the text without a setting, nor the table that it leaves empty.

    Raises:
        NotSet: it is not there.
        UsageError: the text is not TOML, or the key lies in something that is not a table.
    """

    def change(found: MutableMapping[str, Any]) -> None:
        tables = [found]
        for part in key[:-1]:
            if part not in tables[-1]:
                raise NotSet(f"{'.'.join(key)} is not set")
            tables.append(table_in(tables[-1][part], part))
        if key[-1] not in tables[-1]:
            raise NotSet(f"{'.'.join(key)} is not set")
        del tables[-1][key[-1]]
        for outer, part in reversed(list(zip(tables, key[:-1], strict=False))):
            if not outer[part]:
                del outer[part]

    edited = changed(text, change).rstrip("\n")
    return f"{edited}\n" if edited else ""


def table_in(found: Any, part: str) -> MutableMapping[str, Any]:
    """Return a value that must be a table."""
    if not isinstance(found, MutableMapping):
        raise UsageError(f"{part} is not a table in config.toml: `depthscope config unset {part}` removes it")
    return found


def shown(key: tuple[str, ...], value: Any) -> str:
    """The setting as TOML in one line."""
    return f"{'.'.join(tomlkit.key(part).as_string() for part in key)} = {tomlkit.item(value).as_string()}"


def changed(text: str, change: Callable[[MutableMapping[str, Any]], None]) -> str:
    """Apply a change to the text, and check that it did that and nothing else."""
    expected = copy.deepcopy(parse(text))
    change(expected)
    try:
        document = tomlkit.parse(text)
        change(document)
        edited = tomlkit.dumps(document)
    except TOMLKitError as error:
        raise UsageError(f"config.toml cannot be edited by a command ({error}): edit it by hand") from error
    if parse(edited) != expected:
        raise UsageError("config.toml is written in a way that no command can edit: edit it by hand")
    return edited
