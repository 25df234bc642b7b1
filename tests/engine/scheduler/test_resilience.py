"""Faults around an engine must not make a run start over."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from engine.base.paths import Home
from engine.runs.directory import ExitReason
from engine.runs.run import RunOutcome
from engine.spec.devices import CPU
from engine.training.step import has_finite_weights
from tests.conftest import wait_until
from tests.engine.scripted import scene

LONG = ("--epochs", "2000")


def run_of(home: Any, run: str) -> Any:
    with home.reader() as reader:
        return reader.run(run)


def begin(home: Any, *words: str) -> str:
    run = str(home.train(*LONG, *words))
    wait_until(lambda: run_of(home, run).step > 0)
    return run


def kill_engine(home: Any) -> None:
    home.kill(home.engine_pid())
    wait_until(lambda: home.engine_pid() is None)


def test_stopping_an_engine_can_leave_workers_running(home: Any):
    """However often it polls them before it exits."""
    run = begin(home)
    worker = home.worker_pid(run)
    for _ in range(3):
        home.cli("engine", "stop", "--keep-training")
        assert home.engine_pid() is None
        before = run_of(home, run).step
        home.cli("ls")
        wait_until(lambda step=before: run_of(home, run).step > step)

    assert home.worker_pid(run) == worker


def test_a_stop_that_was_acknowledged_outlives_the_engine(home: Any):
    """The next engine stops the worker if the previous one had not."""
    run = begin(home)
    worker = home.worker_pid(run)
    os.kill(worker, signal.SIGSTOP)
    home.cli("stop", run)
    kill_engine(home)
    os.kill(worker, signal.SIGCONT)
    # The first engine's signal may have arrived; if not, the second sends it again.
    home.cli("engine", "start")

    wait_until(lambda: run_of(home, run).is_finished)
    assert run_of(home, run).outcome is RunOutcome.CANCELLED


@pytest.fixture
def stopped(copied_home: Callable[..., Any]) -> Any:
    """A home without an engine, with one run stopped after its first checkpoint."""

    def train_and_stop(home: Any) -> None:
        run = home.train(*LONG)
        wait_until(home.directory(run).checkpoint.exists)
        home.cli("stop", run)
        wait_until(lambda: run_of(home, run).is_finished)

    return copied_home("stopped", train_and_stop)


def the_run(home: Any) -> str:
    with home.reader() as reader:
        (run,) = reader.runs()
    return str(run.id)


def test_bytes_that_are_not_text_are_garbage_and_do_not_end_reading(stopped: Any):
    """A damaged line is reported with its position; the engine and the run continue."""
    home, run = stopped, the_run(stopped)
    with home.directory(run).journal.open("ab") as file:
        file.write(b'{"kind":"notice","seq":1,"at":0,"text":"\xff\xfe"}\n')
    step = run_of(home, run).step
    home.cli("resume", run)

    wait_until(lambda: run_of(home, run).step > step)
    assert "garbage" in {event["kind"] for event in home.json("show", run)["events"]}


def test_a_run_whose_directory_is_gone_is_lost_and_blocks_no_other(tmp_path: Path):
    """The rest of the queue continues."""
    here = scene(Home(tmp_path / "home").create(), (CPU,))
    first, gone, behind = here.submit(None, None, None)
    shutil.rmtree(here.supervisor.directory(gone).path)
    here.end(first, ExitReason.SUCCEEDED)

    assert [run for run, _ in here.started] == [first, behind]
    lost = here.supervisor.reader.run(gone)
    assert lost.outcome is RunOutcome.LOST
    assert lost.error is not None
    assert "gone" in lost.error


def test_a_run_whose_directory_is_deleted_during_training_is_lost_and_blocks_no_other(home: Any):
    """Its worker cannot save anything and is killed before the next run starts; `engine stop` does not wait."""
    # So deep that no checkpoint is due, when a worker would notice by itself.
    deep = ("train", "-a", "he-resnet", "-d", "110", "--width", "64", "--seeds", "2", "--data", "tiny", "--detach")
    gone, behind = (run["id"] for run in home.json(*deep)["runs"])
    wait_until(home.directory(gone).journal.exists)
    worker = home.worker_pid(gone)
    shutil.rmtree(home.directory(gone).path)
    wait_until(lambda: home.worker_pid(behind))

    assert not psutil.pid_exists(worker)
    assert run_of(home, gone).outcome is RunOutcome.LOST
    assert f"its run directory is gone: {home.directory(gone).path}" in home.cli("show", gone)
    said = home.cli("retry", gone, status=2)
    assert said.startswith(f"depthscope: the run directory of {gone} is gone, with its results: ")
    assert (said.count("\n"), f"`depthscope show {gone}` still has its options" in said) == (1, True)
    shutil.rmtree(home.directory(behind).path)
    home.cli("engine", "stop", patience_seconds=60)
    assert run_of(home, behind).outcome is RunOutcome.LOST


def test_a_run_is_not_lost_while_all_directories_are_temporarily_missing(home: Any):
    """As when a file system is unmounted for a while: its worker, suspended meanwhile, continues."""
    run = begin(home)
    worker = home.worker_pid(run)
    runs, aside = home.home.runs, home.home.runs.with_name("aside")
    os.kill(worker, signal.SIGSTOP)
    runs.rename(aside)
    wait_until(lambda: str(runs) in home.home.engine_log.read_text())
    aside.rename(runs)
    os.kill(worker, signal.SIGCONT)
    step = run_of(home, run).step
    wait_until(lambda: run_of(home, run).step > step)

    assert home.worker_pid(run) == worker
    home.cli("stop", run)
    wait_until(lambda: run_of(home, run).is_finished)
    assert run_of(home, run).outcome is RunOutcome.CANCELLED


def test_a_database_with_a_spoilt_page_is_built_again(finished: Any):
    """A page other than the first, so that it opens; no run is lost or trained again."""
    home, done = finished, the_run(finished)
    home.cli("queue", "hold")
    stopped = home.train("--epochs", "1")
    home.cli("stop", stopped)
    home.cli("engine", "stop")
    database = home.home.database
    size = database.stat().st_size
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    home.cli("engine", "start")

    runs = {run["id"]: run["outcome"] for run in home.json("ls")["runs"]}
    assert runs == {done: "succeeded", stopped: "cancelled"}
    assert list(database.parent.glob("depthscope.db.*.old"))


def test_a_run_never_resumes_with_other_images(stopped: Any):
    """A dataset replaced under the same name is refused, naming both checksums."""
    home, run = stopped, the_run(stopped)
    shutil.rmtree(home.home.data / "tiny")
    home.add_tiny(num_train=240)
    home.cli("resume", run)
    home.cli("wait", run, status=4)

    assert run_of(home, run).outcome is RunOutcome.FAILED
    assert "tiny has changed since this run began" in run_of(home, run).error


def test_a_hidden_run_cannot_be_queued(stopped: Any):
    """It has to be restored first, and the message says how."""
    home, run = stopped, the_run(stopped)
    home.cli("rm", run)

    assert f"`depthscope restore {run}` first" in home.cli("retry", run, status=2)


def test_an_engine_that_does_not_listen_is_not_reported_as_stopped(home: Any):
    """Its socket was removed, or it does not listen yet."""
    home.cli("engine", "start")
    engine = home.engine_pid()
    os.kill(engine, signal.SIGSTOP)
    try:
        home.home.engine_socket.unlink()
        began = time.monotonic()
        assert f"pid {engine}" in home.cli("engine", "stop", status=3)
        assert time.monotonic() - began < 30
    finally:
        os.kill(engine, signal.SIGCONT)


@pytest.mark.parametrize(("value", "finite"), [(1.0, True), (float("nan"), False), (float("inf"), False)])
def test_weights_that_the_last_update_broke_are_seen(value: float, finite: bool):
    """The loss before that update was finite, so it does not reveal it."""

    class State:
        model = torch.nn.Linear(3, 2)

    with torch.no_grad():
        State.model.weight[1, 2] = value

    assert has_finite_weights(State) is finite  # type: ignore[arg-type]
