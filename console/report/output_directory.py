"""A directory that depthscope fills, and may fill again: whole or not at all, and never over others' files.

A hidden file in it lists what was written there and the checksums, so that a second writing knows its own files from
those that somebody else put there or changed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from console.text.formatting import clean
from engine.base.errors import DepthscopeError, UsageError

MARKER = ".depthscope.json"
BROKEN_OR_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What another directory would not help against."""
STAGING_PREFIX = ".depthscope-new-"


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the hidden file."""

    kind: str
    """What fills the directory, such as `report`."""
    of: str
    """Whose it is, such as an experiment's name."""
    files: dict[str, tuple[str, ...]]
    """SHA-256 by path; two of them while one is being replaced by the other."""


class OutputNotWritten(DepthscopeError):
    """The disk is full or broken; what stood in the directory still does."""


def fill_directory(path: Path, *, kind: str, of: str, write: Callable[[Path], None]) -> list[str]:
    """Write a directory, or replace what was written into it before.

    Args:
        path: The directory; made, with its parents, where there is none.
        kind: What fills it.
        of: Whose it is: what was written for another is not replaced.
        write: Writes every file under the directory that it is given, which is put in place when it returns.

    Returns:
        The files that were written, relative to the directory.

    Raises:
        UsageError: the path is a file, cannot be written, holds files of somebody else, or such that were changed
            since they were written.
        OutputNotWritten: the disk took no more.
    """
    shown = clean(str(path))
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with _held(path):
            before = _check_ours(path, kind, of)
            staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=path))
            try:
                write(staging)
                return _put_in_place(staging, path, Marker(kind=kind, of=of, files={}), before)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except BlockingIOError as error:
        raise UsageError(f"{shown} is being written by another depthscope: wait for it") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{shown} is no directory: choose another") from error
    except OSError as error:
        if error.errno in BROKEN_OR_FULL:
            raise OutputNotWritten(f"{shown} could not be written: {error.strerror}") from error
        raise UsageError(f"{shown} cannot be written ({error.strerror}): choose another directory") from error
    finally:
        if made and path.is_dir() and not any(path.iterdir()):
            path.rmdir()


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Nobody else writes the directory meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _check_ours(path: Path, kind: str, of: str) -> Marker:
    """What was written here before, with everything else refused; leftovers of a writer that died are cleared away.

    Raises:
        UsageError: something else is in the directory.
    """
    shown = clean(str(path))
    for leftover in path.glob(f"{STAGING_PREFIX}*"):
        shutil.rmtree(leftover)
    found = sorted(str(one.relative_to(path)) for one in path.rglob("*") if not one.is_dir() or one.is_symlink())
    try:
        marker = msgspec.json.decode((path / MARKER).read_bytes(), type=Marker)
    except FileNotFoundError:
        if found:
            raise UsageError(
                f"{shown} holds files that depthscope did not write, such as {clean(found[0])}:"
                " choose an empty or a new directory"
            ) from None
        return Marker(kind=kind, of=of, files={})
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{shown}: {MARKER} is damaged: choose another directory") from error
    if (marker.kind, marker.of) != (kind, of):
        raise UsageError(f"{shown} holds the {clean(marker.kind)} of {clean(marker.of)}: choose another directory")
    for name in found:
        if name != MARKER and name not in marker.files:
            raise UsageError(f"{shown} holds {clean(name)}, which depthscope did not write: choose another directory")
        if name != MARKER and _checksum(path / name) not in marker.files[name]:
            raise UsageError(
                f"{shown}: {clean(name)} was changed since it was written: move it away, or choose another directory"
            )
    return marker


def _put_in_place(staging: Path, path: Path, marker: Marker, before: Marker) -> list[str]:
    """Rename every file to where it belongs, and remove those of the last writing that are no more.

    The marker knows the old and the new content while both may stand there, so that a writer that dies in between
    leaves a directory which the next one takes for its own.
    """
    new = {str(one.relative_to(staging)): (_checksum(one),) for one in sorted(staging.rglob("*")) if not one.is_dir()}
    both = {name: (*before.files.get(name, ()), *new.get(name, ())) for name in {**before.files, **new}}
    _write_marker(staging, path, msgspec.structs.replace(marker, files=both))
    for name in new:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).rename(path / name)
    for name in before.files.keys() - new.keys():
        (path / name).unlink(missing_ok=True)
        if (path / name).parent != path and not any((path / name).parent.iterdir()):
            (path / name).parent.rmdir()
    _write_marker(staging, path, msgspec.structs.replace(marker, files=new))
    return list(new)


def _write_marker(staging: Path, path: Path, marker: Marker) -> None:
    temporary = staging / MARKER
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(marker), indent=1) + b"\n")
    temporary.rename(path / MARKER)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
