"""One conversation with the engine over its socket."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.errors import EngineUnreachable
from engine.protocol import AnyReply, AnyRequest, decode_reply, encode

PATIENCE_SECONDS = 3.0
"""An engine that has not answered by then is said not to respond."""


class NoEngine(EngineUnreachable):
    """Nobody listens on the socket."""


class Connection:
    """A connected socket; requests go out and replies come back in order.

    Args:
        path: The engine's socket.
        patience_seconds: How long a reply may take.

    Raises:
        NoEngine: nobody listens.
    """

    def __init__(self, path: Path, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(patience_seconds)
        try:
            self._socket.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            self._socket.close()
            raise NoEngine(f"no engine listens on {path}") from error
        except OSError as error:
            self._socket.close()
            raise EngineUnreachable(f"the engine's socket {path} cannot be used: {error}") from error
        self._replies = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replies.close()
        self._socket.close()

    def ask(self, request: AnyRequest) -> AnyReply:
        """Send one request and wait for its reply.

        Raises:
            EngineUnreachable: the engine is gone or does not answer; whether it did what was asked is not known, and
                asking again with the same id is safe.
        """
        try:
            self._socket.sendall(encode(request) + b"\n")
            line = self._replies.readline()
        except TimeoutError as error:
            raise EngineUnreachable(
                f"the engine does not respond ({self._patience_seconds:g} s): `depthscope engine status` tells more"
            ) from error
        except OSError as error:
            raise EngineUnreachable(f"the engine went away: {error.strerror}") from error
        if not line:
            raise EngineUnreachable("the engine went away before it answered: the same command again is safe")
        reply: AnyReply = decode_reply(line)
        return reply
