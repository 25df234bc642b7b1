"""Transfer of run directories from another machine into this home: checked, then copied to a staging directory.

The original is not changed. The copy is readable by its owner only; the engine renames it into place, so that a run is
either completely here or not at all.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.base.decoding import decode_json
from engine.base.errors import DepthscopeError, UsageError
from engine.base.locks import hold, lock
from engine.base.paths import Home, create_private_directory, open_private, sync_directory
from engine.base.regular_files import open_regular, read_regular
from engine.runs.directory import ExitReason, ExitRecord, Labels, RunDirectory
from engine.runs.identity import RUN_ID
from engine.runs.journal import Epoch, read_on

COPIED = (
    "spec.json", "labels.json", "journal.jsonl", "exit.json", "worker.log",
    "weights.pt", "checkpoint.pt", "checkpoint.prev.pt",
)  # fmt: skip
"""Files of a run to copy; others, such as the lock, belong to the machine it ran on."""
CONTENT = tuple(name for name in COPIED if name not in ("labels.json", "worker.log"))
"""Files that must be equal for two copies to be the same run; the others may change."""
CHECKPOINTS = ("checkpoint.pt", "checkpoint.prev.pt")
"""Files that a copy of a succeeded run may lack: they are deleted once it has its weights."""
COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Incoming:
    """A run that was checked and is complete."""

    source: Path
    files: tuple[str, ...]
    is_finished: bool
    """Whether the run has finished, rather than being copied in the middle."""
    succeeded: bool = False

    @property
    def id(self) -> str:
        return self.source.name


def look_at(path: Path) -> Incoming:
    """Check that a directory is one complete run.

    Raises:
        UsageError: it is not; the text says what is wrong with which file.
    """
    directory = RunDirectory(path.absolute())
    try:
        if not stat.S_ISDIR(directory.path.lstat().st_mode):
            raise UsageError(f"{path} is not a directory: give a run directory, such as runs/0123456789")
        found = {entry.name: entry.stat(follow_symlinks=False).st_mode for entry in os.scandir(directory.path)}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if not RUN_ID.fullmatch(directory.id):
        raise UsageError(f"{path} is not named like a run directory, with ten hexadecimal digits: keep its name")
    for name, mode in found.items():
        if not stat.S_ISREG(mode):
            kind = "a link" if stat.S_ISLNK(mode) else "not a regular file"
            raise UsageError(f"{path / name} is {kind}, which a run directory cannot contain: copy the actual files")
    try:
        directory.read_spec()
        if "labels.json" in found:
            decode(directory.labels_file, Labels)
        if "exit.json" in found:
            decode(directory.exit_file, ExitRecord)
        num_epochs = check_journal(directory)
    except OSError as error:
        raise UsageError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    except UsageError:
        raise
    except DepthscopeError as error:
        raise UsageError(str(error)) from error
    record = directory.read_exit()
    if record is not None and record.reason is ExitReason.SUCCEEDED and not num_epochs:
        raise UsageError(f"{path} is damaged: it succeeded, but its journal has no epoch")
    files = tuple(name for name in COPIED if name in found)
    return Incoming(
        directory.path,
        files,
        is_finished=record is not None and record.reason.is_final,
        succeeded=record is not None and record.reason is ExitReason.SUCCEEDED,
    )


def decode(path: Path, kind: type[Labels] | type[ExitRecord]) -> None:
    """Check that a small file can be decoded.

    Raises:
        UsageError: the file is damaged.
    """
    try:
        decode_json(read_regular(path), kind)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} is damaged: {error}") from error


def check_journal(directory: RunDirectory) -> int:
    """Check a journal and count its epochs; a torn last line is normal after a kill.

    Raises:
        UsageError: a complete line is not a valid event.
    """
    num_epochs = 0
    for reading in read_on(directory.journal):
        for line in reading.garbage:
            raise UsageError(f"{directory.path} is damaged: {line}")
        num_epochs += sum(isinstance(event, Epoch) for event in reading.events)
    return num_epochs


def is_here(incoming: Incoming, home: Home) -> bool:
    """Whether the home already has the same run.

    Raises:
        UsageError: the home has another run or another state with this id.
    """
    here = home.runs / incoming.id
    if not here.exists():
        return False
    for name in CONTENT:
        ours, theirs = here / name, incoming.source / name
        if incoming.succeeded and name in CHECKPOINTS and not (ours.exists() and theirs.exists()):
            continue
        if ours.exists() != theirs.exists() or (ours.exists() and not filecmp.cmp(ours, theirs, shallow=False)):
            raise UsageError(f"{incoming.id} already exists here, but its {name} differs from {incoming.source / name}")
    return True


@contextmanager
def staged(home: Home, runs: Sequence[Incoming], token: str, report: Callable[[str], None]) -> Iterator[None]:
    """Copy runs to the staging directory, exclusively; at the end, remove what the engine has not taken.

    Raises:
        UsageError: a worker holds a run, or another import is in progress.
        OSError: a file cannot be read or written.
    """
    with ExitStack() as stack:
        descriptor = open_private(home.incoming_lock, os.O_RDWR | os.O_CREAT)
        stack.callback(os.close, descriptor)
        if not hold(descriptor, patience_seconds=1.0):
            raise UsageError("another `depthscope import` into this home is in progress: wait for it")
        # Left by a killed import: holding the lock, we are the only one.
        shutil.rmtree(home.incoming, ignore_errors=True)
        stack.callback(shutil.rmtree, home.incoming, ignore_errors=True)
        create_private_directory(home.incoming)
        create_private_directory(home.incoming / token)
        for run in runs:
            stack.enter_context(unchanging(run))
        for run in runs:
            report(f"copying {run.id}")
            target = home.incoming / token / run.id
            create_private_directory(target)
            for name in run.files:
                copy_file(run.source / name, target / name)
            sync_directory(target)
        yield


@contextmanager
def unchanging(run: Incoming) -> Iterator[None]:
    """Lock a run against workers while it is copied.

    Raises:
        UsageError: a worker is training it.
    """
    try:
        descriptor = open_regular(run.source / "run.lock")
    except FileNotFoundError:
        yield
        return
    try:
        if not lock(descriptor, patience_seconds=0, shared=True):
            raise UsageError(f"{run.source} is being trained: pause or stop it first")
        yield
    finally:
        os.close(descriptor)


def copy_file(source: Path, target: Path) -> None:
    """Copy a regular file durably, without following links."""
    reading = open_regular(source)
    with os.fdopen(reading, "rb") as original, os.fdopen(open_private(target, os.O_WRONLY | os.O_CREAT), "wb") as copy:
        shutil.copyfileobj(original, copy, COPY_BYTES)
        copy.flush()
        os.fsync(copy.fileno())
