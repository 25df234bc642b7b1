"""Ends the console with its terminal: closed window, dropped connection, SIGTERM, SIGHUP (even if ignored), Ctrl-C.

Writing to a terminal that is gone may block forever. So the app is asked to exit, which restores the terminal if it is
still there; if that takes too long, the guard restores the terminal itself and ends the process. This works from before
the first byte is written until after the last: a signal that arrives before the app exists takes effect once it does.
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
"""Sequences that the app's driver writes on exit: paste, wrapping, mouse, keyboard protocol, screen, cursor, focus."""


class TerminalGuard:
    """Ends an app on signals and with its terminal; created in the main thread before the app runs."""

    def __init__(self) -> None:
        self._leave: Callable[[int], None] | None = None
        """Asks the app to leave with an exit status; None before there is one."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: int | None = None
        """First signal received; None before any."""
        assert sys.__stdin__ is not None, "only a console on a terminal is guarded"
        self._last_words = ""
        self._status: int | None = None
        """Exit status of the process; None before it is to end."""
        self._descriptor = sys.__stdin__.fileno()
        self._attributes: list[Any] | None = None
        """Terminal attributes before anything was written; None if the terminal was already gone."""
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
        """Guard an app from now on; it exits immediately if a signal has already arrived. Called in its loop.

        Args:
            leave: Asks the app to leave with an exit status.
        """
        self._leave, self._loop = leave, asyncio.get_running_loop()
        if self._asked is not None:
            self.leave()

    def take_signal(self, number: int, _frame: object) -> None:
        """Signal handler: ask the app to exit, and end the process if it does not exit in time."""
        if self._asked is not None:
            return
        self._asked = number
        self.end_in_time(EXIT_OF_SIGNAL + number)
        self.call_leave()

    def end_in_time(self, status: int, last_words: str = "") -> None:
        """End the process if the app does not exit in time; the first status given counts.

        Args:
            status: Exit status.
            last_words: Line to print then, if the terminal is still there.
        """
        self._last_words = last_words or self._last_words
        if self._status is None:
            self._status = status
            timer = threading.Timer(SECONDS_TO_LEAVE, self.end)
            timer.daemon = True
            timer.start()

    def call_leave(self) -> None:
        """Ask the app to exit, from any thread; does nothing before it starts and after it ends."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.leave)

    def leave(self) -> None:
        """Ask the app to exit; Ctrl-C counts as the user quitting."""
        assert self._leave is not None, "nothing is asked to leave before it is guarded"
        self._leave(0 if self._asked == signal.SIGINT else EXIT_OF_SIGNAL + (self._asked or signal.SIGHUP))

    def wait_for_hangup(self) -> None:
        """Wait until the other end of the terminal is closed, whether or not SIGHUP arrives."""
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
        """End the process even if the event loop is blocked writing to the terminal."""
        if self._attributes is not None:
            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(self._descriptor, termios.TCSANOW, self._attributes)
                writable = select.poll()
                writable.register(self._descriptor, select.POLLOUT)
                # Short enough to fit into a writable terminal's buffer, so this does not block.
                if any(event == select.POLLOUT for _, event in writable.poll(0)):
                    os.write(self._descriptor, RESTORE + self._last_words.encode())
        os._exit(self._status or 0)
