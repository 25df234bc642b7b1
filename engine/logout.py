"""Whether the end of a login session would end what was started in it, and what keeps that from happening.

systemd-logind ends the processes of a session with it where KillUserProcesses says so, and the user's own manager, with
all that it runs, ends with the last session of a user who does not linger. Sources: logind.conf(5), loginctl(1),
user@.service(5). Where no systemd runs, nothing of this happens.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.base.locks import is_held, read_pid
from engine.base.paths import Home

CONFIGURATION_ROOTS = ("usr/lib/systemd", "usr/local/lib/systemd", "run/systemd", "etc/systemd")
"""In rising order of precedence."""
LINGER = "`loginctl enable-linger`"
SERVICE = "`depthscope engine install-service`"


@dataclass(frozen=True, slots=True)
class LogoutRisk:
    """Why a process would not outlive the user's logout."""

    text: str
    remedy: str


def systemd_runs(root: Path = Path("/")) -> bool:
    """Whether systemd is this machine's init, which in most containers it is not; as in sd_booted(3)."""
    return (root / "run/systemd/system").is_dir()


def logout_risk(pid: int | None = None, *, root: Path = Path("/"), user: str | None = None) -> LogoutRisk | None:
    """What would end a process when its user logs out; None where nothing would, or no systemd runs.

    Args:
        pid: Of the process, such as an engine that serves; None is this one, whose children share its fate.
        root: Where the file system begins.
        user: Its name; None is the one that this process runs as.
    """
    if not systemd_runs(root):
        return None
    user = user or user_name()
    lingers = (root / "var/lib/systemd/linger" / user).exists()
    group = control_group(root / "proc" / ("self" if pid is None else str(pid)) / "cgroup")
    if "/user@" in group:
        if lingers:
            return None
        text = f"the user manager that it runs under ends with your last session: {user} does not linger"
        return LogoutRisk(text, LINGER)
    if re.search(r"/session-[^/]*\.scope", group) and (kills := kills_sessions(root, user)) is not None:
        remedy = SERVICE if lingers else f"{SERVICE} and {LINGER}"
        return LogoutRisk(f"logind ends what a session has started with it ({kills})", remedy)
    return None


def risk_of_home(home: Home, *, root: Path = Path("/")) -> LogoutRisk | None:
    """What would end the engine of a home, or one that is started from here where none serves."""
    return logout_risk(read_pid(home.engine_lock) if is_held(home.engine_lock) else None, root=root)


def user_name() -> str:
    """The name of the user that this process runs as; the number where there is none, as in some containers."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def control_group(path: Path) -> str:
    """The control group that systemd has put a process in; empty where that cannot be known."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    named = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    return next((group for _, controllers, group in named if controllers in ("", "name=systemd")), "")


def kills_sessions(root: Path, user: str) -> str | None:
    """The setting by which a user's session ends its processes, and where it stands; None where there is none."""
    kills, where, only, excluded = False, "", list[str](), ["root"]
    for path, key, value, is_comment in settings(root):
        match key:
            case "KillUserProcesses" if not is_comment or not where:
                # What the shipped file has as a comment is what this systemd was built with.
                kills, where = value.lower() in ("1", "yes", "y", "true", "t", "on"), f"KillUserProcesses in {path}"
            case "KillOnlyUsers" if not is_comment:
                only = [*only, *value.split()] if value else []
            case "KillExcludeUsers" if not is_comment:
                excluded = [*excluded, *value.split()] if value else []
    return where if kills and user not in excluded and (not only or user in only) else None


def settings(root: Path) -> Iterator[tuple[Path, str, str, bool]]:
    """The assignments of logind's configuration, a later one overriding an earlier one.

    Yields:
        File, key, value, and whether it is a comment, which tells what holds where nothing is assigned.
    """
    mains = [root / folder / "logind.conf" for folder in CONFIGURATION_ROOTS]
    main = next((path for path in reversed(mains) if path.exists()), None)
    drop_ins: dict[str, Path] = {}
    for folder in CONFIGURATION_ROOTS:
        # One of the same name elsewhere is masked.
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
