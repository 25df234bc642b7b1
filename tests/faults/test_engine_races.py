"""Engines started simultaneously over leftovers of killed ones: one serves, no other process is affected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.base.errors import DepthscopeError
from engine.control.connection import Connection
from engine.control.launch import ensure_engine, greet
from engine.control.protocol import Done, NewRun, SetQueue, Submit
from engine.control.queue_state import QueueState
from engine.daemon import EXIT_LOCKED
from engine.index.writer import Store
from engine.runs.launcher import signal_holder
from engine.runs.run import RunStatus
from tests.conftest import TestHome
from tests.engine.scripted import spec_of

NUM_AT_ONCE = 8
BYSTANDER = """
import signal, sys
def note(number, frame):
    sys.stdout.write(f"{number}\\n"); sys.stdout.flush()
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, note)
print("ready", flush=True)
while True:
    signal.pause()
"""


class Bystander:
    """An unrelated process whose pid is in our files, and the signals it received."""

    def __init__(self) -> None:
        self._child = subprocess.Popen([sys.executable, "-c", BYSTANDER], stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "ready\n"
        self.pid = self._child.pid

    def end(self) -> str:
        """Stop it; return its signals, and how it ended if it was gone already."""
        died = self._child.poll()
        self._child.kill()
        out, _ = self._child.communicate(timeout=30)
        return out if died is None else f"{out} ended with {died}"


@pytest.fixture
def bystander() -> Iterator[Bystander]:
    found = Bystander()
    yield found
    found.end()


def start_engines(home: TestHome, num: int, env: dict[str, str]) -> list[subprocess.Popen[bytes]]:
    """Start engine processes without the launch lock, as an init system might."""
    command = [sys.executable, "-P", "-m", "engine.daemon", str(home.home.root)]
    return [subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, cwd=home.home.root) for _ in range(num)]


def leave_stale_files(home: TestHome, pid: int, run: str) -> None:
    """Create the leftovers of killed processes whose pids are in use again."""
    for path in (home.home.engine_lock, home.directory(run).lock_file):
        path.write_text(f"{pid}\n")
    home.home.engine_socket.unlink(missing_ok=True)
    home.home.engine_socket.touch()


def add_run_that_is_to_be_stopped(home: TestHome) -> str:
    """Add a running run to be stopped, whose worker would be signalled if alive."""
    ensure_engine(home.home)
    with Connection(home.home.engine_socket) as connection:
        connection.ask(SetQueue(state=QueueState.HELD))
        reply = connection.ask(Submit(runs=(NewRun(name="stale", spec=spec_of(0, "cpu")),)))
    assert isinstance(reply, Done)
    home.kill(home.engine_pid() or 0)
    return reply.runs[0]


def count_wrong(home: TestHome, bystander: Bystander, num_rounds: int, wait_until: Callable[..., Any]) -> int:
    """Count the rounds that do not end with exactly one engine."""
    run, wrong = add_run_that_is_to_be_stopped(home), 0
    for _ in range(num_rounds):
        wait_until(lambda: home.engine_pid() is None)
        store = Store(home.home.database)
        with store.transaction():
            store.set_running(run, "cpu", started_at=time.time())
            store.set_crashes(run, 0, None)
        store.close()
        leave_stale_files(home, bystander.pid, run)
        engines = start_engines(home, NUM_AT_ONCE, home.env)
        try:
            wait_until(lambda started=engines: sum(engine.poll() is None for engine in started) <= 1)
            greeting = wait_until(lambda: greet(home.home))
            alive = [engine.pid for engine in engines if engine.poll() is None]
            statuses = [engine.returncode for engine in engines if engine.pid not in alive]
            wrong += alive != [greeting.pid] or statuses != [EXIT_LOCKED] * (NUM_AT_ONCE - 1)
            with home.reader() as reader:
                assert reader.run(run).status is RunStatus.QUEUED
        finally:
            for engine in engines:
                engine.kill()
                engine.wait()
    return wrong


@pytest.mark.slow
def test_of_eight_simultaneous_engines_one_serves_and_others_are_untouched(
    home: TestHome, bystander: Bystander, wait_until: Callable[..., Any], figure: Callable[[str], None]
):
    """Over lock files that contain the pid of another process."""
    wrong = count_wrong(home, bystander, 2, wait_until)
    figure(f"{NUM_AT_ONCE} engines at once, 2 times: {wrong} wrong")

    assert wrong == 0
    assert bystander.end() == ""


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_eight_engines_at_once_a_hundred_times(
    home: TestHome, bystander: Bystander, wait_until: Callable[..., Any], figure: Callable[[str], None]
):
    """Longer version."""
    wrong = count_wrong(home, bystander, 100, wait_until)
    signals = bystander.end()
    figure(f"{NUM_AT_ONCE} engines at once, 100 times: {wrong} wrong, {len(signals.split())} foreign signals")

    assert wrong == 0
    assert signals == ""


def serving_pid(home: TestHome) -> int | None:
    """Return the pid of the engine that answers; None while one replaces another's socket."""
    try:
        greeting = greet(home.home)
    except DepthscopeError:
        return None
    return None if greeting is None else greeting.pid


def test_the_control_without_locks_there_are_two(home: TestHome, wait_until: Callable[..., Any]):
    """Control: the count above can differ from zero."""
    env = {**home.env, "PYTHONPATH": str(Path(__file__).with_name("without_locks"))}
    engines = start_engines(home, 1, env)
    try:
        first = wait_until(lambda: greet(home.home))
        engines += start_engines(home, 1, env)
        wait_until(lambda: serving_pid(home) not in (None, first.pid))
        assert [engine.poll() for engine in engines] == [None, None]
    finally:
        for engine in engines:
            engine.kill()
            engine.wait()


def test_the_control_a_bystander_notices_a_signal(home: TestHome, bystander: Bystander):
    """Control: a worker that really holds the lock with its pid is signalled."""
    os.kill(bystander.pid, signal.SIGTERM)
    run = add_run_that_is_to_be_stopped(home)
    directory = home.directory(run)
    command = f"import fcntl, os; f = open({str(directory.lock_file)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
    command += "f.write(str(os.getpid())); f.flush(); print(flush=True); import signal; signal.pause()"
    holder = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    signal_holder(directory, signal.SIGTERM)

    assert holder.wait(timeout=30) == -signal.SIGTERM
    assert bystander.end() == f"{signal.SIGTERM.value}\n"
