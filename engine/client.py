"""Client API: read the index, and ask the engine for changes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from engine.base.errors import DepthscopeError, EngineUnreachable, UsageError
from engine.base.paths import Home, find_home
from engine.control import launch
from engine.control.connection import Connection, EngineLost
from engine.control.protocol import AnyReply, AnyRequest, ChangeRequest, Done, NewRun, Rebuild, Refused, Submit
from engine.index.queries import Reader

CHANGE_PATIENCE_SECONDS = 60.0
"""Time for a change to reach the disk: many runs mean many small files, each synced."""


def open_home() -> Home:
    """Open the user's home, creating it if needed.

    Raises:
        UsageError: it cannot be created or written.
    """
    return find_home().create()


def read(home: Home) -> Reader:
    """Open the index read-only; it is empty if nothing was ever trained."""
    return Reader(home.database, repair_index=lambda: repair_index(home))


def read_fresh(home: Home) -> Reader:
    """Open the index read-only and make sure an engine keeps it up to date, starting one if runs are training."""
    reader = read(home)
    try:
        if not reader.is_open and has_runs(home):
            # The database was deleted; starting an engine rebuilds it from the run directories.
            launch.ensure_engine(home, trains=False)
            reader.refresh()
        elif reader.has_running() and not launch.is_serving(home):
            launch.ensure_engine(home, trains=False)
    except BaseException:
        reader.close()
        raise
    return reader


def repair_index(home: Home) -> None:
    """Ask the engine to rebuild the index if it is damaged.

    Raises:
        EngineUnreachable: the engine cannot be started or does not answer.
    """
    change(home, Rebuild(only_if_damaged=True))


def has_runs(home: Home) -> bool:
    """Whether there are run directories."""
    try:
        return any(home.runs.iterdir())
    except OSError:
        return False


def submit(home: Home, runs: Sequence[NewRun], *, experiment: str | None) -> Done:
    """Queue runs; on return they are in run directories and index.

    Raises:
        UsageError: the engine refused them.
        EngineUnreachable: the engine cannot be started or does not answer.
    """
    try:
        return change(home, Submit(runs=tuple(runs), experiment=experiment))
    except EngineLost as error:
        raise EngineLost(f"{error}; `depthscope ls` shows whether all runs were queued, or none") from error


def change(home: Home, request: ChangeRequest) -> Done:
    """Ask the engine for a change, starting it if needed; repeating the same request is safe.

    Raises:
        UsageError: the engine refused the request.
        EngineUnreachable: the engine cannot be started or does not answer.
    """
    # An engine that is started here trains only once it has carried out a request that asks for it.
    deadline = time.monotonic() + CHANGE_PATIENCE_SECONDS
    for num_tries in itertools.count(1):
        try:
            launch.ensure_engine(home, trains=False)
        except EngineLost:
            if time.monotonic() > deadline:
                raise
            continue
        try:
            reply = ask(home, request)
            break
        except EngineUnreachable:
            # The engine died before answering. The next one knows by the request's id whether it was carried out.
            if num_tries > 1 and time.monotonic() > deadline:
                raise
    assert isinstance(reply, Done), f"expected Done in reply to a change, got {reply}"
    return reply


def ask(home: Home, request: AnyRequest) -> AnyReply:
    """Send one request to a running engine and return its reply."""
    with Connection(home.engine_socket, patience_seconds=CHANGE_PATIENCE_SECONDS) as connection:
        reply = connection.ask(request)
    if isinstance(reply, Refused):
        raise UsageError(reply.text) if reply.usage else DepthscopeError(reply.text)
    return reply
