"""A run as its worker has it: the directory, opened once, and its identity as it was read then."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import msgspec

from engine.base.decoding import decode_json
from engine.base.folder import Folder
from engine.base.regular_files import OddFile
from engine.runs.directory import ExitReason, ExitRecord, FileName, Labels, RunDirectory, WrongRun
from engine.runs.identity import Identity
from engine.runs.journal import OPEN_FLAGS, JournalWriter
from engine.spec.precision import Precision


@dataclass(frozen=True, slots=True)
class OpenRun:
    """An open run directory; renaming or exchanging it changes nothing for its worker."""

    id: str
    folder: Folder
    identity: Identity

    @classmethod
    def open(cls, directory: RunDirectory) -> Self:
        """Open a run directory and read which run it is.

        Raises:
            WrongRun: the directory contains another run.
            UsageError: spec.json is not a valid spec.
            OSError: the directory or its spec.json cannot be read.
        """
        folder = Folder(directory.path)
        try:
            identity = Identity.decode(folder.read(FileName.SPEC))
            if identity.origin not in (None, directory.id) and imported_as(folder) != directory.id:
                raise WrongRun(directory.path, str(identity.origin))
        except BaseException:
            folder.close()
            raise
        return cls(directory.id, folder, identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.folder.close()

    def fallback(self) -> Precision | None:
        """Precision that replaces the recipe's, see `Labels`; None if labels.json names none."""
        labels = read_labels(self.folder)
        return None if labels is None else labels.fallback

    def open_journal(self) -> JournalWriter:
        return JournalWriter.on(self.folder.open(FileName.JOURNAL, OPEN_FLAGS))

    def open_lock(self) -> int:
        """Open run.lock, creating it if needed, and return its descriptor."""
        return self.folder.open(FileName.LOCK, os.O_RDWR | os.O_CREAT)

    def write_exit(self, reason: ExitReason, *, step: int, error: str | None = None, worker: str | None = None) -> None:
        """Write exit.json; leftovers of unfinished writes make room for it."""
        for name in self.folder.names():
            if name.startswith(".") and name.endswith(".tmp"):
                self.folder.unlink(name)
        record = ExitRecord(reason=reason, step=step, at=time.time(), error=error, worker=worker)
        self.folder.write_atomically(FileName.EXIT, msgspec.json.encode(record))


def imported_as(folder: Folder) -> str | None:
    """Return the id that an import gave the run in a folder; None without one."""
    labels = read_labels(folder)
    return None if labels is None else labels.imported_as


def read_labels(folder: Folder) -> Labels | None:
    """Read labels.json; None if it is missing or damaged."""
    try:
        return decode_json(folder.read(FileName.LABELS), Labels)
    except (FileNotFoundError, OddFile, msgspec.DecodeError):
        return None
