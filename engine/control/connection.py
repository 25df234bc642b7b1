"""Client side of the engine's socket."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from pathlib import Path
from typing import Self

from engine.base.errors import EngineUnreachable, UsageError
from engine.base.system import peer_uid
from engine.control.protocol import MAX_LINE_BYTES, AnyReply, AnyRequest, decode_reply, encode
from engine.control.socket_place import address_to_connect

PATIENCE_SECONDS = 3.0
"""Time after which the engine counts as not responding."""
SECONDS_BETWEEN_TRIES = 0.02


class EngineLost(EngineUnreachable):
    """The engine died meanwhile; the next one may be asked again."""


class NoEngine(EngineUnreachable):
    """No process is listening on the socket."""


class Connection:
    """A connected socket; requests go out and replies come back in order.

    Raises:
        NoEngine: no process is listening.
    """

    def __init__(self, path: Path, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(patience_seconds)
        try:
            self._connect(path)
            if (uid := peer_uid(self._socket)) != os.geteuid():
                raise PermissionError(errno.EPERM, f"uid {uid} listens on it")
        except (FileNotFoundError, ConnectionRefusedError) as error:
            self._socket.close()
            raise NoEngine(f"no engine is listening on {path}") from error
        except OSError as error:
            self._socket.close()
            raise EngineUnreachable(f"the engine's socket {path} cannot be used: {error}") from error
        self._replies = self._socket.makefile("rb")

    def _connect(self, path: Path) -> None:
        """Connect, retrying while the socket's backlog is full."""
        deadline = time.monotonic() + self._patience_seconds
        while True:
            try:
                with address_to_connect(path) as address:
                    return self._socket.connect(address)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                select.select([], [], [], SECONDS_BETWEEN_TRIES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._replies.close()
        self._socket.close()

    def ask(self, request: AnyRequest) -> AnyReply:
        """Send one request and wait for its reply.

        Raises:
            UsageError: the request is too long.
            EngineUnreachable: the engine is gone or does not respond. The request may or may not have been carried
                out; sending it again with the same id is safe.
        """
        line = encode(request)
        if len(line) > MAX_LINE_BYTES:
            raise UsageError(
                f"request too long: {len(line)} bytes, at most {MAX_LINE_BYTES} allowed; split it into several commands"
            )
        try:
            self._socket.sendall(line + b"\n")
            line = self._replies.readline()
        except TimeoutError as error:
            raise EngineUnreachable(
                f"the engine does not respond (waited {self._patience_seconds:g} s): check `depthscope engine status`"
            ) from error
        except OSError as error:
            raise EngineLost(f"lost the connection to the engine: {error.strerror}") from error
        if not line:
            raise EngineLost("the engine closed the connection before replying: run the command again")
        reply: AnyReply = decode_reply(line)
        return reply
