"""A command of the user's own for every run that has ended: started without a shell, once, and not for ever.

Which runs are to be announced stands in the index from the commit with which they end, and is forgotten before the
command starts: an engine that is killed in between may leave a run unannounced, never announce it twice.
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
"""Of a command's output, for the log; the rest is read and dropped."""
SECONDS_TO_FINISH = 5.0
"""A command has for its work when the engine ends."""


class Announcer:
    """Announces what has ended, one run after the other.

    Args:
        hook: The user's command; None where there is none.
        store: Where ends stand that are not announced yet.
        reader: A view of the same index.
    """

    def __init__(self, hook: Hook | None, store: Store, reader: Reader) -> None:
        self._hook, self._store, self._reader = hook, store, reader
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Begin to announce what has ended since the last look."""
        if (self._task is None or self._task.done()) and self._store.ends_to_announce():
            self._task = asyncio.create_task(self.announce_all())

    async def announce_all(self) -> None:
        """Announce until nothing is left; what goes wrong is told in the log, and keeps nobody waiting."""
        try:
            while ids := self._store.ends_to_announce():
                # Without a command at all of them are forgotten, so that a later one does not begin with old runs.
                ids = ids if self._hook is None else ids[:1]
                with self._store.transaction():
                    self._store.forget_ends(ids)
                if self._hook is not None:
                    await announce(self._hook, self._reader.run(ids[0]))
        except (DepthscopeError, ValueError, OSError) as error:
            log.error("on-finish: %s", error)

    async def end(self) -> None:
        """Leave the command that is under way a moment, and end it."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=SECONDS_TO_FINISH)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


async def announce(hook: Hook, run: Run) -> None:
    """Start the command for one run, and note in the log how it went."""
    facts = facts_of(run)
    words = [PLACEHOLDER.sub(lambda found: facts[found[1]], word) for word in hook.command]
    environ = {f"DEPTHSCOPE_{name.upper()}": value for name, value in facts.items()}
    began = time.monotonic()
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **environ},
            # So that what it starts in turn ends with it.
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        log.error("on-finish for %s: %s cannot be started: %s", run.id, hook.command[0], error)
        return
    assert process.stdout is not None
    output = bytearray()
    try:
        async with asyncio.timeout(hook.timeout_seconds):
            while chunk := await process.stdout.read(MOST_OUTPUT_BYTES):
                output += chunk[: MOST_OUTPUT_BYTES - len(output)]
            status = f"status {await process.wait()}"
    except TimeoutError:
        status = f"killed behind its limit of {hook.timeout_seconds:g} s"
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
    """A command's output in one line of the log, without characters that move a cursor."""
    text = re.sub(r"\s+", " ", output.decode("utf-8", "replace")).strip()
    plain = "".join(character for character in text if unicodedata.category(character)[0] != "C")
    return f": {plain}" if plain else ""
