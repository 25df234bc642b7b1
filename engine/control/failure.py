"""Record of why the newest engine could not start, or which error ended it: the file engine.failed."""

from __future__ import annotations

import contextlib
import logging
import os
import time

from engine.base.errors import DepthscopeError
from engine.base.paths import Home, write_atomically
from engine.base.regular_files import read_end
from engine.base.units import duration
from engine.runs.disk import trouble_of

log = logging.getLogger(__name__)

MAX_BYTES = 4096


def refuse(home: Home, error: Exception, ready: int | None) -> int:
    """Log why an engine cannot start or go on, leave it for later commands, and return the exit status.

    Args:
        ready: Descriptor of the process that started it and waits; None without one.
    """
    text = trouble_of(error) or str(error)
    if not isinstance(error, DepthscopeError | OSError):
        text = f"{type(error).__name__}: {text}: `depthscope engine logs` says where"
        log.error("ended by an error", exc_info=error)
    text = " ".join(text.split()).encode(errors="backslashreplace").decode()
    log.error("cannot serve: %s", text)
    # The log may be unwritable, too.
    with contextlib.suppress(OSError):
        write_atomically(home.engine_failed, f"{text}\n".encode())
    if ready is not None:
        with contextlib.suppress(OSError):
            os.write(ready, f"{text}\n".encode())
    return 1


def forget_failure(home: Home) -> None:
    """Delete the record, because an engine serves."""
    with contextlib.suppress(OSError):
        home.engine_failed.unlink(missing_ok=True)


def read_failure(home: Home) -> str | None:
    """Read the record, with its age; None if there is none."""
    try:
        why = read_end(home.engine_failed, num_bytes=MAX_BYTES).strip()
        age = time.time() - home.engine_failed.stat().st_mtime
    except OSError:
        return None
    return f"the engine could not start or ended {duration(max(0.0, age))} ago: {why}"
