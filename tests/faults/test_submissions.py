"""A submission of many runs is all or none, whenever engine or client is killed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.base.paths import Home
from engine.control.protocol import NewRun, Submit, decode_reply
from engine.runs.directory import RunDirectory
from engine.scheduler.submission import Submission, complete_pending
from engine.spec.devices import CPU
from tests.engine.scripted import Scene, scene, spec_of

NUM_RUNS = 200
TRAIN = ("train", "-a", "he-plain", "-d", "8", "--width", "4", "--data", "tiny", "--detach", "-e", "many")


def count_directories(home: Any) -> int:
    return sum((path / "spec.json").exists() for path in home.home.runs.iterdir())


def check_all_once(home: Any, num: int = NUM_RUNS) -> None:
    """Check that index and directories have every run once, under its own name."""
    with home.reader() as reader:
        runs = reader.runs()
    assert len(runs) == num
    assert len({run.name for run in runs}) == num
    assert {run.seed for run in (found.spec for found in runs)} == set(range(num))
    assert {path.name for path in home.home.runs.iterdir()} == {run.id for run in runs}
    assert not home.home.submission.exists()


@pytest.mark.slow
def test_an_engine_killed_during_a_submission_leaves_no_part_of_it(home: Any, wait_until: Callable[..., Any]):
    """At several instants of one and the same command, which ends well all the same."""
    home.cli("queue", "hold")
    child = home.start(*TRAIN, "--seeds", str(NUM_RUNS))
    for num in (1, NUM_RUNS // 4, NUM_RUNS // 2, NUM_RUNS - 1):
        wait_until(lambda num=num: count_directories(home) >= num and home.engine_pid() is not None)
        home.kill(home.engine_pid())
    out, err = child.communicate(timeout=120)

    assert child.returncode == 0, err
    check_all_once(home)
    assert out.count("\n") >= NUM_RUNS


@pytest.mark.parametrize("num", [pytest.param(0, marks=pytest.mark.slow), NUM_RUNS // 2])
def test_a_client_and_an_engine_killed_leave_all_runs_or_none(home: Any, wait_until: Callable[..., Any], num: int):
    """Nobody repeats the request; the next engine carries out what was decided."""
    home.cli("queue", "hold")
    child = home.start(*TRAIN, "--seeds", str(NUM_RUNS))
    wait_until(lambda: home.home.submission.exists() and count_directories(home) >= num)
    child.send_signal(signal.SIGKILL)
    home.kill(home.engine_pid())
    wait_until(lambda: home.engine_pid() is None)
    home.cli("engine", "start")
    check_all_once(home)


class Killed(BaseException):
    """Stands for a kill -9."""


REQUEST = Submit(id="one", runs=tuple(NewRun(name=f"run{seed}", spec=spec_of(seed, "cpu")) for seed in range(4)))


def submit_until(here: Scene, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submit four runs and die at a point."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if point == "decided":
            patch.setattr(RunDirectory, "create", die)
        elif point == "in the index":
            patch.setattr(Submission, "end", die)
        submission = Submission.begin(REQUEST, here.supervisor)
        for number, _ in enumerate(submission.make_directories(here.supervisor)):
            if point == f"{number + 1} directories":
                raise Killed
        if point == "all directories":
            raise Killed
        submission.enter(here.supervisor)


@pytest.mark.parametrize("index_lost", [False, True], ids=["", "index lost"])
@pytest.mark.parametrize("point", ["decided", "1 directories", "3 directories", "all directories", "in the index"])
def test_wherever_the_engine_dies_the_next_one_completes_a_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, index_lost: bool
):
    """Once, in order, with the same reply to a repeated request; nothing of it is taken for a lost run."""
    here = scene(Home(tmp_path / "home").create(), (CPU,))
    here.supervisor.dispatcher.starts_runs = False
    with pytest.raises(Killed):
        submit_until(here, point, monkeypatch)
    here.supervisor.reader.close()
    here.supervisor.store.close()
    if index_lost:
        for path in here.home.root.glob("depthscope.db*"):
            path.unlink()
    after = scene(here.home, (CPU,))
    after.supervisor.dispatcher.starts_runs = False
    complete_pending(after.supervisor)
    after.supervisor.recover()

    reply = decode_reply(after.supervisor.store.answered(REQUEST.id) or b"")
    assert after.waiting() == [f"run{seed}" for seed in range(4)]
    assert [run.id for run in after.supervisor.reader.runs()] == list(reply.runs)
    assert {event.kind for run in reply.runs for event in after.supervisor.reader.events(run)} == {"queued"}
    assert not here.home.submission.exists()


def test_a_rebuild_during_a_submission_takes_no_part_of_it_for_runs(tmp_path: Path):
    """Other clients are answered between its directories."""
    here = scene(Home(tmp_path / "home").create(), (CPU,))
    submission = Submission.begin(REQUEST, here.supervisor)
    steps = submission.make_directories(here.supervisor)
    next(steps)
    here.supervisor.rebuild()
    assert here.supervisor.reader.runs() == []
    assert here.started == []
    for _ in steps:
        pass
    submission.enter(here.supervisor)
    assert len(here.waiting()) == 4


def test_a_submission_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As on a full disk; neither this engine nor the next one carries it out later."""
    here = scene(Home(tmp_path / "home").create(), (CPU,))
    submission = Submission.begin(REQUEST, here.supervisor)
    next(submission.make_directories(here.supervisor))
    submission.undo(here.supervisor)
    complete_pending(here.supervisor)
    assert list(here.home.runs.iterdir()) == []
    assert here.waiting() == []


def test_a_damaged_submission_is_set_aside(tmp_path: Path):
    """It never keeps an engine from starting."""
    here = scene(Home(tmp_path / "home").create(), (CPU,))
    for content in (b"", b"[" * 100_000, b'{"reply":{"reply":"done","id":"x"},"runs":[["../../x",{},{}]]}'):
        here.home.submission.write_bytes(content)
        complete_pending(here.supervisor)
        assert content in [path.read_bytes() for path in here.home.root.glob("submission.damaged-*")]
    here.home.submission.mkdir()
    complete_pending(here.supervisor)
    assert not here.home.submission.exists()
    assert len(here.submit(None)) == 1
