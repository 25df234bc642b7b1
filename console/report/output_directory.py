"""Write an output directory atomically, and rewrite it without touching files of other origin.

A hidden file lists the files written and their checksums, so that a rewrite can tell its own files from those that
someone else added or changed.
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
from engine.base.decoding import decode_json
from engine.base.errors import DepthscopeError, UsageError
from engine.base.regular_files import OddFile, read_regular, reading_regular

MARKER = ".depthscope.json"
BROKEN_OR_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Errors that another directory would not avoid."""
STAGING_PREFIX = ".depthscope-new-"


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of the hidden file."""

    kind: str
    """Kind of contents, such as `report`."""
    of: str
    """Subject of the contents, such as an experiment's name."""
    files: dict[str, tuple[str, ...]]
    """SHA-256 by path; two while a file is being replaced."""


class OutputNotWritten(DepthscopeError):
    """The disk is full or failing; the directory's earlier contents are intact."""


def fill_directory(path: Path, *, kind: str, of: str, write: Callable[[Path], None]) -> list[str]:
    """Write a directory, or replace what an earlier call wrote.

    Args:
        path: Directory; created with its parents if missing.
        kind: Kind of contents.
        of: Subject of the contents; those of another subject are not replaced.
        write: Writes every file into the staging directory it is passed, which is then moved into place.

    Returns:
        Files written, relative to the directory.

    Raises:
        UsageError: the path is a file, cannot be written, or holds foreign or changed files.
        OutputNotWritten: the disk is full or failing.
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
        raise UsageError(
            f"{shown} is being written by another depthscope process: try again when it has finished"
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{shown} is not a directory: choose another") from error
    except OSError as error:
        if error.errno in BROKEN_OR_FULL:
            raise OutputNotWritten(f"{shown} could not be written: {error.strerror}") from error
        raise UsageError(f"{shown} cannot be written ({error.strerror}): choose another directory") from error
    finally:
        if made and path.is_dir() and not any(path.iterdir()):
            path.rmdir()


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Lock the directory against other writers."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _check_ours(path: Path, kind: str, of: str) -> Marker:
    """Read the marker of the last writing, refuse foreign files and remove leftovers of a killed writer.

    Raises:
        UsageError: the directory holds foreign or changed files.
    """
    shown = clean(str(path))
    for leftover in path.glob(f"{STAGING_PREFIX}*"):
        shutil.rmtree(leftover)
    found = sorted(str(one.relative_to(path)) for one in path.rglob("*") if not one.is_dir() or one.is_symlink())
    try:
        marker = decode_json(read_regular(path / MARKER), Marker)
    except FileNotFoundError:
        if found:
            raise UsageError(
                f"{shown} holds files not written by depthscope, such as {clean(found[0])}:"
                " choose an empty or new directory"
            ) from None
        return Marker(kind=kind, of=of, files={})
    except (OddFile, msgspec.DecodeError) as error:
        raise UsageError(f"{shown}: {MARKER} is damaged: choose another directory") from error
    if (marker.kind, marker.of) != (kind, of):
        raise UsageError(f"{shown} holds the {clean(marker.kind)} of {clean(marker.of)}: choose another directory")
    for name in found:
        if name != MARKER and name not in marker.files:
            raise UsageError(f"{shown} holds {clean(name)}, not written by depthscope: choose another directory")
        if name != MARKER and _checksum(path / name) not in marker.files[name]:
            raise UsageError(
                f"{shown}: {clean(name)} has changed since it was written: move it away or choose another directory"
            )
    return marker


def _put_in_place(staging: Path, path: Path, marker: Marker, before: Marker) -> list[str]:
    """Move every file into place and remove obsolete ones of the last writing.

    Meanwhile the marker lists old and new checksums, so that after a crash the next writer recognises both.
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
    with reading_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
