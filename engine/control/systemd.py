"""The systemd user service of the engine, and whether a logout would end it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from engine.base.errors import UsageError
from engine.base.locks import is_held, read_pid
from engine.base.paths import Home, write_atomically
from engine.control.launch import EXIT_LOCKED

UNIT = "depthscope.service"
SIGNATURE = "# Written by `depthscope engine install-service`."


class Installed(StrEnum):
    """Result of installing the unit."""

    WRITTEN = "written"
    UNCHANGED = "is there already"
    RENEWED = "renewed"
    REPLACED = "replaced"


def unit_path() -> Path:
    """Return the path of the unit in the user's configuration."""
    configuration = os.environ.get("XDG_CONFIG_HOME")
    root = Path(configuration) if configuration and Path(configuration).is_absolute() else Path.home() / ".config"
    return root / "systemd" / "user" / UNIT


def unit_text(home: Home) -> str:
    """Return the text of the unit for a home's engine, whose path is absolute.

    Raises:
        UsageError: the home's path has a line break, which a unit cannot contain.
    """
    environment = {"DEPTHSCOPE_HOME": str(home.root)}
    paths = [sys.executable, str(home.root), *environment.values()]
    if any(character in path for path in paths for character in "\n\r"):
        raise UsageError(f"{home.root!s} has a line break in its name: a systemd unit cannot contain that")
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
            f"# Restart after a crash; exit status {EXIT_LOCKED} means that another engine serves this home.",
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
    """Escape percent signs, which begin a specifier in a unit."""
    return text.replace("%", "%%")


def quoted(text: str) -> str:
    """Quote a word for a unit."""
    inside = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped(inside)}"'


def quoted_argument(text: str) -> str:
    """Quote a word of a command; a dollar sign would begin a variable."""
    return quoted(text).replace("$", "$$")


def install(home: Home, *, replaces: bool) -> Installed:
    """Write the unit atomically.

    Args:
        replaces: Replace a unit not written by depthscope or belonging to another home; the old one is kept as
            `depthscope.service.old`.

    Raises:
        UsageError: such a unit exists and must not be replaced, or the file cannot be written.
    """
    path, text = unit_path(), unit_text(home)
    try:
        before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
        if before == text:
            return Installed.UNCHANGED
        is_ours = before is not None and before.startswith(SIGNATURE) and home_line(before) == home_line(text)
        if before is not None and not is_ours and not replaces:
            whose = "belongs to another home" if before.startswith(SIGNATURE) else "was not written by depthscope"
            raise UsageError(
                f"{path} exists and {whose}: --print shows the new unit,"
                f" --replace installs it and keeps the old one as {path.name}.old"
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
    """Return the line of a unit that identifies its home."""
    return next((line for line in text.splitlines() if line.startswith("WorkingDirectory=")), "")


CONFIGURATION_ROOTS = ("usr/lib/systemd", "usr/local/lib/systemd", "run/systemd", "etc/systemd")
"""Configuration directories, lowest precedence first."""
LINGER = "`loginctl enable-linger`"
SERVICE = "`depthscope engine install-service`"


@dataclass(frozen=True, slots=True)
class LogoutRisk:
    """Reason why a process would not survive the user's logout, and the remedy."""

    text: str
    remedy: str


def systemd_runs(root: Path = Path("/")) -> bool:
    """Return whether systemd is the init system, as in sd_booted(3); in most containers it is not."""
    return (root / "run/systemd/system").is_dir()


def logout_risk(pid: int | None = None, *, root: Path = Path("/"), user: str | None = None) -> LogoutRisk | None:
    """Find what would end a process when its user logs out; None if nothing would or systemd is not running.

    Args:
        pid: Process to check, such as a running engine; None for this process and its children.
        root: Root of the file system.
        user: Name of the user; None for the current one.
    """
    if not systemd_runs(root):
        return None
    # psutil gives the uid for a user without a name, as in some containers.
    user = user or psutil.Process().username()
    lingers = (root / "var/lib/systemd/linger" / user).exists()
    group = control_group(root / "proc" / ("self" if pid is None else str(pid)) / "cgroup")
    if "/user@" in group:
        if lingers:
            return None
        text = f"its user manager ends with your last session, because lingering is off for {user}"
        return LogoutRisk(text, LINGER)
    if re.search(r"/session-[^/]*\.scope", group) and (kills := kills_sessions(root, user)) is not None:
        remedy = SERVICE if lingers else f"{SERVICE} and {LINGER}"
        return LogoutRisk(f"logind kills a session's processes when it ends ({kills})", remedy)
    return None


def risk_of_home(home: Home) -> LogoutRisk | None:
    """Find what would end the home's engine, or one started from this process, at logout."""
    return logout_risk(read_pid(home.engine_lock) if is_held(home.engine_lock) else None)


def control_group(path: Path) -> str:
    """Return the control group systemd put a process in; empty if unknown."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    named = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    return next((group for _, controllers, group in named if controllers in ("", "name=systemd")), "")


def kills_sessions(root: Path, user: str) -> str | None:
    """Return the setting, with its file, that kills a user's processes at logout; None if there is none."""
    kills, where, only, excluded = False, "", list[str](), ["root"]
    for path, key, value, is_comment in settings(root):
        match key:
            case "KillUserProcesses" if not is_comment or not where:
                # A commented-out value in the shipped file is systemd's built-in default.
                kills, where = value.lower() in ("1", "yes", "y", "true", "t", "on"), f"KillUserProcesses in {path}"
            case "KillOnlyUsers" if not is_comment:
                only = [*only, *value.split()] if value else []
            case "KillExcludeUsers" if not is_comment:
                excluded = [*excluded, *value.split()] if value else []
    return where if kills and user not in excluded and (not only or user in only) else None


def settings(root: Path) -> Iterator[tuple[Path, str, str, bool]]:
    """Iterate over logind's settings; later ones override earlier ones.

    Yields:
        File, key, value, and whether it is commented out, which documents the default.
    """
    mains = [root / folder / "logind.conf" for folder in CONFIGURATION_ROOTS]
    main = next((path for path in reversed(mains) if path.exists()), None)
    drop_ins: dict[str, Path] = {}
    for folder in CONFIGURATION_ROOTS:
        # A drop-in masks those of the same name in directories of lower precedence.
        drop_ins.update({path.name: path for path in (root / folder / "logind.conf.d").glob("*.conf")})
    for path in [*([main] if main is not None else []), *(drop_ins[name] for name in sorted(drop_ins))]:
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        section = ""
        for line in map(str.strip, lines):
            if line.startswith("["):
                section = line
            elif section == "[Login]" and (found := re.fullmatch(r"([#;]?)\s*(\w+)\s*=\s*(.*)", line)):
                yield path, found[2], found[3].strip(), bool(found[1])
