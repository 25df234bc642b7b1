"""A fake engine that answers and does nothing, so that runs stay as a test has set them up."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from engine.base.paths import Home
from engine.control.protocol import AnyReply, Done, Greeting, Hello, Request, decode_request, encode
from engine.control.socket_place import listen


class QuietEngine:
    """Greets, and confirms every request without acting."""

    def __init__(self, home: Home) -> None:
        self.requests: list[Request] = []
        self._listening = listen(home.engine_socket)
        self._listening.listen(8)
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Wakes the accepting thread, which closing alone does not.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with contextlib.suppress(ConnectionError), client, client.makefile("rwb") as lines:
                for line in lines:
                    request = decode_request(line)
                    lines.write(encode(self._answer(request)) + b"\n")
                    lines.flush()

    def _answer(self, request: Request) -> AnyReply:
        if isinstance(request, Hello):
            return Greeting(id=request.id, pid=1, uptime_seconds=7980.0)
        self.requests.append(request)
        return Done(id=request.id, experiment="exp1")
