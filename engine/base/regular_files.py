"""Regular files of a home, opened so that no directory, link, FIFO, device or huge file can stop a reader."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from engine.base.errors import UsageError
from engine.base.units import byte_size

SMALL_FILE_BYTES = 1 << 20
"""Size limit of files with a few facts: a spec, labels, an exit record, settings."""
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class OddFile(UsageError, OSError):
    """Something else than a regular file of a plausible size, in place of a file of a home.

    Args:
        path: The file.
        cause: What it is, such as "is a directory".
    """

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"{path} {cause}: restore the file or move it away")
        self.path = path
        self.cause = cause
        self.filename = str(path)
        self.strerror = cause

    def __str__(self) -> str:
        return str(self.args[0])


def open_regular(path: Path, flags: int = os.O_RDONLY, *, dir_fd: int | None = None, follow: bool = False) -> int:
    """Open a regular file without waiting, creating it with mode 0600 if the flags say so; return its descriptor.

    Args:
        path: The file, relative to `dir_fd` if that is given.
        follow: Whether a symbolic link in place of the file is followed.

    Raises:
        OddFile: the path is not a regular file.
        OSError: the file does not exist or cannot be opened.
    """
    flags |= os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags, 0o600, dir_fd=dir_fd)
    except OSError as error:
        try:
            found = os.stat(path, dir_fd=dir_fd, follow_symlinks=follow)
        except OSError:
            raise error from None
        check_regular(path, found)
        raise
    try:
        check_regular(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_regular(path: Path, found: os.stat_result, *, limit: int | None = None) -> None:
    """Check the kind of a file, and its size if there is a limit.

    Raises:
        OddFile: it is not a regular file, or is larger.
    """
    if not stat.S_ISREG(found.st_mode):
        raise OddFile(path, f"is {KINDS.get(stat.S_IFMT(found.st_mode), 'something else')}, not a file")
    if limit is not None and found.st_size > limit:
        raise OddFile(path, f"has {byte_size(found.st_size)}, at most {byte_size(limit)} are expected")


def reading_regular(path: Path, *, limit: int | None = None, dir_fd: int | None = None) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        limit: Most bytes it may have; None for any size.

    Raises:
        OddFile: the path is not a regular file, or is larger.
        OSError: the file does not exist or cannot be opened.
    """
    file = os.fdopen(open_regular(path, dir_fd=dir_fd), "rb")
    try:
        check_regular(path, os.fstat(file.fileno()), limit=limit)
    except BaseException:
        file.close()
        raise
    return file


def read_regular(
    path: Path, *, limit: int = SMALL_FILE_BYTES, dir_fd: int | None = None, follow: bool = False
) -> bytes:
    """Read a whole regular file.

    Raises:
        OddFile: the path is not a regular file, or has more bytes than the limit.
        OSError: the file does not exist or cannot be read.
    """
    with os.fdopen(open_regular(path, dir_fd=dir_fd, follow=follow), "rb") as file:
        check_regular(path, os.fstat(file.fileno()), limit=limit)
        content = file.read(limit + 1)
        # A file may grow while it is read.
        if len(content) > limit:
            raise OddFile(path, f"grows beyond {byte_size(limit)}, the most that are expected")
    return content


def read_end(path: Path, *, num_bytes: int = SMALL_FILE_BYTES) -> str:
    """Read the end of a text file such as a log, of any size.

    Raises:
        OddFile: the path is not a regular file.
        OSError: the file does not exist or cannot be read.
    """
    with reading_regular(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - num_bytes))
        return file.read(num_bytes).decode("utf-8", "replace")
