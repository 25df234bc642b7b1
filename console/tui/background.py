"""Work off the UI thread that never delays the console's exit.

Threads of asyncio's default pool are joined at exit, so one waiting for an unresponsive engine would block it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from engine.base.paths import Home
from engine.control.protocol import ChangeRequest

if TYPE_CHECKING:
    from engine.control.systemd import LogoutRisk

P = ParamSpec("P")
T = TypeVar("T")


async def in_background(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a daemon thread of its own and return its result."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if answer.done():
            # The waiting task was cancelled.
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(value)  # type: ignore[arg-type]

    def call() -> None:
        value, error = None, None
        try:
            value = function(*args, **kwargs)
        except BaseException as raised:
            error = raised
        # The loop is closed if the console has exited meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=call, daemon=True).start()
    return await answer


def ensure_engine(home: Home, *, trains: bool) -> None:
    """Start the engine unless it is running; with `trains`, let it start workers."""
    # Imported here, so that the first frame does not wait for it.
    from engine.control import launch

    launch.ensure_engine(home, trains=trains)


def find_interruption(home: Home) -> str | None:
    """Describe training that waits for a command; None if there is none."""
    from console.text.interruption import interruption
    from engine.index.queries import Reader

    with Reader(home.database) as reader:
        return interruption(home, reader.unfinished_runs())


def replace_engine(home: Home) -> None:
    """Replace the running engine by one of this version; training continues."""
    from engine.control import launch

    launch.restart(home)


def find_logout_risk(home: Home) -> LogoutRisk | None:
    """Find out whether the engine would end when the user logs out."""
    from engine.control.systemd import risk_of_home

    return risk_of_home(home)


def ask_for(home: Home, request: ChangeRequest) -> None:
    """Ask the engine for a change, starting it if needed."""
    from engine import client

    client.change(home, request)


def repair_index(home: Home) -> None:
    """Ask the engine to rebuild the index if it is damaged."""
    from engine import client

    client.repair_index(home)
