"""Transfer of run directories from another machine into this home: checked, then copied to a staging directory.

The original is not changed. The copy is readable by its owner only; the engine renames it into place, so that a run is
either completely here or not at all.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.base.errors import UsageError
from engine.base.locks import hold, lock
from engine.base.paths import Home, create_private_directory, open_private, sync_directory
from engine.base.regular_files import open_regular, reading_regular
from engine.runs.directory import RunDirectory
from engine.runs.identity import RUN_ID
from engine.runs.verification import Verified, size_limit, verify

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
    id: str
    """Id it gets here: its own, or a new one for a copy under another name."""
    files: tuple[str, ...]
    sizes: dict[str, int]
    """Most bytes of each file."""
    succeeded: bool


def look_at(path: Path, known: Collection[str] = ()) -> Incoming:
    """Check that a directory is one complete run.

    Args:
        known: Ids of the runs that are here.

    Raises:
        UsageError: it is not; the text says what is wrong with which file.
    """
    directory = RunDirectory(path.absolute())
    found = verify(directory)
    files = tuple(name for name in COPIED if name in found.names)
    limits = {name: size_limit(name, found.identity.spec) for name in files}
    return Incoming(directory.path, id_for(directory.id, found, known), files, limits, found.succeeded)


def look_at_all(paths: Iterable[Path], known: Collection[str]) -> dict[str, Incoming]:
    """Check several directories; return them by the ids they get here.

    Raises:
        UsageError: one is not a complete run, or two would get the same id.
    """
    found: dict[str, Incoming] = {}
    for path in dict.fromkeys(path.absolute() for path in paths):
        run = look_at(path, {*known, *found})
        if run.id in found:
            raise UsageError(f"{found[run.id].source} and {path} are the same run: import one of them")
        found[run.id] = run
    return found


def id_for(name: str, found: Verified, known: Collection[str]) -> str:
    """Return the id of a run here: the name of its directory if that is its own, otherwise its origin if that is free.

    Otherwise it is a copy and gets another id, the same one whenever it is imported.
    """
    origin = found.identity.origin
    given = None if found.labels is None else found.labels.imported_as
    if RUN_ID.fullmatch(name) and (origin is None or name in (origin, given)):
        return name
    if origin is not None and origin not in known:
        return origin
    return hashlib.sha256(f"{origin}/{name}/{found.identity.digest}".encode(errors="surrogateescape")).hexdigest()[:10]


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
                copy_file(run.source / name, target / name, most_bytes=run.sizes[name])
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


def copy_file(source: Path, target: Path, *, most_bytes: int) -> None:
    """Copy a regular file durably, without following links.

    Raises:
        OddFile: it has more bytes than it can have.
    """
    with (
        reading_regular(source, limit=most_bytes) as original,
        os.fdopen(open_private(target, os.O_WRONLY | os.O_CREAT), "wb") as copy,
    ):
        left = most_bytes
        # It may grow meanwhile.
        while left and (piece := original.read(min(left, COPY_BYTES))):
            copy.write(piece)
            left -= len(piece)
        copy.flush()
        os.fsync(copy.fileno())
