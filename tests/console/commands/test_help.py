"""Every command and option explains itself in a line that fits a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from console.commands.app import app

MOST_COMMAND, MOST_OPTION = 70, 60
BUILT_IN = ("install_completion", "show_completion")


def commands(command: Any, path: str = "depthscope") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{path} {name}")


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", ALL)
def test_help_is_short(path: str):
    """One line per command, and one per option next to its name."""
    command = ALL[path]
    lines = {"the command itself": (command.help or "").split("\n\n")[0].replace("\n", " ")}
    lines |= {each.name: each.help for each in command.params if getattr(each, "help", None)}
    limits = {name: MOST_COMMAND if name == "the command itself" else MOST_OPTION for name in lines}

    assert lines["the command itself"]
    assert {name: line for name, line in lines.items() if len(line) > limits[name] and name not in BUILT_IN} == {}
