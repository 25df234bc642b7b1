"""Lock files: a held lock means its process is alive.

They are never unlinked, so that every process locks the same inode.
"""

from __future__ import annotations

import fcntl
import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.base.paths import open_private
from engine.base.regular_files import read_regular

SECONDS_BETWEEN_TRIES = 0.02


def is_held(path: Path) -> bool:
    """Return whether a process holds a lock file; False if the file does not exist."""
    try:
        # Read-only: a home that was made read-only may still have a live engine.
        descriptor = open_private(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not lock(descriptor, patience_seconds=0, shared=True)
    finally:
        os.close(descriptor)


def hold(descriptor: int, *, patience_seconds: float, for_child: bool = False) -> bool:
    """Lock an open lock file until the descriptor is closed, here and in any child that inherits it.

    Args:
        patience_seconds: How long to wait for another holder; `is_held` itself holds the lock for an instant.
        for_child: Leave our pid out of the file, because a child will inherit the lock.

    Returns:
        Whether we hold the lock. If so, the file contains our pid, for display.
    """
    if not lock(descriptor, patience_seconds=patience_seconds):
        return False
    if not for_child:
        write_pid(descriptor, os.getpid())
    return True


def lock(descriptor: int, *, patience_seconds: float, shared: bool = False) -> bool:
    """Lock an open file, trying again while others hold it, as flock knows no timeout; return whether we hold it."""
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            select.select([], [], [], SECONDS_BETWEEN_TRIES)
        else:
            return True


@contextmanager
def locked(path: Path, *, on_wait: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold a lock file, waiting without limit; `on_wait` is called first if another process holds it."""
    descriptor = open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        if not lock(descriptor, patience_seconds=0):
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_pid(descriptor: int, pid: int, more: bytes = b"") -> None:
    """Record the holder's pid in a lock file, and more on a second line; only the holder may call this."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n%s" % (pid, more and more + b"\n"), 0)


def read_pid(path: Path) -> int | None:
    """Return the pid of a lock's current or last holder; None if the file has none."""
    try:
        content = read_regular(path).partition(b"\n")[0].decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    return int(content) if content.isascii() and content.isdigit() else None
