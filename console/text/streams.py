"""stdin, stdout and stderr of a command: what to do where they are closed, full, gone or know few characters.

Installed before anything is printed, so that typer's help and errors, csv and rich write through them too. Imports next
to nothing, because everything else is imported afterwards.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO

from engine.base.errors import DepthscopeError

GONE = (errno.EPIPE, errno.EIO)
"""Errors of a stream without a reader: a closed pipe, a terminal that hung up."""
STREAMS = ("stdin", "stdout", "stderr")


class OutputFailed(DepthscopeError):
    """stdout cannot be written: the disk is full, for example."""


class ReaderGone(OutputFailed):
    """Nobody reads stdout or stderr any more, as after `| head`; the command ends without a message."""


class NonBlocking(io.FileIO):
    """A descriptor that someone else made non-blocking: waits until it takes more."""

    def write(self, content: Any) -> int:
        """Write all of the content."""
        import select

        rest = memoryview(content).cast("B")
        length = len(rest)
        while rest:
            if (written := super().write(rest)) is None:
                select.select([], [self.fileno()], [])
            else:
                rest = rest[written:]
        return length


class Output(io.TextIOWrapper):
    """A text stream in the terminal's encoding; a character that this lacks becomes an escape such as \\u65e5.

    It fails once with an error of ours and discards everything afterwards, so that the interpreter's flush at exit does
    not fail. What does not fit on stderr is discarded at once: it goes with a command's work, and there is nowhere left
    to report it. Errors are caught here and not below: were the raw stream written in Python, Ctrl-C between its write
    and its return would make the buffer write the same again.
    """

    def __init__(self, descriptor: int, name: str, **options: Any) -> None:
        raw = io.FileIO if os.get_blocking(descriptor) else NonBlocking
        super().__init__(io.BufferedWriter(raw(descriptor, "w", closefd=False)), errors="backslashreplace", **options)
        self._stream = name

    @property
    def buffer(self) -> Any:
        """Hidden: click would write UTF-8 into it wherever the encoding is ASCII."""
        raise AttributeError("the bytes below are in the stream's encoding")

    def write(self, text: str) -> int:
        """Write text; raises as `flush` does."""
        try:
            return super().write(text)
        except OSError as error:
            self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered.

        Raises:
            ReaderGone: nobody reads any more.
            OutputFailed: stdout cannot be written.
        """
        try:
            super().flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Discard what is buffered and what will be written, and raise an error of ours."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        super().flush()
        if error.errno in GONE:
            raise ReaderGone(f"nobody reads {self._stream}") from None
        if self._stream == "stdout":
            raise OutputFailed(f"cannot write to stdout: {error.strerror}") from None


def open_streams() -> None:
    """Replace `sys.stdin`, `sys.stdout` and `sys.stderr`."""
    for number, name in enumerate(STREAMS):
        if getattr(sys, name) is None:
            fill_descriptor(number)
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    sys.stdout = wrapped(sys.stdout, "stdout")
    sys.stderr = wrapped(sys.stderr, "stderr")


def fill_descriptor(number: int) -> None:
    """Open a closed standard descriptor on /dev/null: the next file opened would get its number, and be written to."""
    try:
        os.fstat(number)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def wrapped(stream: TextIO, name: str) -> TextIO:
    """Wrap the descriptor of a stream; a stream without one is returned as it is."""
    try:
        descriptor = stream.fileno()
        stream.flush()
    except (OSError, ValueError):
        return stream
    return Output(
        descriptor,
        name,
        encoding=stream.encoding,
        line_buffering=name == "stderr" or stream.isatty(),
        write_through=getattr(stream, "write_through", False),
    )


def report(text: str) -> None:
    """Print an error of a command to stderr, cleaned, in one line."""
    # Imported only for errors: the first frame does not wait for it.
    from console.text.formatting import clean_lines

    try:
        print(f"depthscope: {clean_lines(text)}", file=sys.stderr, flush=True)
    except ReaderGone:
        return


def finish(status: int) -> int:
    """Flush what was printed and return the exit status, 1 if that fails after success."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except ReaderGone:
            status = status or 1
        except OutputFailed as error:
            report(str(error))
            status = status or 1
    return status
