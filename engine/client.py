"""What a console may call: read the index, and ask the engine for changes."""

from __future__ import annotations

from collections.abc import Sequence

from engine.base.errors import DepthscopeError, EngineUnreachable, UsageError
from engine.base.paths import Home, find_home
from engine.control import launch
from engine.control.connection import Connection
from engine.control.protocol import AnyReply, AnyRequest, ChangeRequest, Done, NewRun, Rebuild, Refused, Submit
from engine.index.queries import Reader

CHANGE_PATIENCE_SECONDS = 60.0
"""For a change to be on disk: many runs are many small files, each made durable."""


def open_home() -> Home:
    """The user's home, made where there is none yet.

    Raises:
        UsageError: it cannot be made or written.
    """
    return find_home().create()


def read(home: Home) -> Reader:
    """A read-only view of the index; empty where nothing was ever trained."""
    return Reader(home.database, heal=lambda: heal(home))


def read_fresh(home: Home) -> Reader:
    """A view of the index that somebody keeps up to date: an engine is started if runs train without one."""
    reader = read(home)
    try:
        if not reader.is_open and has_runs(home):
            # Somebody deleted the database; the runs are in their directories.
            launch.ensure_engine(home)
            reader.refresh()
        elif reader.has_running() and not launch.is_serving(home):
            launch.ensure_engine(home)
    except BaseException:
        reader.close()
        raise
    return reader


def heal(home: Home) -> None:
    """Have the index built anew where it is damaged, by the engine, which does so by itself where it is started for it.

    Raises:
        EngineUnreachable: it cannot be started or does not answer.
    """
    change(home, Rebuild(only_if_damaged=True))


def rebuild(home: Home) -> None:
    """Have the index put aside and built anew, by the engine that serves or, where none does, by one that is started.

    Raises:
        EngineUnreachable: it cannot be started or does not answer.
    """
    change(home, Rebuild())


def has_runs(home: Home) -> bool:
    """Whether there are run directories."""
    try:
        return any(home.runs.iterdir())
    except OSError:
        return False


def submit(home: Home, runs: Sequence[NewRun], *, experiment: str | None) -> Done:
    """Queue runs; on return they stand in run directories and index.

    Raises:
        UsageError: the engine refused them.
        EngineUnreachable: it cannot be started or does not answer.
    """
    return change(home, Submit(runs=tuple(runs), experiment=experiment))


def change(home: Home, request: ChangeRequest) -> Done:
    """Ask for a change, starting the engine where there is none; safe to repeat with the same request.

    Raises:
        UsageError: the engine refused it.
        EngineUnreachable: it cannot be started or does not answer.
    """
    launch.ensure_engine(home)
    try:
        reply = ask(home, request)
    except EngineUnreachable:
        # It ended before it answered; the next one knows whether it did what was asked, by the request's id.
        launch.ensure_engine(home)
        reply = ask(home, request)
    assert isinstance(reply, Done), f"a change is answered by done, not {reply}"
    return reply


def ask(home: Home, request: AnyRequest) -> AnyReply:
    """One request to an engine that serves."""
    with Connection(home.engine_socket, patience_seconds=CHANGE_PATIENCE_SECONDS) as connection:
        reply = connection.ask(request)
    if isinstance(reply, Refused):
        raise UsageError(reply.text) if reply.usage else DepthscopeError(reply.text)
    return reply
