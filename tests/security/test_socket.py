"""Invalid data, floods and silence on the engine's socket leave it serving."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.control.connection import Connection
from engine.control.launch import ensure_engine, greet
from engine.control.protocol import MAX_LINE_BYTES, Greeting, Hello, Stop, encode
from engine.runs.directory import RunDirectory
from engine.scheduler import supervisor
from tests.conftest import wait_until
from tests.engine.scripted import GPUS, scene

NUM_CLIENTS = 1000
GIGABYTE = 1 << 30
MIB = 1 << 20
FEW_DESCRIPTORS = 256


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Raise this process's limit on descriptors to what the simulated clients need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * NUM_CLIENTS if hard == resource.RLIM_INFINITY else min(hard, 4 * NUM_CLIENTS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def connected(home: Any, num: int) -> Iterator[list[socket.socket]]:
    clients = []
    try:
        for _ in range(num):
            client = socket.socket(socket.AF_UNIX)
            clients.append(client)
            client.settimeout(30)
            connect(client, str(home.home.engine_socket))
        yield clients
    finally:
        for client in clients:
            client.close()


def connect(client: socket.socket, path: str) -> None:
    """Connect once the backlog has space."""

    def connected() -> bool:
        with contextlib.suppress(BlockingIOError):
            client.connect(path)
            return True
        return False

    wait_until(connected, patience_seconds=30)


def reply(client: socket.socket) -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        more = client.recv(65536)
        if not more:
            return {}
        line += more
    found: dict[str, Any] = json.loads(line.splitlines()[0])
    return found


def test_a_line_of_a_gigabyte_is_refused_and_costs_no_memory(bare_home: Any, figure: Callable[[str], None]):
    """It is not read to the end."""
    ensure_engine(bare_home.home)
    engine = psutil.Process(bare_home.engine_pid())
    before, sent, chunk = engine.memory_info().rss, 0, b"x" * MIB
    with connected(bare_home, 1) as (client,), contextlib.suppress(ConnectionError):
        while sent < GIGABYTE:
            sent += client.send(chunk)
    grown = engine.memory_info().rss - before

    assert MAX_LINE_BYTES < sent < GIGABYTE
    assert greet(bare_home.home) is not None
    figure(f"a line of 1 GB was cut off at {sent / MIB:.0f} MiB; the engine grew by {grown / MIB:.0f} MiB")
    assert grown < 100 * MIB


def test_a_request_too_long_is_refused_before_it_is_sent(bare_home: Any):
    """The error gives its size, rather than a lost connection."""
    ensure_engine(bare_home.home)
    with (
        Connection(bare_home.home.engine_socket) as connection,
        pytest.raises(UsageError, match=rf"bytes, at most {MAX_LINE_BYTES} allowed"),
    ):
        connection.ask(Stop(runs=("0" * MAX_LINE_BYTES,)))


def test_nonsense_is_refused_and_others_are_served(bare_home: Any):
    """Including nesting that would overflow a careless parser's stack."""
    pid = ensure_engine(bare_home.home).pid
    for nonsense in (
        b"\x00" * 4096 + b"\n",
        b"\xff\xfe\xfd\n",
        b"[" * 200_000 + b"\n",
        b'{"id":' + b'{"a":' * 100_000 + b"\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b'{"request":"stop","id":"a","protocol":2,"runs":[' + b'"x",' * 100_000 + b'"x"]}\n',
    ):
        with connected(bare_home, 1) as (client,):
            client.sendall(nonsense)
            assert reply(client)["reply"] == "refused"

        greeting = greet(bare_home.home)
        assert greeting is not None
        assert greeting.pid == pid
    assert "Traceback" not in bare_home.home.engine_log.read_text()


def test_a_thousand_clients_are_served_beside_half_open_ones(
    bare_home: Any, descriptors: None, figure: Callable[[str], None]
):
    """Half of them never end their line, like a console stopped in mid-write."""
    ensure_engine(bare_home.home)
    engine = psutil.Process(bare_home.engine_pid())
    if engine.rlimit(psutil.RLIMIT_NOFILE)[0] < 2 * NUM_CLIENTS:
        pytest.skip("this system lets nobody have so many descriptors")
    with connected(bare_home, NUM_CLIENTS) as clients:
        began = time.monotonic()
        for client in clients[::2]:
            client.sendall(b'{"request":"hel')
        for client in clients[1::2]:
            client.sendall(encode(Hello()) + b"\n")
        assert all(reply(client)["reply"] == "greeting" for client in clients[1::2])
        greeting = greet(bare_home.home)
        taken = time.monotonic() - began
        assert isinstance(greeting, Greeting)
        # The half-open ones finally end their lines and are answered, too.
        for client in clients[::2]:
            client.sendall(b'lo","id":"h","protocol":2}\n')
        assert all(reply(client)["reply"] == "greeting" for client in clients[::2])
    figure(f"{NUM_CLIENTS} clients, {NUM_CLIENTS // 2} half open: all answered, the last after {taken:.2f} s")


UNBOUNDED = "engine.daemon.Engine._make_room = lambda self, writer: None"


def start_with_few_descriptors(home: Any, change: str = "") -> subprocess.Popen[bytes]:
    command = f"import resource, sys, engine.daemon; {change or 'pass'}\n"
    command += f"resource.setrlimit(resource.RLIMIT_NOFILE, ({FEW_DESCRIPTORS}, {FEW_DESCRIPTORS}))\n"
    command += f"sys.argv = ['engine', {str(home.home.root)!r}]; engine.daemon.main()"
    with home.home.engine_log.open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", command], env=home.env, stderr=log)


@pytest.mark.parametrize("bounded", [True, False])
def test_where_descriptors_are_few_the_silent_clients_leave(
    bounded: bool, bare_home: Any, descriptors: None, wait_until: Callable[..., Any]
):
    """A thousand clients that only hold connections; the control is an engine that accepts all."""
    engine = start_with_few_descriptors(bare_home, "" if bounded else UNBOUNDED)
    try:
        wait_until(lambda: greet(bare_home.home))
        with connected(bare_home, NUM_CLIENTS) as clients, connected(bare_home, 1) as (late,):
            late.settimeout(3)
            late.sendall(encode(Hello()) + b"\n")
            if bounded:
                assert reply(late)["reply"] == "greeting"
                assert reply(clients[0]) == {}, "the one that was silent for longest is still there"
            else:
                with pytest.raises(TimeoutError):
                    reply(late)
    finally:
        engine.kill()
        engine.wait()


def flood(log: Path) -> None:
    with log.open("ab") as file:
        file.writelines(b"line %d of many\n" % number for number in range(500_000))


def check_cut(content: bytes) -> None:
    """Check that a flooded log is short, says how much was cut, and still has its end."""
    assert len(content) < 2 * MIB
    assert content.startswith(b"[")
    assert b"bytes before this were dropped]\nline " in content
    assert b"line 499999 of many\n" in content


def test_a_log_that_floods_is_cut_and_its_end_stays(bare_home: Any):
    """Whatever floods the engine's log, its next line cuts it again and counts the removed lines."""
    flood(bare_home.home.engine_log)
    ensure_engine(bare_home.home)
    content = bare_home.home.engine_log.read_bytes()

    check_cut(content)
    assert b"serving" in content


def test_without_its_caps_a_flooded_log_would_be_seen(
    bare_home: Any, wait_until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    """Controls: an engine that does not cut its own log, and one that does not cut its workers'."""
    flood(bare_home.home.engine_log)
    unlimited = "import engine.base.logs, sys, engine.daemon; engine.base.logs.cap_log = lambda path: False\n"
    unlimited += f"sys.argv = ['engine', {str(bare_home.home.root)!r}]; engine.daemon.main()"
    with (
        bare_home.home.engine_log.open("ab") as log,
        subprocess.Popen([sys.executable, "-c", unlimited], env=bare_home.env, stderr=log) as engine,
    ):
        wait_until(lambda: greet(bare_home.home))
        engine.kill()
    with pytest.raises(AssertionError):
        check_cut(bare_home.home.engine_log.read_bytes())

    inside = scene(Home(bare_home.home.root / "other").create(), GPUS)
    (run,) = inside.submit("cuda:0")
    for unguarded in (False, True):
        if unguarded:
            monkeypatch.setattr(supervisor, "cap_log", lambda path: False)
        flood(inside.supervisor.directory(run).log)
        inside.supervisor.tick()
        with pytest.raises(AssertionError) if unguarded else contextlib.nullcontext():
            check_cut(inside.supervisor.directory(run).log.read_bytes())


def test_a_worker_that_floods_its_log_is_cut_while_it_lives(home: Any, training: str, wait_until: Callable[..., Any]):
    """The engine cuts it; followers and the console's log view continue after the cut."""
    directory: RunDirectory = home.directory(training)
    engine = home.engine_pid()
    with directory.log.open("ab", buffering=0) as file:
        # The engine cuts a log while it is written, and again only when it has grown too long again. So everything has
        # to be there when the engine looks, and nothing may be written at the moment of the cut.
        os.kill(engine, signal.SIGSTOP)
        file.write(b"".join(b"warning %d\n" % number for number in range(500_000)))
        os.kill(engine, signal.SIGCONT)
        wait_until(lambda: 0 < directory.log.stat().st_size < 2 * MIB)
        # Processes that have it open continue to append.
        file.write(b"and on\n")

    shown = home.cli("logs", training)
    assert "bytes before this were dropped]" in shown
    assert shown.rstrip().endswith("and on")
    assert home.worker_pid(training) is not None
