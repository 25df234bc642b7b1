"""Lock files: who holds one lives. They are never unlinked, so that all who lock one lock the same file."""

from __future__ import annotations

import fcntl
import os
import select
import time
from pathlib import Path

from engine.base.paths import open_private

SECONDS_BETWEEN_TRIES = 0.02


def is_held(path: Path) -> bool:
    """Whether a process holds a lock file; one that does not exist is not held."""
    try:
        # To ask, it need not be writable, and who made a home read-only has not ended what lives there.
        descriptor = open_private(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def hold(descriptor: int, *, patience_seconds: float, for_child: bool = False) -> bool:
    """Lock an open lock file for as long as the descriptor stays open, here or in a child that inherits it.

    Args:
        descriptor: Of the lock file.
        patience_seconds: How long to wait for another holder; whoever asks `is_held` is one for an instant.
        for_child: Whether a child is to inherit it, so that our own pid must not stand in the file.

    Returns:
        Whether it is ours; our pid stands in it then, for display.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            select.select([], [], [], SECONDS_BETWEEN_TRIES)
        else:
            if not for_child:
                write_pid(descriptor, os.getpid())
            return True


def write_pid(descriptor: int, pid: int) -> None:
    """Note whose a lock is; only who holds it may write here."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{pid}\n".encode(), 0)


def read_pid(path: Path) -> int | None:
    """The pid in a lock file: of whoever holds it now or held it last; None where there is none."""
    try:
        word = path.read_text().strip()
    except FileNotFoundError:
        return None
    return int(word) if word.isascii() and word.isdigit() else None
