"""Run a program on a pseudo-terminal and read its output with timings."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import psutil


class Terminal:
    """A child on a pseudo-terminal.

    Args:
        command: Program and arguments.
        env: The complete environment.
        columns: Width of the terminal.
        lines: Height of the terminal.
    """

    def __init__(self, command: list[str], env: dict[str, str], *, columns: int = 120, lines: int = 36) -> None:
        self.output = b""
        self.began = time.perf_counter()
        # Closed when the program starts; before that, keys and signals would reach a copy of this process.
        reading, writing = os.pipe()
        size = struct.pack("HHHH", lines, columns, 0, 0)
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            # Reset, because the tests may have been started with these ignored.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            # Set before the program can ask; the environment must not contain another size.
            fcntl.ioctl(0, termios.TIOCSWINSZ, size)
            os.execvpe(command[0], command, {name: env[name] for name in env if name not in ("COLUMNS", "LINES")})
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        self.status: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self.close()

    def read(self, seconds: float) -> bytes:
        """Return the first output that arrives within some seconds."""
        ready, _, _ = select.select([self.descriptor], [], [], max(seconds, 0))
        if not ready:
            return b""
        try:
            content = os.read(self.descriptor, 1 << 16)
        except OSError:
            content = b""
        self.output += content
        return content

    def read_until(self, is_there: Callable[[bytes], bool], *, patience_seconds: float = 30.0) -> float:
        """Read until the output since this call satisfies a condition; return the seconds taken.

        Raises:
            TimeoutError: it did not in time.
        """
        began, seen = time.perf_counter(), b""
        while not is_there(seen):
            left = patience_seconds - (time.perf_counter() - began)
            if left <= 0:
                raise TimeoutError(f"waited {patience_seconds:g} s for the terminal; it wrote {seen[-2000:]!r}")
            seen += self.read(left)
        return time.perf_counter() - began

    def drain(self, seconds: float) -> int:
        """Read for some seconds; return the number of bytes received."""
        deadline, num_bytes = time.perf_counter() + seconds, 0
        while (left := deadline - time.perf_counter()) > 0:
            num_bytes += len(self.read(left))
        return num_bytes

    def type(self, keys: bytes) -> None:
        os.write(self.descriptor, keys)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def close(self) -> None:
        """Hang up, like a dropped connection."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def wait(self, *, patience_seconds: float = 10.0) -> int | None:
        """Return the child's exit status; None if it does not exit in time."""
        deadline = time.perf_counter() + patience_seconds
        while self.status is None and self.descriptor >= 0 and time.perf_counter() < deadline:
            # It may wait for its output to be read.
            self.read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        if self.status is None:
            with contextlib.suppress(psutil.TimeoutExpired):
                self.status = psutil.Process(self.pid).wait(max(deadline - time.perf_counter(), 0.0))
        return self.status

    def kill(self) -> None:
        if self.status is None and self.wait(patience_seconds=0.05) is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()


def terminal_env(home: Any) -> dict[str, str]:
    """Return a home's environment for a terminal with Unicode and colours."""
    return {**home.env, "TERM": "xterm-256color", "LANG": "C.UTF-8"}


def goes_on(home: Any, run: str, wait_until: Callable[..., Any]) -> None:
    """Check that a run's original worker, which may have been suspended, still trains."""
    with home.reader() as reader:
        before = reader.run(run).step
        home.go_on(run)
        wait_until(lambda: reader.run(run).step > before)
    assert [event["kind"] for event in home.json("show", run)["events"]].count("started") == 1
