"""Room that a home takes on disk, by kind, and which checkpoints are no longer needed."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from enum import StrEnum
from pathlib import Path

from engine.base.paths import Home
from engine.runs.directory import ExitReason, RunDirectory

BLOCK_BYTES = 512
"""Unit of `st_blocks`, whatever the file system's block size."""


class Kind(StrEnum):
    """What takes room in a home."""

    DATASETS = "datasets"
    CHECKPOINTS = "checkpoints"
    WEIGHTS = "weights"
    JOURNALS = "journals and logs"
    DATABASE = "database"
    HIDDEN = "hidden runs"
    OTHER = "other"


def is_checkpoint(name: str) -> bool:
    """Whether a file of a run directory is a checkpoint: either generation, a damaged or an unfinished one."""
    return name.startswith(("checkpoint.", ".checkpoint."))


def files_below(path: Path) -> Iterator[os.DirEntry[str]]:
    """Yield every regular file below a directory, following no links; what cannot be read counts as empty."""
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from files_below(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield entry


def measure(home: Home, hidden: Collection[str]) -> dict[Kind, int]:
    """Bytes on disk of everything in a home by kind.

    Args:
        hidden: Ids of the hidden runs.
    """
    found: Counter[Kind] = Counter()
    counted: set[tuple[int, int]] = set()
    for entry in files_below(home.root):
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            # Both generations of a checkpoint are the same file for a moment.
            if (status.st_dev, status.st_ino) not in counted:
                counted.add((status.st_dev, status.st_ino))
                kind = kind_of(Path(entry.path).relative_to(home.root).parts, hidden)
                found[kind] += status.st_blocks * BLOCK_BYTES
    return {kind: found[kind] for kind in Kind}


def kind_of(parts: tuple[str, ...], hidden: Collection[str]) -> Kind:
    """Kind of a file from the parts of its path within the home."""
    match parts:
        case ("data", *_):
            return Kind.DATASETS
        case ("runs", run, *_) if run in hidden:
            return Kind.HIDDEN
        case ("runs", _, name):
            if is_checkpoint(name):
                return Kind.CHECKPOINTS
            return Kind.WEIGHTS if name == "weights.pt" else Kind.JOURNALS
        case (name,) if name.startswith("depthscope.db"):
            return Kind.DATABASE
        case _:
            return Kind.OTHER


def bytes_below(path: Path) -> int:
    """Bytes on disk of all files below a directory."""
    return sum(bytes_of(Path(entry.path)) for entry in files_below(path))


def bytes_of(path: Path) -> int:
    """Bytes on disk of a file; 0 without one."""
    try:
        return path.lstat().st_blocks * BLOCK_BYTES
    except OSError:
        return 0


def spent_checkpoints(directory: RunDirectory) -> list[Path]:
    """Checkpoints that nothing needs any more: those of a run that has succeeded and has its final weights."""
    with contextlib.suppress(OSError):
        record = directory.read_exit()
        if record is None or record.reason is not ExitReason.SUCCEEDED:
            return []
        if stat.S_ISREG(directory.weights.lstat().st_mode):
            return [Path(entry.path) for entry in files_below(directory.path) if is_checkpoint(entry.name)]
    return []


def delete_spent_checkpoints(directory: RunDirectory) -> None:
    """Delete the checkpoints that nothing needs any more; without a worker only.

    Raises:
        OSError: one cannot be deleted.
    """
    for path in spent_checkpoints(directory):
        path.unlink(missing_ok=True)
