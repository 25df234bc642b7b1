"""config.toml as a file: reading it, and the problems found in it with their lines."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.base.regular_files import OddFile, read_regular

HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
ASSIGNMENT = re.compile(r"\s*([^=#]+?)\s*=")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One setting that cannot be used, and what to write instead."""

    key: tuple[str, ...]
    """Table and key, or a key alone; empty for the whole file."""
    text: str
    """What is wrong with which value, and the remedy, in one line that begins with the key."""
    line: int | None = None
    """Line of the setting, counted from 1; None if it is not known."""


class BadConfig(UsageError):
    """config.toml has problems."""

    def __init__(self, home: Home, problems: Iterable[Problem]) -> None:
        super().__init__("\ndepthscope: ".join(sentence(home, problem) for problem in problems))


def sentence(home: Home, problem: Problem) -> str:
    """One line that names the file, the setting and the remedy."""
    where = "" if problem.line is None else f" (line {problem.line})"
    return f"{home.config}{':' if problem.key else ''} {problem.text}{where}"


def notice(problems: Sequence[Problem]) -> str:
    """One short line for the console that names the settings and where to read more."""
    names = list(dict.fromkeys(".".join(problem.key) for problem in problems if problem.key))
    what = f"{', '.join(names)} ignored" if names else problems[0].text
    return f"config.toml: {what}; `depthscope doctor` says why"


def read_text(home: Home) -> str:
    """Read config.toml; empty if it does not exist.

    Raises:
        UsageError: the file cannot be read or is not UTF-8.
    """
    try:
        # People link their settings from elsewhere, and write them themselves.
        return read_regular(home.config, follow=True).decode()
    except FileNotFoundError:
        return ""
    except OddFile as error:
        raise UsageError(f"{error.cause}: move it away, or write settings there") from error
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"is not TOML: {error}") from error


def read_text_to_edit(home: Home) -> str:
    """Read config.toml for a change; empty if it does not exist.

    Raises:
        BadConfig: the file cannot be read or is not TOML.
    """
    try:
        text = read_text(home)
        parse(text)
    except UsageError as error:
        raise BadConfig(home, [Problem(key=(), text=str(error))]) from error
    return text


def parse(text: str) -> dict[str, Any]:
    """Parse the text of config.toml.

    Raises:
        UsageError: it is not TOML; the text says where.
    """
    if not text:
        return {}
    # Imported here to keep start-up fast: most users have no such file.
    import tomllib

    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise UsageError("is not TOML: it is nested too deeply") from error
    except ValueError as error:
        # Besides TOMLDecodeError: integers of thousands of digits.
        raise UsageError(f"is not TOML: {error}") from error


def line_of(text: str, key: tuple[str, ...]) -> int | None:
    """Line of a key in the text, counted from 1; None if it is written in a way this search does not know."""
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := HEADER.fullmatch(line):
            table = parts_of(header[1])
            written = table
        elif assigned := ASSIGNMENT.match(line):
            written = (*table, *parts_of(assigned[1]))
        else:
            continue
        if written == key:
            return number
    return None


def parts_of(written: str) -> tuple[str, ...]:
    """Split a dotted TOML key, whose parts may be quoted."""
    value: Any = {}
    with contextlib.suppress(UsageError):
        value = parse(f"{written} = 0")
    parts: list[str] = []
    while isinstance(value, dict) and value:
        ((part, value),) = value.items()
        parts.append(part)
    return tuple(parts)


def in_order(text: str, problems: Iterable[Problem]) -> list[Problem]:
    """Add lines to problems, and sort them as they stand in the file."""
    placed = [msgspec.structs.replace(problem, line=line_of(text, problem.key)) for problem in problems]
    return sorted(placed, key=lambda problem: problem.line or 0)
