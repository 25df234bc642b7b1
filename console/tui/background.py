"""Work off the UI thread that nobody waits for when the console leaves.

Threads of asyncio's own pool hold up the end of the process until each has returned; one that asks an engine which does
not answer would keep the user from the shell.
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
    """Call a function in a thread of its own and return what it returns; the thread dies with the process."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if answer.done():
            # Whoever waited was cancelled.
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
        # The loop is closed where the console has left meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=call, daemon=True).start()
    return await answer


def ensure_engine(home: Home) -> None:
    """An engine that serves; imported here, since the first frame does not wait for what starts one."""
    from engine.control import launch

    launch.ensure_engine(home)


def replace_engine(home: Home) -> None:
    """An engine of this version in place of the one that serves; training goes on."""
    from engine.control import launch

    launch.restart(home)


def find_logout_risk(home: Home) -> LogoutRisk | None:
    """What would end the engine that serves when the user logs out."""
    from engine.control.systemd import risk_of_home

    return risk_of_home(home)


def ask_for(home: Home, request: ChangeRequest) -> None:
    """A change by the engine, which is started where there is none."""
    from engine import client

    client.change(home, request)


def heal(home: Home) -> None:
    """An index built anew where it is damaged, by the engine."""
    from engine import client

    client.heal(home)
