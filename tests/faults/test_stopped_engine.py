"""A hanging engine: it is reported as unresponsive, stays the only one, and does nothing twice afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from engine.base.errors import EngineUnreachable
from engine.control.connection import Connection
from engine.control.launch import ensure_engine, greet
from engine.control.protocol import Done, NewRun, Pause, SetQueue, Submit, encode
from engine.control.queue_state import QueueState
from tests.console.test_terminal import SCRIPT, terminal_env
from tests.engine.scripted import spec_of
from tests.terminal import Terminal

TOLD_WITHIN_SECONDS = 3.0


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def send(home: Any, request: Any) -> socket.socket:
    """Send a request like a console that gives up waiting for the reply."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(home.home.engine_socket))
    client.sendall(encode(request) + b"\n")
    return client


def submission(name: str) -> Submit:
    return Submit(runs=(NewRun(name=name, spec=spec_of(0, "cpu")),))


def check_stopped(home: Any, seconds: float, wait_until: Callable[..., Any], figure: Callable[[str], None]) -> None:
    ensure_engine(home.home)
    with Connection(home.home.engine_socket) as connection:
        connection.ask(SetQueue(state=QueueState.HELD))
        reply = connection.ask(submission("first"))
    assert isinstance(reply, Done)
    engine = home.engine_pid()
    twice, pause = submission("second"), Pause(runs=reply.runs)
    with Terminal([SCRIPT], terminal_env(home)) as terminal:
        terminal.read_until(lambda seen: b"engine up" in seen)
        with stopped(engine):
            began = time.monotonic()
            told = terminal.read_until(lambda seen: b"not responding" in seen)
            clients = [send(home, twice), send(home, pause), send(home, twice), send(home, pause)]
            command = subprocess.run(home.command("engine", "start"), env=home.env, capture_output=True, text=True)
            with pytest.raises(EngineUnreachable, match="does not respond"):
                ensure_engine(home.home)
            while (left := seconds - (time.monotonic() - began)) > 0:
                terminal.drain(left)
        terminal.read_until(lambda seen: b"engine up" in seen)
    for client in clients:
        # Each gets a reply; a repeated request gets the first one's.
        assert client.recv(65536).endswith(b"\n")
        client.close()

    assert command.returncode == 3
    assert "does not respond" in command.stderr
    assert home.engine_pid() == engine
    assert home.home.engine_log.read_text().count("serving") == 1
    with home.reader() as reader:
        assert [run.name for run in reader.runs()] == ["first", "second"]
        assert [event.kind for event in reader.events(reply.runs[0])].count("paused") == 1
    # Control: different requests are both executed, so a repeated execution would have been counted.
    for client in (send(home, submission("third")), send(home, submission("third"))):
        client.recv(65536)
    with home.reader() as reader:
        assert [run.name for run in reader.runs()].count("third") == 2
    figure(f"engine stopped for {seconds:g} s: told within {told:.2f} s, 0 of 2 requests doubled, 1 engine")
    assert told < TOLD_WITHIN_SECONDS


def test_a_hanging_engine_is_reported_and_does_nothing_twice(
    bare_home: Any, wait_until: Callable[..., Any], figure: Callable[[str], None]
):
    """Requests arrive twice while it hangs, as from consoles that timed out and retried."""
    check_stopped(bare_home, 1.0, wait_until, figure)


@pytest.mark.soak
def test_an_engine_that_hangs_for_ten_seconds(
    bare_home: Any, wait_until: Callable[..., Any], figure: Callable[[str], None]
):
    """Longer version."""
    check_stopped(bare_home, 10.0, wait_until, figure)


def test_following_restarts_an_engine_that_died_but_not_one_that_was_stopped(home: Any, wait_until: Callable[..., Any]):
    """A killed engine is restarted; one stopped by `engine stop` is not."""
    run = home.train("--epochs", "2000")
    wait_until(home.directory(run).checkpoint.exists)
    following = home.start("follow", run)
    killed = home.engine_pid()
    home.kill(killed)
    # Restarted by the follower, the only process that could.
    wait_until(lambda: home.engine_pid() not in (None, killed))
    wait_until(lambda: greet(home.home))

    home.cli("engine", "stop")
    _, said = following.communicate(timeout=60)
    assert following.returncode == 3
    assert said.splitlines()[-1].startswith("depthscope: the engine was stopped: `depthscope engine start`")
    assert home.engine_pid() is None
    # A command that needs the engine starts it again, and interrupted runs resume.
    home.cli("engine", "start")
    wait_until(lambda: home.json("show", run)["run"]["status"] == "running")
    assert not home.home.engine_stopped.exists()
