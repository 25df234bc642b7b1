"""Run commands as a user subject to file modes: root switches to nobody, other users stay themselves."""

from __future__ import annotations

import functools
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

NOBODY = 65534
REPOSITORY = Path(__file__).parents[2]

BECOME_NOBODY = """
import ctypes, json, os, sys

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 1 << 17, 1 << 12, 1 << 14, 1 << 18
libc = ctypes.CDLL(None, use_errno=True)

def check(status):
    if status != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def mount(source, target, kind, flags, data=None):
    check(libc.mount(source.encode(), target.encode(), kind, ctypes.c_ulong(flags), data))

os.umask(0o022)
uid, closed = int(sys.argv[1]), json.loads(sys.argv[2])
if closed:
    check(libc.unshare(CLONE_NEWNS))
    mount("none", "/", None, MS_REC | MS_PRIVATE)
for directory, needed in closed.items():
    held = [os.open(path, os.O_PATH) for path in needed]
    mount("tmpfs", directory, b"tmpfs", 0, b"mode=755")
    for path, descriptor in zip(needed, held):
        os.makedirs(path, exist_ok=True)
        mount(f"/proc/self/fd/{descriptor}", path, None, MS_BIND | MS_REC)
        os.close(descriptor)
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""
"""Drops root's privileges for good. If Python is in a directory closed to others, such as root's home, this process and
its children see an open directory there that contains only what is needed."""


def closed_directories() -> dict[str, list[str]]:
    """Return directories closed to others, with the paths in them that a command needs."""
    needed = {Path(sys.base_prefix).resolve(), Path(sys.executable).resolve().parents[1], Path(sys.prefix), REPOSITORY}
    found: dict[str, list[str]] = {}
    for path in sorted(needed):
        for directory in [*reversed(path.parents), path]:
            if not directory.stat().st_mode & stat.S_IXOTH:
                found.setdefault(str(directory), []).append(str(path))
                break
    return found


def unprivileged(command: list[str]) -> list[str]:
    """Build a command that runs this Python as a user other than root."""
    if os.geteuid():
        return command
    return [command[0], "-c", BECOME_NOBODY, str(NOBODY), json.dumps(closed_directories()), *command[1:]]


@functools.cache
def why_not() -> str | None:
    """Return why user nobody cannot run this Python; None if it can."""
    tried = subprocess.run(unprivileged([sys.executable, "-c", "import typer"]), capture_output=True, text=True)
    return tried.stderr.strip().splitlines()[-1] if tried.returncode else None
