"""What the operating system tells: this boot, who is at the other end of a socket, how many files may be open."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import sys
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str | None:
    """What Linux calls this start of the machine; None where the kernel does not tell."""
    try:
        return BOOT_ID.read_text().strip() or None
    except OSError:
        return None


def is_another_boot(boot: str | None) -> bool:
    """Whether something that noted a boot id belongs to another start of the machine than this one."""
    now = boot_id()
    return boot is not None and now is not None and boot != now


LOCAL_PEERCRED = 1
"""macOS, sys/un.h; the structure begins with a version and the effective uid, four bytes each."""


def peer_uid(connection: socket.socket) -> int:
    """The effective uid of the process that connected, as the kernel knows it."""
    if sys.platform == "darwin":
        credentials = connection.getsockopt(0, LOCAL_PEERCRED, 76)
        _version, uid = struct.unpack_from("2I", credentials)
    else:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _pid, uid, _gid = struct.unpack("3i", credentials)
    return int(uid)


WANTED_DESCRIPTORS = 8192
OWN_DESCRIPTORS = 512
"""Of these, or half where there are fewer: for the index, journals, locks, logs, and the pipes of what is started."""


def most_clients() -> int:
    """Clients that this process may have at a time and still open what it works with."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    num = WANTED_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, WANTED_DESCRIPTORS)
    return num - min(OWN_DESCRIPTORS, num // 2)


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as clients need, where the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
