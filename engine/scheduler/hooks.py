"""Runs the user's on-finish command for every finished run: without a shell, at most once, with a time limit.

The commit that finishes a run also lists it for announcement, and it is removed from the list before the command
starts. So an engine that is killed in between may skip a run, but never announces one twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import time
import unicodedata

from engine.base.errors import DepthscopeError
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.run import Run
from engine.spec.settings import PLACEHOLDER, Hook

log = logging.getLogger(__name__)

MOST_OUTPUT_BYTES = 4096
"""Most of a command's output to log; the rest is discarded."""
SECONDS_TO_FINISH = 5.0
"""Time left to a running command when the engine stops."""


class Announcer:
    """Announces finished runs, one after another.

    Args:
        store: Index that lists the runs to announce.
    """

    def __init__(self, hook: Hook | None, store: Store, reader: Reader) -> None:
        self._hook, self._store, self._reader = hook, store, reader
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Start announcing runs that have finished since the last call."""
        if (self._task is None or self._task.done()) and self._store.ends_to_announce():
            self._task = asyncio.create_task(self.announce_all())

    async def announce_all(self) -> None:
        """Announce all listed runs; errors are only logged."""
        try:
            while ids := self._store.ends_to_announce():
                # Without a command, drop the whole list, so that a command configured later starts with new runs.
                ids = ids if self._hook is None else ids[:1]
                with self._store.transaction():
                    self._store.forget_ends(ids)
                if self._hook is not None:
                    await announce(self._hook, self._reader.run(ids[0]))
        except (DepthscopeError, ValueError, OSError) as error:
            log.error("on-finish: %s", error)

    async def end(self) -> None:
        """Give the running command a moment to finish, then kill it."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=SECONDS_TO_FINISH)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


async def announce(hook: Hook, run: Run) -> None:
    """Run the command for one run and log the result."""
    facts = facts_of(run)
    arguments = [PLACEHOLDER.sub(lambda found: facts[found[1]], word) for word in hook.command]
    environ = {f"DEPTHSCOPE_{name.upper()}": value for name, value in facts.items()}
    began = time.monotonic()
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **environ},
            # So that its own child processes can be killed with it.
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        log.error("on-finish for %s: cannot start %s: %s", run.id, hook.command[0], error)
        return
    assert process.stdout is not None
    output = bytearray()
    try:
        async with asyncio.timeout(hook.timeout_seconds):
            while chunk := await process.stdout.read(MOST_OUTPUT_BYTES):
                output += chunk[: MOST_OUTPUT_BYTES - len(output)]
            status = f"status {await process.wait()}"
    except TimeoutError:
        status = f"killed after its limit of {hook.timeout_seconds:g} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    log.info("on-finish for %s: %s in %.1f s%s", run.id, status, time.monotonic() - began, single_line(bytes(output)))


def facts_of(run: Run) -> dict[str, str]:
    """Facts about a run that a hook command receives; a missing number is an empty string."""
    error = run.test_error_percent
    return {
        "run_id": run.id,
        "run_name": run.name,
        "experiment": run.experiment,
        "outcome": "" if run.outcome is None else run.outcome.value,
        "test_error": "" if error is None else f"{error:.2f}",
    }


def single_line(output: bytes) -> str:
    """Output of a command as one line for the log, without control characters."""
    text = re.sub(r"\s+", " ", output.decode("utf-8", "replace")).strip()
    plain = "".join(character for character in text if unicodedata.category(character)[0] != "C")
    return f": {plain}" if plain else ""
