"""A run directory from another machine, on its way into this home: looked at, then copied beside the runs here.

Nothing of the original is changed. The copy is made under a name of its own, readable by its owner alone; the engine
moves it among the runs in one step, so that a run is here whole or not at all.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.base.errors import DepthscopeError, UsageError
from engine.base.locks import hold, lock
from engine.base.paths import Home, create_private_directory, open_private, sync_directory
from engine.runs.directory import ExitReason, ExitRecord, Labels, RunDirectory
from engine.runs.journal import Epoch, read_on

RUN_ID = re.compile(r"[0-9a-f]{10}")
COPIED = (
    "spec.json", "labels.json", "journal.jsonl", "exit.json", "worker.log",
    "weights.pt", "checkpoint.pt", "checkpoint.prev.pt",
)  # fmt: skip
"""Files of a run; what else lies there, such as a lock, belongs to the machine where it ran."""
CONTENT = tuple(name for name in COPIED if name not in ("labels.json", "worker.log"))
"""What makes a run the same run; the rest may change where it is kept."""
COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Incoming:
    """A run that was looked at and found whole."""

    source: Path
    files: tuple[str, ...]
    is_finished: bool
    """Whether it came to an end of its own, rather than being copied on its way."""

    @property
    def id(self) -> str:
        return self.source.name


def look_at(path: Path) -> Incoming:
    """Check that a directory holds one whole run.

    Raises:
        UsageError: it does not; the text says what is wrong with which file.
    """
    directory = RunDirectory(path.absolute())
    try:
        if not stat.S_ISDIR(directory.path.lstat().st_mode):
            raise UsageError(f"{path} is no directory: name a run's own, such as runs/0123456789")
        found = {entry.name: entry.stat(follow_symlinks=False).st_mode for entry in os.scandir(directory.path)}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if not RUN_ID.fullmatch(directory.id):
        raise UsageError(f"{path} is not called as a run directory is, by ten hexadecimal digits: copy it by its name")
    for name, mode in found.items():
        if not stat.S_ISREG(mode):
            kind = "a link" if stat.S_ISLNK(mode) else "no plain file"
            raise UsageError(f"{path / name} is {kind}, which no run directory holds: copy the run's own files")
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
        raise UsageError(f"{path} is damaged: it says that it succeeded, and its journal has no epoch")
    files = tuple(name for name in COPIED if name in found)
    return Incoming(directory.path, files, record is not None and record.reason.is_final)


def decode(path: Path, kind: type[Labels] | type[ExitRecord]) -> None:
    """Read a small file whole.

    Raises:
        UsageError: it is damaged.
    """
    try:
        msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error


def check_journal(directory: RunDirectory) -> int:
    """Read a journal to its end and count its epochs; a torn last line is what a killed worker leaves.

    Raises:
        UsageError: a complete line in it is no event.
    """
    num_epochs = 0
    for reading in read_on(directory.journal):
        for line in reading.garbage:
            raise UsageError(f"{directory.path} is damaged: {line}")
        num_epochs += sum(isinstance(event, Epoch) for event in reading.events)
    return num_epochs


def is_here(incoming: Incoming, home: Home) -> bool:
    """Whether the same run is in the home already.

    Raises:
        UsageError: another one, or another state of it, has its id there.
    """
    here = home.runs / incoming.id
    if not here.exists():
        return False
    for name in CONTENT:
        ours, theirs = here / name, incoming.source / name
        if ours.exists() != theirs.exists() or (ours.exists() and not filecmp.cmp(ours, theirs, shallow=False)):
            raise UsageError(f"{incoming.id} is here already, and its {name} differs from that in {incoming.source}")
    return True


@contextmanager
def staged(home: Home, runs: Sequence[Incoming], token: str, report: Callable[[str], None]) -> Iterator[None]:
    """Copy runs beside those of a home while nobody else does; what the engine has not taken is removed at the end.

    Args:
        home: Where they go.
        runs: All of them, looked at.
        token: Names this import.
        report: Is told which run is copied.

    Raises:
        UsageError: a worker holds a run, or another import is under way.
        OSError: a file cannot be read or written.
    """
    with ExitStack() as stack:
        descriptor = open_private(home.incoming_lock, os.O_RDWR | os.O_CREAT)
        stack.callback(os.close, descriptor)
        if not hold(descriptor, patience_seconds=1.0):
            raise UsageError("another `depthscope import` is under way in this home: wait for it")
        # Of an import that was killed: whoever holds the lock is the only one.
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
    """Keep workers from a run while it is copied.

    Raises:
        UsageError: one is at work.
    """
    try:
        descriptor = os.open(run.source / "run.lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
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
    """Copy a plain file, durable, following no link."""
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(reading, "rb") as original, os.fdopen(open_private(target, os.O_WRONLY | os.O_CREAT), "wb") as copy:
        shutil.copyfileobj(original, copy, COPY_BYTES)
        copy.flush()
        os.fsync(copy.fileno())
