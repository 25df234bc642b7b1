"""Start the engine of a home where none serves, find out whether one does, and end it."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.base.errors import EngineUnreachable, UsageError
from engine.base.locks import is_held, read_pid
from engine.base.paths import Home, open_private
from engine.base.version import PROTOCOL, VERSION
from engine.control.connection import PATIENCE_SECONDS, Connection, NoEngine
from engine.control.protocol import Greeting, Hello, Shutdown
from engine.spec.settings import read_settings

EXIT_LOCKED = 75
"""Of an engine that finds another one serving its home (EX_TEMPFAIL of sysexits.h)."""
START_PATIENCE_SECONDS = 30.0
"""Without a sign of progress; an index of ten thousand runs takes longer to be built again."""
STOP_PATIENCE_SECONDS = 180.0
"""For every worker to finish its step and write a checkpoint."""


def greet(home: Home, *, patience_seconds: float = PATIENCE_SECONDS) -> Greeting | None:
    """Who serves a home; None where nobody does.

    Raises:
        EngineUnreachable: somebody does, but does not answer.
    """
    try:
        with Connection(home.engine_socket, patience_seconds=patience_seconds) as connection:
            reply = connection.ask(Hello())
    except NoEngine:
        return None
    assert isinstance(reply, Greeting), f"a hello is answered by a greeting, not {reply}"
    return reply


def ensure_engine(home: Home) -> Greeting:
    """The engine of a home, started where there is none; many may call this at once, and one engine serves them.

    Raises:
        EngineUnreachable: it could not be started, or does not answer.
        UsageError: one of another version serves, or config.toml makes no sense; the text says what to do.
    """
    greeting = greet(home)
    if greeting is None:
        home.create()
        # Refused here, where somebody reads it: an engine has to live with what it finds.
        read_settings(home)
        with launch_lock(home):
            greeting = greet(home) or start(home)
    check_version(greeting)
    return greeting


def check_version(greeting: Greeting) -> None:
    """Refuse to talk to an engine of another version.

    Raises:
        UsageError: it is one; training goes on while it is replaced.
    """
    if greeting.version != VERSION or greeting.protocol != PROTOCOL:
        theirs, ours = greeting.version, VERSION
        if theirs == ours:
            theirs, ours = f"{theirs} (protocol {greeting.protocol})", f"{ours} (protocol {PROTOCOL})"
        raise UsageError(
            f"the engine (pid {greeting.pid}) is version {theirs}, this is {ours}:"
            " `depthscope engine restart` replaces it, and training goes on"
        )


@contextmanager
def launch_lock(home: Home) -> Iterator[None]:
    """One console at a time may start an engine; the others wait, and then find it."""
    descriptor = open_private(home.root / "launch.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_serving(home: Home) -> bool:
    """Whether an engine holds the home's lock, be it able to answer or not."""
    return is_held(home.engine_lock)


def absence(home: Home) -> str:
    """What brings an engine back to a home that none serves."""
    if home.engine_stopped.exists():
        return (
            "it was stopped: `depthscope engine start` goes on with the runs, the console and whatever changes runs"
            " start it too, `follow` and `wait` do not"
        )
    return "the next command that needs one starts it"


def start(home: Home) -> Greeting:
    """Start an engine in a session of its own and wait until it answers; the caller holds the launch lock.

    Raises:
        EngineUnreachable: it ended, or did not answer in time; the text has the end of its log.
    """
    reading, writing = os.pipe()
    log = open_private(home.engine_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.daemon", str(home.root), str(writing)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.root,
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        said = said_in_time(reading)
    finally:
        os.close(log)
        os.close(reading)
    if said:
        raise EngineUnreachable(f"the engine cannot serve: {said}")
    greeting = None if said is None else greet(home)
    if greeting is None:
        status = child.poll()
        how = "ended at once" if status is None else f"ended with status {status}"
        how = "did not answer in time" if said is None else how
        raise EngineUnreachable(f"the engine {how}: {log_tail(home.engine_log) or 'its log is empty'}")
    return greeting


def said_in_time(descriptor: int) -> str | None:
    """Wait until the engine closes its pipe or ends, for as long as it says something now and then.

    Returns:
        Why it cannot serve, in a line, which is empty where it can or could not say; None where it went silent.
    """
    said = b""
    while select.select([descriptor], [], [], START_PATIENCE_SECONDS)[0]:
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            return said.decode(errors="replace").strip(".\n").removeprefix("ready")
        # A dot each while it is getting somewhere.
        said = (said + piece).lstrip(b".")
    return None


def keep_engine(home: Home) -> None:
    """Start the engine again where it has gone by itself, for somebody who follows runs.

    Raises:
        EngineUnreachable: somebody has stopped it, or it cannot be started.
    """
    if is_serving(home):
        return
    if home.engine_stopped.exists():
        raise EngineUnreachable(
            "the engine was stopped: `depthscope engine start` goes on with the runs, and they can be followed again"
        )
    ensure_engine(home)


def log_tail(path: Path, num_lines: int = 3) -> str:
    """The last lines of the engine's log, in one."""
    try:
        return " | ".join(path.read_text(errors="replace").splitlines()[-num_lines:])
    except FileNotFoundError:
        return ""


def restart(home: Home) -> Greeting:
    """Replace the engine of a home, whatever its version, by one of ours; workers go on, and it takes them over.

    Raises:
        EngineUnreachable: the old one does not answer or does not end, or none could be started.
        UsageError: config.toml makes no sense; the old one serves on.
    """
    # Before the one that serves is ended: the next could not be started.
    read_settings(home)
    stop(home, keep_training=True, for_good=False)
    return ensure_engine(home)


def stop(
    home: Home, *, keep_training: bool = False, for_good: bool = True, opens_queue: bool = False
) -> Greeting | None:
    """End the engine of a home and wait until it is gone; None where none served.

    Args:
        home: Whose engine.
        keep_training: Leave the workers alone, for the next engine to adopt; else they save a checkpoint and leave,
            and their runs wait in the queue.
        for_good: Whether the user wants none until a command needs one; those who follow runs start none then.
        opens_queue: Leave a queue that drained open, for the next engine to start what waits in it.

    Raises:
        EngineUnreachable: it does not answer, or does not end.
    """
    greeting = greet(home)
    if greeting is None:
        if is_serving(home):
            pid = read_pid(home.engine_lock)
            raise EngineUnreachable(
                f"an engine (pid {pid}) holds {home.engine_lock} and does not listen: is it starting?"
            )
        return None
    if for_good:
        # Before it is gone: whoever follows a run may look at any time.
        os.close(open_private(home.engine_stopped, os.O_WRONLY | os.O_CREAT))
    with Connection(home.engine_socket, patience_seconds=STOP_PATIENCE_SECONDS) as connection:
        connection.ask(Shutdown(keep_training=keep_training, opens_queue=opens_queue))
    deadline = time.monotonic() + START_PATIENCE_SECONDS
    while is_serving(home):
        if time.monotonic() > deadline:
            raise EngineUnreachable(f"the engine (pid {greeting.pid}) said that it ends, and has not")
        select.select([], [], [], 0.02)
    return greeting
