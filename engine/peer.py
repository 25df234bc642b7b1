"""Who is at the other end of a unix socket."""

from __future__ import annotations

import socket
import struct
import sys

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
