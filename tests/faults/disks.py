"""Small file systems in memory, and filling them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(disk: Path, size_mib: int) -> Iterator[Path]:
    """Mount a file system of a size; skip the test where that is not allowed."""
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        # Lazily, because an exiting process may still have its log open.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, *, left_bytes: int = 0, name: str = "filler") -> Path:
    """Fill the disk except for some bytes; return the files to delete to free it again."""
    filler = disk / name
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            pass
        # The remainder below a megabyte.
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(max(0, file.tell() - left_bytes))
    return filler
