"""Start, find, restart and stop the engine of a home."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from engine.base.errors import EngineUnreachable, UsageError
from engine.base.locks import is_held, locked
from engine.base.paths import Home, open_private
from engine.base.regular_files import read_end
from engine.base.version import PROTOCOL, VERSION
from engine.control.connection import PATIENCE_SECONDS, Connection, EngineLost, NoEngine
from engine.control.engine_lock import absent_listener, read_holder
from engine.control.failure import read_failure
from engine.control.protocol import Greeting, Hello, Shutdown, StartTraining
from engine.control.stopped import Cause, leave_mark, read_stopped
from engine.spec.settings import read_settings

SERVE = "serve"
"""Argument of an engine that starts no workers until a request asks for training."""
EXIT_LOCKED = 75
"""Exit status of an engine whose home another engine serves (EX_TEMPFAIL in sysexits.h)."""
START_PATIENCE_SECONDS = 30.0
"""Time to wait without a sign of progress; rebuilding an index of ten thousand runs takes longer in all."""
EXIT_PATIENCE_SECONDS = 2.0
STOP_PATIENCE_SECONDS = 180.0
"""Time for every worker to finish its step and write a checkpoint."""


def greet(home: Home, *, patience_seconds: float = PATIENCE_SECONDS) -> Greeting | None:
    """Greet the engine of a home; None if none is running.

    Raises:
        EngineUnreachable: the engine does not respond.
    """
    try:
        with Connection(home.engine_socket, patience_seconds=patience_seconds) as connection:
            reply = connection.ask(Hello())
    except NoEngine:
        return None
    assert isinstance(reply, Greeting), f"a hello is answered by a greeting, not {reply}"
    return reply


def ensure_engine(home: Home, *, trains: bool = True) -> Greeting:
    """Greet the engine of a home, starting it if necessary; concurrent callers share one engine.

    Args:
        trains: Let it start workers; otherwise one that is started here serves and starts none.

    Raises:
        EngineUnreachable: the engine could not be started or does not respond.
        UsageError: an engine of another version is running.
    """
    greeting = greet(home)
    if greeting is None:
        home.create()
        if is_serving(home) and read_holder(home).is_elsewhere:
            raise EngineUnreachable(absent_listener(home) or "")
        # Others that want to start one wait, and then find it running.
        with locked(home.launch_lock):
            greeting = greet(home) or start(home, trains=trains)
    check_version(greeting)
    if trains and not greeting.starts_runs:
        with Connection(home.engine_socket) as connection:
            connection.ask(StartTraining())
    return greeting


def check_version(greeting: Greeting) -> None:
    """Check that an engine has our version.

    Raises:
        UsageError: the version or protocol differs.
    """
    if greeting.version != VERSION or greeting.protocol != PROTOCOL:
        theirs, ours = greeting.version, VERSION
        if theirs == ours:
            theirs, ours = f"{theirs} (protocol {greeting.protocol})", f"{ours} (protocol {PROTOCOL})"
        raise UsageError(
            f"the engine (pid {greeting.pid}) is version {theirs}, this is {ours}:"
            " replace it with `depthscope engine restart`; training continues"
        )


def is_serving(home: Home) -> bool:
    """Return whether an engine holds the home's lock, even if it does not respond."""
    return is_held(home.engine_lock)


def failure(home: Home) -> str | None:
    """Say why the newest engine could not start or which error ended it; None if one serves or nothing went wrong.

    Raises:
        OddFile: engine.lock is not a regular file.
    """
    return None if is_serving(home) else read_failure(home)


def absence(home: Home) -> str:
    """Say how to get an engine running again."""
    stopped = read_stopped(home)
    if stopped is not None and stopped.cause is Cause.COMMAND:
        return "it was stopped: `depthscope engine start` continues the runs; `train`, `resume` and `retry` do, too"
    if stopped is not None:
        return f"training was {stopped}: `depthscope engine start` continues it"
    return "the next command that needs one starts it"


def start(home: Home, *, trains: bool) -> Greeting:
    """Start an engine in a new session and wait until it responds; the caller holds the launch lock.

    Raises:
        EngineUnreachable: it exited or did not respond in time; the text has the end of its log.
    """
    reading, writing = os.pipe()
    log = open_private(home.engine_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.daemon", str(home.root), str(writing), *([] if trains else [SERVE])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.root,
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        failure = read_ready(reading)
    finally:
        os.close(log)
        os.close(reading)
    if failure:
        raise EngineUnreachable(f"the engine could not start: {failure}")
    greeting = None if failure is None else greet(home)
    if greeting is None:
        if failure is not None:
            # It closed the pipe, so it has exited or is about to.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(EXIT_PATIENCE_SECONDS)
        status = child.poll()
        if status is not None and status < 0:
            raise EngineLost(f"the engine was killed by signal {-status} while it started")
        if status in (None, EXIT_LOCKED) and (who := absent_listener(home)) is not None:
            raise EngineUnreachable(who)
        how = "exited at once" if status is None else f"exited with status {status}"
        how = "did not respond in time" if failure is None else how
        raise EngineUnreachable(f"the engine {how}: {log_tail(home.engine_log) or 'its log is empty'}")
    return greeting


def read_ready(descriptor: int) -> str | None:
    """Wait until a starting engine closes its pipe, as long as it keeps reporting progress.

    Returns:
        Why it cannot serve, in one line; empty if it can, or exited without a reason; None if it went silent.
    """
    received = b""
    while select.select([descriptor], [], [], START_PATIENCE_SECONDS)[0]:
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            return received.decode(errors="replace").strip(".\n").removeprefix("ready")
        # Dots report progress.
        received = (received + piece).lstrip(b".")
    return None


def keep_engine(home: Home) -> None:
    """Start the engine again if it died, on behalf of a command that follows runs.

    Raises:
        EngineUnreachable: the user stopped it, or it cannot be started.
    """
    if is_serving(home):
        return
    check_trains(home)
    ensure_engine(home)


def check_trains(home: Home) -> None:
    """Check that training was not ended, on behalf of a command that follows runs.

    Raises:
        EngineUnreachable: it was, or is not asked for yet.
    """
    stopped = read_stopped(home)
    if stopped is not None:
        what = "the engine was stopped" if stopped.cause is Cause.COMMAND else f"training was {stopped}"
        raise EngineUnreachable(f"{what}: `depthscope engine start` continues the runs; then follow them again")


def log_tail(path: Path, num_lines: int = 3) -> str:
    """Join the last lines of the engine's log."""
    try:
        return " | ".join(read_end(path).splitlines()[-num_lines:])
    except OSError:
        return ""


def restart(home: Home) -> Greeting:
    """Replace the engine of a home, whatever its version, with one of ours, which adopts the running workers.

    Raises:
        EngineUnreachable: the old engine does not respond or does not exit, or the new one could not be started.
        UsageError: config.toml is invalid; the old engine keeps running.
    """
    # Checked before the old engine is stopped, because a new one would not start.
    read_settings(home)
    stop(home, keep_training=True, for_good=False)
    return ensure_engine(home)


def stop(
    home: Home, *, keep_training: bool = False, for_good: bool = True, opens_queue: bool = False
) -> Greeting | None:
    """Stop the engine of a home and wait until it has exited; None if none was running.

    Args:
        keep_training: Leave workers running for the next engine to adopt; otherwise they save a checkpoint and exit,
            and their runs go back to the queue.
        for_good: Do not let commands that follow runs start it again.
        opens_queue: Open a draining queue, so that the next engine starts the waiting runs.

    Raises:
        EngineUnreachable: the engine does not respond or does not exit.
    """
    greeting = greet(home)
    if greeting is None:
        if (who := absent_listener(home)) is not None:
            raise EngineUnreachable(who)
        return None
    if for_good:
        # Written before it exits, because a command that follows runs may check at any time.
        leave_mark(home, Cause.COMMAND)
    with Connection(home.engine_socket, patience_seconds=STOP_PATIENCE_SECONDS) as connection:
        connection.ask(Shutdown(keep_training=keep_training, opens_queue=opens_queue))
    deadline = time.monotonic() + START_PATIENCE_SECONDS
    while is_serving(home):
        if time.monotonic() > deadline:
            raise EngineUnreachable(f"the engine (pid {greeting.pid}) accepted the shutdown but has not exited")
        select.select([], [], [], 0.02)
    return greeting
