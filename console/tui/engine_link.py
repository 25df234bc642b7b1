"""The console's link to the engine: status, problems and requests, all off the UI thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from textual.app import App
from textual.message import Message

from console.text.formatting import clean
from console.tui.background import (
    ask_for,
    ensure_engine,
    find_interruption,
    find_logout_risk,
    in_background,
    repair_index,
    replace_engine,
)
from console.tui.status import SECONDS_BETWEEN_PULSES, EngineState, Pulse, take_pulse
from engine.base.errors import DepthscopeError, EngineUnreachable
from engine.base.paths import Home
from engine.control.protocol import ChangeRequest
from engine.control.queue_state import QueueState

if TYPE_CHECKING:
    from engine.control.systemd import LogoutRisk

SECONDS_BETWEEN_REPAIRS = 20.0


class PulseChanged(Message):
    """There is a new reading of the engine and devices, or a problem appeared or disappeared."""

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, PulseChanged)


class EngineLink:
    """Link to the engine of a home, with the newest reading of its status.

    Args:
        app: Runs requests and shows their results; its top screen receives `PulseChanged`.
        home: Home of the engine.
        read_index: Called after the engine has changed something.
    """

    def __init__(self, app: App[Any], home: Home, read_index: Callable[[], None]) -> None:
        self._app = app
        self._home = home
        self._read_index = read_index
        self._start_trouble: str | None = None
        self._repaired_at = -SECONDS_BETWEEN_REPAIRS
        self.pulse = Pulse(EngineState.STARTING)
        self.num_asked = 0
        """Number of requests without a reply yet."""
        self.logout_risk: LogoutRisk | None = None
        self.interruption: str | None = None
        """Training that waits for the user, in one line; None if there is none."""

    @property
    def trouble(self) -> str | None:
        """Problem with the engine and its remedy, in one line."""
        waits = None if self.interruption is None else f"{self.interruption} (key E)"
        return self.pulse.trouble or self._start_trouble or waits

    @property
    def queue_state(self) -> QueueState:
        """State of the queue as last reported by the engine."""
        greeting = self.pulse.greeting
        return QueueState.OPEN if greeting is None else greeting.queue

    async def take_pulse(self) -> None:
        """Read the status of engine and devices, and show it."""
        self.pulse = await in_background(take_pulse, self._home)
        if self.pulse.engine is EngineState.UP:
            self._start_trouble = None
        serves_only = self.pulse.greeting is not None and not self.pulse.greeting.starts_runs
        try:
            self.interruption = await in_background(find_interruption, self._home) if serves_only else None
        except DepthscopeError as error:
            self._start_trouble = str(error)
        # No screen is left if the console is exiting.
        for screen in self._app.screen_stack[-1:]:
            screen.post_message(PulseChanged())

    async def watch(self) -> None:
        """Read the status periodically."""
        while True:
            await self.take_pulse()
            await asyncio.sleep(SECONDS_BETWEEN_PULSES)

    async def start(self, *, trains: bool) -> None:
        """Start the engine if it is not running, or replace one of another version; workers continue.

        Args:
            trains: Let it start workers; otherwise one that is started here serves and starts none.
        """
        replaces = self.pulse.engine is EngineState.FOREIGN
        try:
            if replaces:
                await in_background(replace_engine, self._home)
            else:
                await in_background(ensure_engine, self._home, trains=trains)
            self._start_trouble = None
        except DepthscopeError as error:
            self._start_trouble = str(error)
        await self.take_pulse()

    async def find_logout_risk(self) -> None:
        """Warn once if a logout would end training; the console repeats it on exit."""
        self.logout_risk = await in_background(find_logout_risk, self._home)
        if (risk := self.logout_risk) is not None:
            text = f"{risk.text}: {risk.remedy} keeps training running"
            self._app.notify(text, title="Logging out will end training", severity="warning", markup=False, timeout=12)

    def request(self, request: ChangeRequest | Sequence[ChangeRequest], done: str) -> None:
        """Send one or several change requests in order, and notify the user of the result."""
        self.num_asked += 1
        requests = tuple(request) if isinstance(request, Sequence) else (request,)
        self._app.run_worker(self._request(requests, done))

    async def _request(self, requests: Sequence[ChangeRequest], done: str) -> None:
        try:
            try:
                for request in requests:
                    await in_background(ask_for, self._home, request)
            finally:
                self.num_asked -= 1
        except EngineUnreachable as error:
            self._app.notify(str(error), title="not done yet", severity="error", markup=False, timeout=8)
        except DepthscopeError as error:
            self._app.notify(clean(str(error)), title="refused", severity="error", markup=False, timeout=8)
        else:
            self._app.notify(done, markup=False, timeout=3)
            self._read_index()
            # Immediately, because the next key's action may depend on the queue's state.
            await self.take_pulse()

    def repair_index(self) -> None:
        """Ask the engine to rebuild a damaged index, not too often."""
        now = time.monotonic()
        if now - self._repaired_at >= SECONDS_BETWEEN_REPAIRS:
            self._repaired_at = now
            self._app.run_worker(self._repair_index())

    async def _repair_index(self) -> None:
        try:
            await in_background(repair_index, self._home)
        except DepthscopeError as error:
            self._start_trouble = str(error)
