"""Logs of limited size: one that grows too long keeps its end and notes how much was dropped."""

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
    """Drop the beginning of a log that has grown too long.

    Truncates in place, because the writer keeps the file open. Lines written at that very moment may be lost.

    Args:
        path: Log file; it need not exist.
        max_bytes: Size above which the log is cut.
        kept_bytes: Upper limit on what is kept from the end, in whole lines if there are any.

    Returns:
        Whether anything was dropped.

    Raises:
        OSError: the log cannot be read or written.
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
    """Handler for stderr that caps the engine's own log file.

    Args:
        path: The engine's log. Nothing is capped when stderr is another file, a terminal or a service's journal.
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
            # A log that cannot be capped must not stop the engine.
            return
