"""Where the engine's socket lies: in the home, however long its path is.

A socket's address holds about a hundred bytes. On Linux a longer path is reached through a descriptor of the directory;
on systems without /proc the socket lies in a private temporary directory, and engine.lock says where.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from engine.base.paths import Home, short_runtime_directory
from engine.base.regular_files import OddFile
from engine.control.engine_lock import read_holder

MAX_ADDRESS_BYTES = 100
"""sun_path holds 108 bytes on Linux and 104 on macOS, including the terminating zero."""
DESCRIPTORS = Path("/proc/self/fd")
BACKLOG = 1024
"""Length of the queue of clients waiting to be accepted."""


def is_short(path: Path) -> bool:
    return len(os.fsencode(path)) <= MAX_ADDRESS_BYTES


def place_to_listen(home: Home) -> Path:
    """Return where the engine of a home makes its socket."""
    if is_short(home.engine_socket) or DESCRIPTORS.is_dir():
        return home.engine_socket
    key = hashlib.sha256(os.fsencode(home.root)).hexdigest()[:16]
    return short_runtime_directory() / f"{key}.sock"


def open_parent(path: Path) -> int:
    return os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def address_in(directory: int, path: Path) -> str:
    """Return a short address of a socket in an open directory."""
    return str(DESCRIPTORS / str(directory) / path.name)


@contextlib.contextmanager
def address_to_connect(path: Path) -> Iterator[str]:
    """Return the address of a home's socket, valid while the context is open.

    Raises:
        FileNotFoundError: there is no such home, or no engine says where its socket is.
    """
    if is_short(path):
        yield str(path)
    elif DESCRIPTORS.is_dir():
        directory = open_parent(path)
        try:
            yield address_in(directory, path)
        finally:
            os.close(directory)
    else:
        elsewhere = read_holder(Home(path.parent)).socket
        if elsewhere is None:
            raise FileNotFoundError(path)
        yield elsewhere


def listen(path: Path) -> socket.socket:
    """Open a listening unix socket, mode 0600 from the start, replacing an old one, which engine.lock allows."""
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError) as error:
        if not path.is_dir():
            raise
        raise OddFile(path, "is a directory, not a socket") from error
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # That descriptor stays open: asyncio looks at the address again.
    address = str(path) if is_short(path) else address_in(open_parent(path), path)
    previous = os.umask(0o177)
    try:
        listening.bind(address)
    finally:
        os.umask(previous)
    listening.listen(BACKLOG)
    return listening
