"""Logs that cannot grow without end: of one that is too long the end is kept, and how much was dropped is said."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TextIO

from engine.base.paths import open_private

MAX_LOG_BYTES = 4 << 20
KEPT_LOG_BYTES = 1 << 20


def cap_log(path: Path, *, max_bytes: int = MAX_LOG_BYTES, kept_bytes: int = KEPT_LOG_BYTES) -> bool:
    """Drop the beginning of a log that has grown too long; whoever appends to it goes on doing so.

    It is shortened in place, since its writer, which knows nothing of this, holds it open. What is written in the very
    instant may be lost.

    Args:
        path: Of the log; one that does not exist is short enough.
        max_bytes: Above this it is too long.
        kept_bytes: Most that is left of its end, in whole lines where it has lines.

    Returns:
        Whether something was dropped.

    Raises:
        OSError: it cannot be read or written.
    """
    try:
        descriptor = open_private(path, os.O_RDWR | os.O_APPEND)
    except FileNotFoundError:
        return False
    try:
        size = os.fstat(descriptor).st_size
        if size <= max_bytes:
            return False
        end = os.pread(descriptor, kept_bytes, size - kept_bytes)
        end = end[end.find(b"\n") + 1 :]
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"[%d bytes before this were dropped]\n" % (size - len(end)) + end)
    finally:
        os.close(descriptor)
    return True


class CappedLog(logging.StreamHandler[TextIO]):
    """Standard error as a log that stays short where it is a file of ours.

    Args:
        path: The file that standard error may be; a terminal or a service's journal is left alone.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(sys.stderr)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        try:
            ours, theirs = self._path.stat(), os.fstat(self.stream.fileno())
            if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino):
                cap_log(self._path)
        except OSError:
            # No file, or no room for a shorter one: a log is no reason to stop.
            return
