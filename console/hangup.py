"""The console ends with its terminal: closed window, dropped connection, SIGTERM, SIGHUP taken or ignored.

A terminal that is gone cannot be written to, and whoever writes there anyway may wait forever. So the app is asked to
leave, which restores a terminal that is still there; if it has not left in time, the process ends.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from console.app import ConsoleApp

SECONDS_TO_LEAVE = 1.2
EXIT_OF_SIGNAL = 128


def end_with_the_terminal(app: ConsoleApp) -> None:
    """Leave on SIGTERM and SIGHUP, and when the terminal hangs up; must be called in the app's event loop."""
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread() or app.is_headless:
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, leave, app, EXIT_OF_SIGNAL + number)
    if sys.__stdin__ is not None and sys.__stdin__.isatty():
        threading.Thread(target=wait_for_hangup, args=(app, loop, sys.__stdin__.fileno()), daemon=True).start()


def leave(app: ConsoleApp, status: int) -> None:
    """Ask the app to leave, and end the process where it does not."""
    threading.Timer(SECONDS_TO_LEAVE, os._exit, (status,)).start()
    app.exit(return_code=status)


def wait_for_hangup(app: ConsoleApp, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
    """Sleep until the other end of the terminal is closed, whatever became of SIGHUP."""
    hangup = select.poll()
    hangup.register(descriptor, 0)
    while not any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in hangup.poll()):
        pass
    loop.call_soon_threadsafe(leave, app, EXIT_OF_SIGNAL + signal.SIGHUP)
    threading.Event().wait(SECONDS_TO_LEAVE)
    # The event loop itself may be waiting for a terminal that takes nothing any more.
    os._exit(EXIT_OF_SIGNAL + signal.SIGHUP)
