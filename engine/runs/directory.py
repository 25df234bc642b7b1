"""A run on disk: the truth of it, readable by its owner alone and complete without any database."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from engine.base.errors import DepthscopeError
from engine.base.locks import is_held
from engine.base.paths import Inside, create_private_directory, open_private, sync_directory, write_atomically
from engine.runs.run import Intent
from engine.spec.estimate import Estimate
from engine.spec.run import RunSpec, decode_spec, encode_spec


class ExitReason(StrEnum):
    """How a worker ended by itself; one that left no record was killed."""

    SUCCEEDED = "succeeded"
    DIVERGED = "diverged"
    FAILED = "failed"
    STOPPED_EARLY = "stopped-early"
    """By the rule in its spec, behind a checkpoint."""
    STOPPED = "stopped"
    """It was asked to, and saved a checkpoint first."""
    DISK = "disk"
    """The disk was full, or its directory may not be written any more; what it had saved before still is."""
    CRASHED = "crashed"
    """Its device failed under it: to be gone on with by another worker, like one that was killed."""

    @property
    def is_final(self) -> bool:
        """Whether the run has ended too, and not only its worker."""
        return self not in (ExitReason.STOPPED, ExitReason.DISK, ExitReason.CRASHED)


class ExitRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The content of exit.json, the last thing that a worker writes."""

    reason: ExitReason
    step: int
    at: float
    error: str | None = None
    """Why it did not succeed, for a person; None where it did, and where it was asked to stop."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """Where the engine has sent a run's newest worker."""

    device: str
    """`cuda:N` or `cpu`, as the engine counted then."""
    visible: str
    """Which GPU that was, for an engine that counts otherwise; empty is the CPU."""
    at: float
    """For display."""
    journal_bytes: int = 0
    """How long its journal was then: what a worker says of its device behind that is newer, whatever clocks say."""
    boot: str | None = None
    """Which start of the machine that was; None where the kernel does not tell."""


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """The content of labels.json: what may change about a run; written by the engine alone."""

    name: str
    experiment: str
    position: int
    """Order of submission."""
    place: float | None = None
    """Order in the queue; None is that of submission."""
    held: bool = False
    """Whether it is not to be started until it is released."""
    assigned: Assignment | None = None
    """Where its newest worker was sent; None before the first, and where somebody else started it."""
    created_at: float
    intent: Intent = Intent.RUN
    tags: tuple[str, ...] = ()
    notes: str = ""
    starred: bool = False
    deleted_at: float | None = None
    estimate: Estimate | None = None
    """What the run was expected to take when it was queued; None where there was nothing to go by."""
    taken_seconds: float | None = None
    """What it took, checkpoints included; None until it has succeeded."""

    @property
    def queue_place(self) -> float:
        """Order in the queue."""
        return float(self.position) if self.place is None else self.place


class DamagedRunDirectory(DepthscopeError):
    """A run directory lacks what makes it one."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths and small files of one run."""

    path: Path

    spec_file = Inside("spec.json")
    journal = Inside("journal.jsonl")
    checkpoint = Inside("checkpoint.pt")
    previous_checkpoint = Inside("checkpoint.prev.pt")
    weights = Inside("weights.pt")
    exit_file = Inside("exit.json")
    labels_file = Inside("labels.json")
    log = Inside("worker.log")
    lock_file = Inside("run.lock")

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def id(self) -> str:
        return self.path.name

    def create(self, spec: RunSpec, labels: Labels) -> None:
        """Make the directory; one that exists with the same spec is left as it is, so doing it twice does it once."""
        create_private_directory(self.path)
        if not self.spec_file.exists():
            write_atomically(self.labels_file, msgspec.json.encode(labels))
            # Last: a directory without it is no run yet.
            write_atomically(self.spec_file, encode_spec(spec))
        sync_directory(self.path.parent)

    def read_spec(self) -> RunSpec:
        """What was asked.

        Raises:
            DamagedRunDirectory: spec.json is missing.
            UsageError: it holds no spec.
        """
        try:
            return decode_spec(self.spec_file.read_bytes())
        except FileNotFoundError as error:
            raise DamagedRunDirectory(f"{self.path} is no run directory: spec.json is missing") from error

    def spec_digest(self) -> str:
        """SHA-256 of spec.json in hexadecimal; a checkpoint carries it to be told from another run's.

        Of the bytes, not of what they mean: a later depthscope that knows more fields goes on with the run.
        """
        return hashlib.sha256(self.spec_file.read_bytes()).hexdigest()

    def read_labels(self) -> Labels:
        """Name, experiment and the rest; the id serves as name where the file is missing or damaged."""
        try:
            return msgspec.json.decode(self.labels_file.read_bytes(), type=Labels)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return Labels(name=self.id, experiment="recovered", position=0, created_at=self.path.stat().st_mtime)

    def write_labels(self, labels: Labels) -> None:
        write_atomically(self.labels_file, msgspec.json.encode(labels))

    def read_exit(self) -> ExitRecord | None:
        """How the worker ended by itself; None while it lives, or where it was killed."""
        try:
            return msgspec.json.decode(self.exit_file.read_bytes(), type=ExitRecord)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def write_exit(self, reason: ExitReason, *, step: int, error: str | None = None) -> None:
        record = ExitRecord(reason=reason, step=step, at=time.time(), error=error)
        write_atomically(self.exit_file, msgspec.json.encode(record))

    def clear_exit(self) -> None:
        """Forget how the last worker ended, before the next one starts."""
        self.exit_file.unlink(missing_ok=True)

    def open_lock(self) -> int:
        """A descriptor of run.lock, made where there is none."""
        return open_private(self.lock_file, os.O_RDWR | os.O_CREAT)

    def is_locked(self) -> bool:
        """Whether a worker holds this run: the only sign of life that counts."""
        return is_held(self.lock_file)

    def log_tail(self, *, num_lines: int = 20, num_bytes: int = 16_384) -> str:
        """The last lines that the worker wrote to standard error."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - num_bytes))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-num_lines:])
