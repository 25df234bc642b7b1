"""Facts from the operating system: boot id, owner of a socket's peer, limit on open files."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import sys
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str | None:
    """Return Linux's id of the current boot; None on other systems."""
    try:
        return BOOT_ID.read_text().strip() or None
    except OSError:
        return None


def is_another_boot(boot: str | None) -> bool:
    """Return whether a recorded boot id is from an earlier boot; False if either id is unknown."""
    now = boot_id()
    return boot is not None and now is not None and boot != now


LOCAL_PEERCRED = 1
"""From macOS's sys/un.h; the structure begins with a version and the effective uid, four bytes each."""


def peer_uid(connection: socket.socket) -> int:
    """Return the effective uid of the process at the other end of a Unix socket."""
    if sys.platform == "darwin":
        credentials = connection.getsockopt(0, LOCAL_PEERCRED, 76)
        _version, uid = struct.unpack_from("2I", credentials)
    else:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _pid, uid, _gid = struct.unpack("3i", credentials)
    return int(uid)


WANTED_DESCRIPTORS = 8192
OWN_DESCRIPTORS = 512
"""Reserved, at most half of the limit, for the index, journals, locks, logs and pipes of child processes."""


def max_clients() -> int:
    """Return how many clients may connect at a time without exhausting the descriptors the engine itself needs."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    num = WANTED_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, WANTED_DESCRIPTORS)
    return num - min(OWN_DESCRIPTORS, num // 2)


def raise_descriptor_limit() -> None:
    """Raise the limit on open files towards WANTED_DESCRIPTORS, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
