"""An engine that cannot be reached from here is named: on another machine, starting or stopping."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.base.locks import read_pid
from engine.control import socket_place
from engine.control.engine_lock import Holder, read_holder, write_holder
from engine.control.launch import greet
from tests.conftest import TestHome

AT_ONCE_SECONDS = 8.0
"""Less than the ten seconds that a starting engine waits for the lock."""


@pytest.fixture
def hold(bare_home: Any) -> Iterator[Callable[..., None]]:
    """Hold engine.lock, with the given facts about the holder."""
    descriptors = []

    def lock(**facts: Any) -> None:
        descriptor = os.open(bare_home.home.engine_lock, os.O_RDWR | os.O_CREAT, 0o600)
        descriptors.append(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        write_holder(descriptor, msgspec.structs.replace(Holder.here(None), **facts))

    yield lock
    for descriptor in descriptors:
        os.close(descriptor)


ELSEWHERE = [{"host": "node7"}, {"boot": "another"}]


@pytest.mark.parametrize("facts", ELSEWHERE, ids=["host", "boot"])
@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["train", "-a", "he-plain", "-d", "8", "--data", "synthetic", "--detach"], 3),
        (["engine", "start"], 3),
        (["engine", "stop"], 3),
        (["engine", "status"], 0),
        (["queue", "hold"], 3),
        pytest.param(["doctor"], 1, marks=pytest.mark.slow),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_an_engine_on_another_machine_is_named_at_once(
    bare_home: Any, hold: Callable[..., None], command: list[str], status: int, facts: dict[str, str]
):
    """With its host, pid and start, and what to do."""
    hold(**facts, pid=4711, since=time.mktime((2026, 11, 27, 8, 5, 0, 0, 0, -1)))
    began = time.monotonic()
    said = " ".join(bare_home.cli(*command, status=status).split())
    taken = time.monotonic() - began

    host = facts.get("host", socket.gethostname())
    assert f"another machine (pid 4711 on {host}, since 2026-11-27 08:05): run the command there" in said
    assert "depthscope engine stop" in said
    # doctor takes its time for other checks.
    assert taken < AT_ONCE_SECONDS or command == ["doctor"]


def test_an_engine_that_is_here_but_not_listening_is_named(bare_home: Any, hold: Callable[..., None]):
    """It may be starting, or hanging."""
    hold(pid=4711)
    said = bare_home.cli("engine", "stop", status=3)

    assert f"(pid 4711 on {socket.gethostname()}, since 20" in said
    assert "`kill -9 4711`" in said


def test_lock_files_of_every_version_are_read(bare_home: Any, hold: Callable[..., None]):
    """Older ones have a pid alone; the first line is the pid in all."""
    path = bare_home.home.engine_lock
    assert read_holder(bare_home.home) == Holder(pid=None)
    for content, pid in {
        "": None,
        "4711\n": 4711,
        "garbage": None,
        "12\n{": None,
        "-1\n": None,
        "9" * 30: None,
    }.items():
        path.write_text(content)
        holder = read_holder(bare_home.home)
        assert (holder.pid, holder.is_elsewhere) == (pid, False)
    hold()
    assert read_pid(path) == read_holder(bare_home.home).pid == os.getpid()


@pytest.fixture
def deep_home(tmp_path: Path) -> Iterator[TestHome]:
    """A home whose path is longer than a socket's address."""
    home = TestHome(tmp_path / ("deep" * 40))
    assert len(str(home.home.engine_socket)) > 200
    yield home
    home.end_everything()


def test_the_socket_lies_in_the_home_however_long_its_path(deep_home: TestHome, tmp_path: Path):
    """So that a client with another temporary directory, or without any environment, reaches the engine."""
    deep_home.cli("engine", "start")
    assert deep_home.home.engine_socket.is_socket()
    pid = deep_home.engine_pid()
    only = {name: deep_home.env[name] for name in ("DEPTHSCOPE_HOME", "PATH")}
    for env in ({**only, "TMPDIR": str(tmp_path)}, only):
        deep_home.env = env
        assert f"pid {pid}" in deep_home.cli_apart("engine", "status")
    assert f"(pid {pid})" in deep_home.cli_apart("engine", "stop")
    assert not deep_home.home.engine_socket.exists()


def test_without_proc_the_lock_file_says_where_the_socket_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deep_home: TestHome
):
    """As on macOS."""
    monkeypatch.setattr(socket_place, "DESCRIPTORS", tmp_path / "none")
    assert greet(deep_home.home) is None
    place = socket_place.place_to_listen(deep_home.home)
    assert socket_place.is_short(place)
    lock = os.open(deep_home.home.engine_lock, os.O_RDWR | os.O_CREAT, 0o600)
    write_holder(lock, Holder.here(str(place)))
    os.close(lock)
    monkeypatch.setenv("TMPDIR", "/nowhere")
    with socket_place.address_to_connect(deep_home.home.engine_socket) as address:
        assert address == str(place)
