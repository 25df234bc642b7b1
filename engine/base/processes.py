"""Identity of processes and files: a pid alone may belong to another process, a name to another file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil


def start_time(pid: int) -> int | None:
    """Return when a process started; None if there is none of that pid, or if it has ended and was not reaped yet.

    In clock ticks since boot on Linux, whose value no change of the clock affects; elsewhere in hundredths of a second
    since 1970. Only compare values of the same boot.
    """
    if sys.platform != "linux":
        try:
            return int(100 * psutil.Process(pid).create_time())
        except psutil.Error:
            return None
    try:
        content = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The command's name, in brackets, may contain spaces and brackets. Fields are numbered as in proc(5).
    fields = content[content.rfind(b")") + 1 :].split()
    state, ticks = fields[3 - 3], fields[22 - 3]
    return None if state in (b"Z", b"X") else int(ticks)


def file_identity(status: os.stat_result) -> str:
    """Return device and inode of a file, `DEVICE:INODE`; both may exceed 63 bits."""
    return f"{status.st_dev}:{status.st_ino}"


def has_open(pid: int, file: str) -> bool:
    """Return whether a process has a descriptor of a file, given as by `file_identity`; True where that is unknown."""
    if sys.platform != "linux":
        return True
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    for path in descriptors:
        try:
            status = path.stat()
        except OSError:
            # Closed meanwhile, or it has no file.
            continue
        if file_identity(status) == file:
            return True
    return False


def works_in(pid: int, directory: Path) -> bool:
    """Return whether a process has a directory as its working directory, wherever it was moved; True if unknown."""
    if sys.platform != "linux":
        return True
    try:
        return Path(f"/proc/{pid}/cwd").samefile(directory)
    except PermissionError:
        return True
    except OSError:
        return False
