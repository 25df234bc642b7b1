"""A worker's hold on its run: the open, locked run.lock."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

from engine.base.errors import DepthscopeError
from engine.base.locks import hold
from engine.base.processes import file_identity
from engine.runs.directory import FileName
from engine.runs.open_run import OpenRun, read_labels

LOCK_PATIENCE_SECONDS = 2.0


class RunTaken(DepthscopeError):
    """Another worker may train the run: nothing more may be written to its directory."""


@dataclass(slots=True)
class HeldLock:
    """The lock of a run, held until this process exits.

    Args:
        worker: Id of this start of a worker; None if it was started by hand or by an older engine.
        descriptor: Newest lock file of ours. Descriptors of earlier ones stay open, because the assignment names one.
    """

    run: OpenRun
    worker: str | None
    descriptor: int

    @classmethod
    def take(cls, run: OpenRun) -> Self | None:
        """Hold run.lock, inherited from the engine or acquired; None if another worker holds it."""
        worker, inherited = os.environ.pop("DEPTHSCOPE_WORKER", None), os.environ.pop("DEPTHSCOPE_LOCK_FD", None)
        if inherited is None:
            descriptor = run.open_lock()
        else:
            descriptor = int(inherited)
            os.set_inheritable(descriptor, False)
        return cls(run, worker, descriptor) if hold(descriptor, patience_seconds=LOCK_PATIENCE_SECONDS) else None

    def check(self) -> None:
        """Check that the lock in the directory is ours, before anything is written that another worker would read.

        If it was deleted or replaced, we lock the new file, unless another worker did or was assigned the run.

        Raises:
            RunTaken: another worker may train the run.
        """
        while not self._is_in_place():
            labels = read_labels(self.run.folder)
            assigned = None if labels is None else labels.assigned
            if assigned is not None and assigned.worker != self.worker:
                raise RunTaken("run.lock was deleted or replaced, and another worker was started")
            try:
                descriptor = self.run.open_lock()
            except OSError as error:
                raise RunTaken(f"run.lock was replaced and cannot be opened: {error}") from error
            if not hold(descriptor, patience_seconds=0.0):
                os.close(descriptor)
                raise RunTaken("run.lock was deleted or replaced, and another process holds the new one")
            self.descriptor = descriptor

    def _is_in_place(self) -> bool:
        """Whether run.lock is the file we hold."""
        found = self.run.folder.status(FileName.LOCK)
        return found is not None and file_identity(found) == file_identity(os.fstat(self.descriptor))
