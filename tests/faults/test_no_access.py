"""Homes that may not be written, by somebody for whom modes count: one line says so, and nothing is tried in a loop."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.run import NO_ACCESS
from tests.conftest import TestHome

COMMANDS = (("ls",), ("engine", "start"), ("train", "-a", "he-resnet", "-d", "8", "--data", "tiny", "--detach"))

DROP_AND_RUN = """
import ctypes, os, sys

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
    assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""What makes root an owner like any other, for which modes count, in this process and all that it starts. Another uid
would not do everywhere: an interpreter may lie in the home of its user."""


class BoundHome(TestHome):
    """A home that is used by somebody for whom modes count."""

    def command(self, *words: str) -> list[str]:
        command = super().command(*words)
        return command if os.geteuid() else [command[0], "-c", DROP_AND_RUN, *command[1:]]


@pytest.fixture
def bound(tmp_path: Path) -> Iterator[BoundHome]:
    """A home with the tiny dataset, writable again at the end."""
    home = BoundHome(tmp_path / "home")
    home.add_tiny()
    yield home
    allow(home.home.root)
    home.end_everything()


def forbid(path: Path) -> None:
    """As chmod -R a-w does."""
    for each in [*path.rglob("*"), path]:
        if not each.is_socket():
            each.chmod(each.stat().st_mode & ~0o222)


def allow(path: Path) -> None:
    for each in [path, *path.rglob("*")]:
        if not each.is_socket():
            each.chmod(each.stat().st_mode | 0o200)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("fault", ["read-only", "foreign"])
def test_a_home_that_may_not_be_written_is_said_in_one_line(bound: BoundHome, words: tuple[str, ...], fault: str):
    """With the path and what to do, and without a traceback; no engine is left behind."""
    bound.cli("ls")
    if fault == "read-only":
        forbid(bound.home.root)
    else:
        if os.geteuid():
            pytest.skip("only root can give a home away")
        for each in [bound.home.root, *bound.home.root.rglob("*")]:
            shutil.chown(each, 1, 1)
    child = bound.start(*words)
    out, said = child.communicate(timeout=120)

    assert "Traceback" not in said
    assert said.count("\n") == 1, said
    if words != ("ls",) or fault == "foreign":
        assert child.returncode in (1, 2, 3), (out, said)
        assert str(bound.home.root) in said
    assert bound.engine_pid() is None


def test_a_home_that_becomes_read_only_under_a_training_engine_is_waited_for(
    bound: BoundHome, wait_until: Callable[..., Any]
):
    """The run rests with the reason; nothing is started until it may be written again, and then by itself."""

    def state(run: str) -> Any:
        with bound.reader() as reader:
            return reader.run(run)

    run = bound.train("--epochs", "60")
    wait_until(lambda: state(run).epoch >= 2)
    forbid(bound.home.root)
    wait_until(lambda: state(run).waits_for_disk)
    assert state(run).error.startswith(f"{NO_ACCESS}: ")
    assert str(bound.home.root) in state(run).error
    told = bound.home.engine_log.read_text()
    threading.Event().wait(6)
    assert bound.worker_pid(run) is None
    assert len(bound.home.engine_log.read_text().splitlines()) <= len(told.splitlines()) + 1
    assert f"{NO_ACCESS}: " in bound.cli("show", run)
    allow(bound.home.root)
    bound.cli("wait", run)
    assert [row["epoch"] for row in bound.json("show", run)["epochs"]] == list(range(1, 61))
