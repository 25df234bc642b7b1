"""Unwritable homes of an unprivileged user: a one-line error, and no retry loop."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.runs.run import NO_ACCESS, RunStatus
from tests.conftest import TestHome
from tests.faults.unprivileged import NOBODY, unprivileged, why_not

COMMANDS = (("ls",), ("engine", "start"), ("train", "-a", "he-resnet", "-d", "8", "--data", "tiny", "--detach"))

UNGUARDED_COMMANDS = """
import engine.base.paths, sys

engine.base.paths.Home.create = lambda home: home
sys.modules["__main__"].PermissionError = sys.modules["__main__"].OSError = KeyError
"""
"""Do not check whether a home is writable, and treat refusals like any other error."""

UNGUARDED_RUNS = """
import engine.runs.disk

engine.runs.disk.trouble_of = lambda error: None
engine.runs.disk.trouble_now = lambda path, needed_bytes: None
"""


class BoundHome(TestHome):
    """A home of a user subject to file modes."""

    def command(self, *words: str) -> list[str]:
        return unprivileged(super().command(*words))

    def cli(self, *words: str, **options: Any) -> str:
        return self.cli_apart(*words, **options)

    def without(self, safeguard: str) -> None:
        """Remove a safeguard from all processes started from now on."""
        changed = self.home.root.with_name("changed")
        changed.mkdir()
        (changed / "sitecustomize.py").write_text(safeguard)
        self.env["PYTHONPATH"] = str(changed)


@pytest.fixture
def bound() -> Iterator[BoundHome]:
    """A home with the tiny dataset, reachable by its owner, unlike pytest's; made writable again at the end."""
    if (why := why_not()) is not None:
        pytest.skip(f"root cannot become nobody here: {why}")
    place = Path(tempfile.mkdtemp(prefix="depthscope-bound-"))
    place.chmod(0o755)
    home = BoundHome(place / "home")
    home.add_tiny()
    if os.geteuid() == 0:
        give(home.home.root, NOBODY)
    yield home
    allow(home.home.root)
    home.end_everything()
    shutil.rmtree(place)


def give(path: Path, uid: int) -> None:
    """Change owners like chown -R."""
    for each in [path, *path.rglob("*")]:
        shutil.chown(each, uid, uid)


def forbid(path: Path) -> None:
    """Remove write permission like chmod -R a-w."""
    for each in [*path.rglob("*"), path]:
        if not each.is_socket():
            each.chmod(each.stat().st_mode & ~0o222)


def allow(path: Path) -> None:
    for each in [path, *path.rglob("*")]:
        if not each.is_socket():
            each.chmod(each.stat().st_mode | 0o200)


def check_said(bound: BoundHome, words: tuple[str, ...], fault: str) -> None:
    """Make a home inaccessible to its user, and check that a command reports it properly."""
    bound.cli("ls")
    if fault == "read-only":
        forbid(bound.home.root)
    else:
        if os.geteuid():
            pytest.skip("only root can give a home away")
        give(bound.home.root, 1)
    child = bound.start(*words)
    out, said = child.communicate(timeout=120)

    assert "Traceback" not in said
    assert said.count("\n") == 1, said
    if words != ("ls",) or fault == "foreign":
        assert child.returncode in (1, 2, 3), (out, said)
        assert str(bound.home.root) in said
    assert bound.engine_pid() is None


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("fault", ["read-only", "foreign"])
def test_an_unwritable_home_gives_a_one_line_error(bound: BoundHome, words: tuple[str, ...], fault: str):
    """It names the path and the remedy, without a traceback; no engine stays behind."""
    check_said(bound, words, fault)


@pytest.mark.slow
@pytest.mark.parametrize(("words", "fault"), [(("engine", "start"), "read-only"), (("ls",), "foreign")])
def test_without_the_check_an_unwritable_home_would_print_a_traceback(
    bound: BoundHome, words: tuple[str, ...], fault: str
):
    """Control: the same check fails."""
    bound.without(UNGUARDED_COMMANDS)
    with pytest.raises(AssertionError, match="Traceback"):
        check_said(bound, words, fault)


def state(bound: BoundHome, run: str) -> Any:
    with bound.reader() as reader:
        return reader.run(run)


@pytest.mark.slow
def test_runs_wait_for_a_home_that_becomes_read_only_during_training(bound: BoundHome, wait_until: Callable[..., Any]):
    """The run pauses with the reason; nothing starts until the home is writable again, then it resumes by itself."""
    run = bound.train("--epochs", "20")
    wait_until(lambda: state(bound, run).epoch >= 1)
    forbid(bound.home.root)
    wait_until(lambda: state(bound, run).waits_for_disk)
    assert state(bound, run).error.startswith(f"{NO_ACCESS}: ")
    assert str(bound.home.root) in state(bound, run).error
    told = bound.home.engine_log.read_text()
    threading.Event().wait(6)
    assert bound.worker_pid(run) is None
    assert len(bound.home.engine_log.read_text().splitlines()) <= len(told.splitlines()) + 1
    assert f"{NO_ACCESS}: " in bound.cli("show", run)
    allow(bound.home.root)
    bound.cli("wait", run)
    assert [row["epoch"] for row in bound.json("show", run)["epochs"]] == list(range(1, 21))


@pytest.mark.slow
def test_without_its_exit_reason_a_read_only_home_would_not_pause_the_run(
    bound: BoundHome, wait_until: Callable[..., Any]
):
    """Control: worker and engine treat a refusal like any other error."""
    bound.without(UNGUARDED_RUNS)
    run = bound.train("--epochs", "4000")
    wait_until(lambda: state(bound, run).epoch >= 1)
    forbid(bound.home.root)

    wait_until(lambda: state(bound, run).status is not RunStatus.RUNNING)
    assert not state(bound, run).waits_for_disk
    assert NO_ACCESS not in (state(bound, run).error or "")
