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


def cap_log(path: Path) -> bool:
    """Drop the beginning of a log longer than MAX_LOG_BYTES; keep KEPT_LOG_BYTES at most, in whole lines if possible.

    Truncates in place, because the writer keeps the file open. Lines written at that very moment may be lost.

    Args:
        path: Log file; it need not exist.

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
        if size <= MAX_LOG_BYTES:
            return False
        end = os.pread(descriptor, KEPT_LOG_BYTES, size - KEPT_LOG_BYTES)
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
