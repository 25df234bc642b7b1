"""Run directories: the authoritative, complete record of a run, readable by its owner only."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from engine.base.decoding import Amount, Count, Moment, Real, decoder
from engine.base.errors import DepthscopeError, UsageError
from engine.base.locks import is_held
from engine.base.paths import Inside, create_private_directory, open_private, write_atomically
from engine.base.processes import has_open, start_time, works_in
from engine.base.regular_files import SMALL_FILE_BYTES, OddFile, check_regular, read_regular, reading_regular
from engine.base.system import is_another_boot
from engine.runs.identity import Identity, RunId, encode_stored
from engine.runs.journal import MAX_JOURNAL_BYTES
from engine.runs.run import Intent
from engine.spec.estimate import Estimate
from engine.spec.precision import Precision
from engine.spec.run import RunSpec


class FileName(StrEnum):
    """Names of the files of a run."""

    SPEC = "spec.json"
    JOURNAL = "journal.jsonl"
    CHECKPOINT = "checkpoint.pt"
    PREVIOUS_CHECKPOINT = "checkpoint.prev.pt"
    WEIGHTS = "weights.pt"
    EXIT = "exit.json"
    LABELS = "labels.json"
    LOG = "worker.log"
    LOCK = "run.lock"


class ExitReason(StrEnum):
    """How a worker exited by itself; a killed worker leaves no record."""

    SUCCEEDED = "succeeded"
    DIVERGED = "diverged"
    FAILED = "failed"
    STOPPED_EARLY = "stopped-early"
    """Ended by the stop rule in its spec, after a checkpoint."""
    STOPPED = "stopped"
    """Stopped on request, after saving a checkpoint."""
    DISK = "disk"
    """The disk was full or the directory not writable; earlier checkpoints are intact."""
    CRASHED = "crashed"
    """Its device failed; another worker continues, as after a kill."""

    @property
    def is_final(self) -> bool:
        """Whether the run has ended, not only its worker."""
        return self not in (ExitReason.STOPPED, ExitReason.DISK, ExitReason.CRASHED)


class ExitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of exit.json, the last file a worker writes."""

    reason: ExitReason
    step: Count
    at: Moment
    error: str | None = None
    """Readable reason for not succeeding; None if it succeeded or was asked to stop."""
    worker: str | None = None
    """Id of the worker's start; None if the engine wrote it, or a worker without an id."""


class WorkerProcess(msgspec.Struct, frozen=True, kw_only=True):
    """Identity of a worker's process on its machine."""

    pid: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    started: Count
    """Its start, as by `engine.base.processes.start_time`: in clock ticks since boot on Linux."""
    lock: Annotated[str, msgspec.Meta(max_length=64)]
    """Device and inode of the run.lock it inherited."""

    def is_alive(self, directory: Path) -> bool:
        """Whether this very process lives, works in the run directory, and has that lock open, even if it was deleted.

        A copy of the directory names the same process, which trains the original.
        """
        return start_time(self.pid) == self.started and works_in(self.pid, directory) and has_open(self.pid, self.lock)


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """Newest worker that an engine started for a run; only this process may write into the run directory."""

    device: str
    """`cuda:N` or `cpu`, as numbered by the engine at that time."""
    visible: str
    """Identity of the GPU, for an engine that numbers GPUs differently; empty for the CPU."""
    at: Moment
    """For display."""
    journal_bytes: Count = 0
    """Length of its journal at that time: devices named after this offset are newer, whatever clocks say."""
    boot: str | None = None
    """Boot id of the machine at that time; None if unknown."""
    worker: str | None = None
    """Id of this start, which the worker writes into its records; None if an older version started it."""
    process: WorkerProcess | None = None
    """None until it exists, and if an older version started it."""


class BeforeHiding(msgspec.Struct, frozen=True, kw_only=True):
    """State of an unfinished run before it was hidden, which cancelled it; restoring it brings that back."""

    intent: Intent
    held: bool = False


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of labels.json: changeable properties of a run, written only by the engine."""

    name: str
    experiment: str
    position: Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
    """Order of submission."""
    place: Real | None = None
    """Order in the queue; None for the order of submission."""
    held: bool = False
    """Whether it is not started until released."""
    assigned: Assignment | None = None
    """Assignment of its newest worker; None before the first, or if someone else started it."""
    created_at: Moment
    intent: Intent = Intent.RUN
    tags: tuple[str, ...] = ()
    notes: str = ""
    starred: bool = False
    deleted_at: Moment | None = None
    before_hiding: BeforeHiding | None = None
    """None unless hiding cancelled it, and if an older version hid it: then it stays cancelled."""
    estimate: Estimate | None = None
    """Time estimate when the run was queued; None if there was no basis for one."""
    taken_seconds: Amount | None = None
    """Time the run took, including checkpoints; None until it has succeeded."""
    imported_as: RunId | None = None
    """Id that an import gave a run created under another; None if it kept its own."""
    fallback: Precision | None = None
    """Precision of its workers in place of the recipe's since the first ones crashed; None if they did not."""

    @property
    def queue_place(self) -> float:
        """Order in the queue."""
        return float(self.position) if self.place is None else self.place


_decode_labels: Callable[[bytes | str], Labels] = decoder(Labels)
_decode_exit: Callable[[bytes | str], ExitRecord] = decoder(ExitRecord)


class DamagedRunDirectory(DepthscopeError):
    """A run directory is incomplete."""


class WrongRun(UsageError):
    """A directory contains another run than its name says."""

    def __init__(self, path: Path, origin: str) -> None:
        super().__init__(
            f"{path} contains run {origin}: move it back to runs/{origin}, or import it as a run of its own"
        )


LIMITS: dict[str, int | None] = {
    FileName.SPEC: SMALL_FILE_BYTES,
    FileName.LABELS: SMALL_FILE_BYTES,
    FileName.EXIT: SMALL_FILE_BYTES,
    FileName.JOURNAL: MAX_JOURNAL_BYTES,
    FileName.LOCK: SMALL_FILE_BYTES,
    FileName.LOG: None,
}
"""Files the engine reads, with their size limits."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths and small files of one run."""

    path: Path

    spec_file = Inside(FileName.SPEC)
    journal = Inside(FileName.JOURNAL)
    checkpoint = Inside(FileName.CHECKPOINT)
    previous_checkpoint = Inside(FileName.PREVIOUS_CHECKPOINT)
    weights = Inside(FileName.WEIGHTS)
    exit_file = Inside(FileName.EXIT)
    labels_file = Inside(FileName.LABELS)
    log = Inside(FileName.LOG)
    lock_file = Inside(FileName.LOCK)

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def id(self) -> str:
        return self.path.name

    def create(self, spec: RunSpec, labels: Labels) -> None:
        """Create the directory; an existing one stays as it is, so repeating this is safe.

        Its name is not durable until the parent directory is synced.
        """
        create_private_directory(self.path)
        if not self.spec_file.exists():
            write_atomically(self.labels_file, msgspec.json.encode(labels))
            # Written last: a directory without a spec is not a run yet.
            write_atomically(self.spec_file, encode_stored(spec, origin=self.id))

    def read_identity(self) -> Identity:
        """Read spec.json.

        Raises:
            DamagedRunDirectory: spec.json is missing.
            UsageError: spec.json is not a valid spec.
        """
        try:
            return Identity.decode(read_regular(self.spec_file))
        except FileNotFoundError as error:
            raise DamagedRunDirectory(f"{self.path} is not a run directory: spec.json is missing") from error
        except OddFile:
            raise
        except UsageError as error:
            raise UsageError(f"{self.spec_file}: {error}") from error

    def check_files(self) -> None:
        """Check that each of the files the engine reads is missing or a regular file of plausible size.

        Raises:
            OddFile: a file, or the directory itself, is something else.
            OSError: the directory cannot be read.
        """
        for name, found in self._files():
            if name in LIMITS:
                check_regular(self.path / name, found, limit=LIMITS[name])

    def looks(self) -> tuple[object, ...]:
        """Value that changes when any file of the directory does, even if it cannot be read."""
        try:
            own = self.path.lstat()
            files = [
                (name, one.st_ino, one.st_mode, one.st_size, one.st_mtime_ns, one.st_ctime_ns)
                for name, one in self._files()
            ]
        except OSError as error:
            return type(error).__name__, error.errno
        return own.st_ino, own.st_mode, own.st_ctime_ns, *sorted(files)

    def _files(self) -> list[tuple[str, os.stat_result]]:
        """Names and states of all files; empty if the directory does not exist."""
        try:
            with os.scandir(self.path) as entries:
                return [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            raise OddFile(self.path, "is not a directory") from error

    def is_unfinished(self) -> bool:
        """Whether there is neither a spec nor any result: the engine died while it made the directory."""
        return not any(os.path.lexists(path) for path in (self.spec_file, self.journal, self.checkpoint, self.weights))

    def check_own(self, identity: Identity | None = None) -> None:
        """Check that this is the run its name says, rather than a copy or another run under its name.

        Args:
            identity: What its spec.json says; None reads it.

        Raises:
            WrongRun: it was created under another id, and no import gave it this one.
            DamagedRunDirectory, UsageError: as by `read_identity`.
        """
        identity = identity or self.read_identity()
        if identity.origin not in (None, self.id) and self.read_labels().imported_as != self.id:
            raise WrongRun(self.path, str(identity.origin))

    def wrong_run(self) -> WrongRun | None:
        """Return the error if another run is in this directory; None if it is not, or if that cannot be told."""
        try:
            self.check_own()
        except WrongRun as error:
            return error
        except (DepthscopeError, OSError):
            return None
        return None

    def read_spec(self) -> RunSpec:
        """Read what spec.json asks to train; raises as `read_identity` does."""
        return self.read_identity().spec

    def read_labels(self) -> Labels:
        """Read labels.json; if it is missing or damaged, use defaults with the id as name."""
        try:
            return _decode_labels(read_regular(self.labels_file))
        except (FileNotFoundError, msgspec.DecodeError):
            return self.default_labels()

    def default_labels(self) -> Labels:
        """Labels of a run that has none, with the id as name."""
        return Labels(name=self.id, experiment="recovered", position=0, created_at=max(0.0, self.path.stat().st_mtime))

    def write_labels(self, labels: Labels) -> None:
        write_atomically(self.labels_file, msgspec.json.encode(labels))

    def read_exit(self, assigned: Assignment | None = None) -> ExitRecord | None:
        """Read the exit record of the last worker; None if it is alive or was killed.

        Args:
            assigned: Its assignment: a record that names another worker is none of it. None takes any.

        Raises:
            OddFile: the record is damaged, so that nothing says whether the run has ended.
        """
        try:
            record = _decode_exit(read_regular(self.exit_file))
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise OddFile(self.exit_file, f"is damaged ({error})") from error
        expected = None if assigned is None else assigned.worker
        return record if None in (expected, record.worker) or record.worker == expected else None

    def write_exit(self, reason: ExitReason, *, step: int, error: str | None = None, worker: str | None = None) -> None:
        record = ExitRecord(reason=reason, step=step, at=time.time(), error=error, worker=worker)
        write_atomically(self.exit_file, msgspec.json.encode(record))

    def clear_exit(self) -> None:
        """Delete the exit record before the next worker starts."""
        self.exit_file.unlink(missing_ok=True)

    def open_lock(self) -> int:
        """Open run.lock, creating it if needed, and return its descriptor."""
        return open_private(self.lock_file, os.O_RDWR | os.O_CREAT)

    def is_locked(self) -> bool:
        """Whether a worker holds the lock of this run."""
        return is_held(self.lock_file)

    def assigned_process(self) -> WorkerProcess | None:
        """Process of the assigned worker, if it lives; needed when someone has deleted or replaced run.lock."""
        try:
            assigned = self.read_labels().assigned
        except FileNotFoundError:
            return None
        if assigned is None or assigned.process is None or is_another_boot(assigned.boot):
            return None
        return assigned.process if assigned.process.is_alive(self.path) else None

    def is_alive(self) -> bool:
        """Whether a worker trains this run: it holds the lock, or is the assigned process."""
        return self.is_locked() or self.assigned_process() is not None

    def log_tail(self, *, num_lines: int = 20, num_bytes: int = 16_384) -> str:
        """Last lines of the worker's log."""
        try:
            with reading_regular(self.log) as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - num_bytes))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-num_lines:])
