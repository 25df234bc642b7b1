"""The engine as a service of systemd's user manager: what its unit says, and where it lies."""

from __future__ import annotations

import os
import sys
import tempfile
from enum import StrEnum
from pathlib import Path

from engine.base.errors import UsageError
from engine.base.paths import Home, write_atomically
from engine.launch import EXIT_LOCKED

UNIT = "depthscope.service"
SIGNATURE = "# Written by `depthscope engine install-service`."


class Installed(StrEnum):
    """What became of the unit's file."""

    WRITTEN = "written"
    UNCHANGED = "is there already"
    RENEWED = "renewed"
    REPLACED = "replaced"


def unit_path() -> Path:
    """Where the user manager looks for units of this user."""
    configuration = os.environ.get("XDG_CONFIG_HOME")
    root = Path(configuration) if configuration and Path(configuration).is_absolute() else Path.home() / ".config"
    return root / "systemd" / "user" / UNIT


def unit_text(home: Home) -> str:
    """The unit of a home's engine.

    Args:
        home: Absolute; as every path in it, systemd's special characters are escaped.

    Raises:
        UsageError: the home's path has a line break, which no unit can hold.
    """
    environment = {"DEPTHSCOPE_HOME": str(home.root)}
    if home.engine_socket.parent != home.root:
        # The socket is found under it by consoles that have it set.
        environment["TMPDIR"] = tempfile.gettempdir()
    paths = [sys.executable, str(home.root), *environment.values()]
    if any(character in path for path in paths for character in "\n\r"):
        raise UsageError(f"{home.root!s} has a line break in its name: no systemd unit can hold it")
    log = escaped(str(home.engine_log))
    command = f"{quoted_argument(sys.executable)} -P -m engine.daemon {quoted_argument(str(home.root))}"
    return "\n".join(
        [
            SIGNATURE,
            "[Unit]",
            "Description=depthscope engine",
            "",
            "[Service]",
            "Type=exec",
            f"ExecStart={command}",
            *(f"Environment={quoted(f'{name}={value}')}" for name, value in environment.items()),
            f"WorkingDirectory={escaped(str(home.root))}",
            f"StandardOutput=append:{log}",
            f"StandardError=append:{log}",
            "UMask=0077",
            "# Workers live on: the next engine takes them over.",
            "KillMode=process",
            f"# A crash is made good; {EXIT_LOCKED} says that another engine serves this home.",
            "Restart=on-failure",
            "RestartSec=2",
            f"RestartPreventExitStatus={EXIT_LOCKED}",
            f"SuccessExitStatus={EXIT_LOCKED}",
            "",
            "[Install]",
            "WantedBy=default.target",
            "",
        ]
    )


def escaped(text: str) -> str:
    """A path in a unit, where a percent sign would begin a specifier."""
    return text.replace("%", "%%")


def quoted(text: str) -> str:
    """A word in a unit that may have spaces and quotation marks in it."""
    inside = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped(inside)}"'


def quoted_argument(text: str) -> str:
    """A word of a command, where a dollar sign would begin a variable."""
    return quoted(text).replace("$", "$$")


def install(home: Home, *, replaces: bool) -> Installed:
    """Write the unit, durably and whole.

    Args:
        home: Whose engine.
        replaces: Whether a unit that somebody else wrote, or that is another home's, makes room; it is kept as
            `depthscope.service.old`.

    Raises:
        UsageError: such a unit is there and is not to be replaced, or the file cannot be written.
    """
    path, text = unit_path(), unit_text(home)
    try:
        before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
        if before == text:
            return Installed.UNCHANGED
        is_ours = before is not None and before.startswith(SIGNATURE) and home_line(before) == home_line(text)
        if before is not None and not is_ours and not replaces:
            whose = "is another home's" if before.startswith(SIGNATURE) else "was not written by depthscope"
            raise UsageError(
                f"{path} is there and {whose}: --print shows what would be written,"
                f" --replace writes it and keeps the old one as {path.name}.old"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        if before is not None and not is_ours:
            path.rename(path.with_name(f"{path.name}.old"))
        write_atomically(path, text.encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    if before is None:
        return Installed.WRITTEN
    return Installed.RENEWED if is_ours else Installed.REPLACED


def home_line(text: str) -> str:
    """The line of a unit that says whose engine it starts."""
    return next((line for line in text.splitlines() if line.startswith("WorkingDirectory=")), "")
