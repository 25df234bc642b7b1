"""The console ends with its terminal: closed window, dropped connection, SIGTERM, SIGHUP taken or ignored, Ctrl-C.

A terminal that is gone cannot be written to, and whoever writes there anyway may wait forever. So the app is asked to
leave, which restores a terminal that is still there; if it has not left in time, the terminal is restored without it
and the process ends. This holds from before the first byte is written until after the last: a signal that comes while
the app is not there yet is noted, and obeyed as soon as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Callable
from typing import Any

SECONDS_TO_LEAVE = 1.2
SECONDS_WITHOUT_TERMINAL = 0.6
EXIT_OF_SIGNAL = 128
RESTORE = b"\x1b[?2004l\x1b[?7h\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l"
"""What the app's driver writes when it leaves: paste, wrapping, mouse, keyboard protocol, screen, cursor and focus."""


class TerminalGuard:
    """Ends an app on signals and with its terminal; must be made in the main thread, before the app runs."""

    def __init__(self) -> None:
        self._leave: Callable[[int], None] | None = None
        """Asks the app to leave with an exit status; None before there is one."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: int | None = None
        """The first signal that came; None before there was one."""
        assert sys.__stdin__ is not None, "only a console on a terminal is guarded"
        self._last_words = ""
        self._status: int | None = None
        """With which the process ends; None before somebody wanted that."""
        self._descriptor = sys.__stdin__.fileno()
        self._attributes: list[Any] | None = None
        """Of the terminal before anything was written there; None where it has hung up while this was loaded."""
        try:
            self._attributes = termios.tcgetattr(self._descriptor)
        except termios.error:
            self._status = EXIT_OF_SIGNAL + signal.SIGHUP
            self.end()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self.take_signal)
        threading.Thread(target=self.wait_for_hangup, daemon=True).start()

    def guard(self, leave: Callable[[int], None]) -> None:
        """Let an app leave from now on, at once where that was asked for already; called in its event loop.

        Args:
            leave: Asks the app to leave with an exit status.
        """
        self._leave, self._loop = leave, asyncio.get_running_loop()
        if self._asked is not None:
            self.leave()

    def take_signal(self, number: int, _frame: object) -> None:
        """A handler of signals: the app is asked to leave, and ended where it does not in time."""
        if self._asked is not None:
            return
        self._asked = number
        self.end_in_time(EXIT_OF_SIGNAL + number)
        self.call_leave()

    def end_in_time(self, status: int, last_words: str = "") -> None:
        """End the process with a status where the app, which is leaving, has not left soon; the first status counts.

        Args:
            status: Of the process.
            last_words: A line that the user reads then, on a terminal that is still there.
        """
        self._last_words = last_words or self._last_words
        if self._status is None:
            self._status = status
            timer = threading.Timer(SECONDS_TO_LEAVE, self.end)
            timer.daemon = True
            timer.start()

    def call_leave(self) -> None:
        """Ask the app to leave, from any thread; before there is one, and behind its end, there is nobody to ask."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.leave)

    def leave(self) -> None:
        """Ask the app to leave; Ctrl-C is the user's own way to quit."""
        assert self._leave is not None, "nothing is asked to leave before it is guarded"
        self._leave(0 if self._asked == signal.SIGINT else EXIT_OF_SIGNAL + (self._asked or signal.SIGHUP))

    def wait_for_hangup(self) -> None:
        """Sleep until the other end of the terminal is closed, whatever became of SIGHUP."""
        hangup = select.poll()
        hangup.register(self._descriptor, 0)
        while not any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in hangup.poll()):
            pass
        self._asked = self._asked or signal.SIGHUP
        self._status = self._status or EXIT_OF_SIGNAL + signal.SIGHUP
        self.call_leave()
        threading.Event().wait(SECONDS_WITHOUT_TERMINAL)
        self.end()

    def end(self) -> None:
        """End the process though the event loop does not turn: it may be waiting for a terminal that takes nothing."""
        if self._attributes is not None:
            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(self._descriptor, termios.TCSANOW, self._attributes)
                writable = select.poll()
                writable.register(self._descriptor, select.POLLOUT)
                # Little enough to fit where there is any room at all, so that this does not wait.
                if any(event == select.POLLOUT for _, event in writable.poll(0)):
                    os.write(self._descriptor, RESTORE + self._last_words.encode())
        os._exit(self._status or 0)
