"""A machine that goes down, and a worker that is only suspended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from console.text.status import MIN_STALL_SECONDS, state
from engine.runs.run import RunOutcome
from tests.checkpoints import read_at
from tests.faults.killing import SABOTAGE, begun, check_rows, metrics, same_weights

ANEW = "its worker ended when the machine restarted"


def boot(home: Any, boot_id: str) -> None:
    """Set the boot id that engines started from now on read."""
    home.env |= {"PYTHONPATH": str(SABOTAGE), "DEPTHSCOPE_BOOT_FILE": str(home.home.root / "boot_id")}
    (home.home.root / "boot_id").write_text(f"{boot_id}\n")


def events(home: Any, run: str) -> list[str]:
    with home.reader() as reader:
        return [event.kind for event in reader.events(run)]


def go_down(home: Any, runs: list[str]) -> None:
    """Kill engine and workers at once."""
    home.kill(home.engine_pid())
    for run in runs:
        home.kill(home.worker_pid(run))


def lose_pages(home: Any, run: str) -> None:
    """Discard unsynced data of a journal, as a power cut does."""
    directory = home.directory(run)
    # Rows carried by a checkpoint are written after it and synced before the next.
    carried = read_at(directory.checkpoint)["pending_lines"][0].encode()
    if (durable := directory.journal.read_bytes().find(carried)) >= 0:
        os.truncate(directory.journal, durable)


def test_runs_return_to_the_queue_after_a_restart_of_the_machine(home: Any, wait_until: Callable[..., Any]):
    """After a power cut with a new boot id, both resume and end with undisturbed weights and each row once."""
    boot(home, "first")
    home.home.config.write_text("[slots]\ncpu = 2\n")
    words = ("--epochs", "12")
    runs = [home.train(*words), home.train(*words)]
    for run in runs:
        wait_until(home.directory(run).checkpoint.exists)
        # Long enough to be still running when the other gets as far, even on a busy machine.
        home.halt(run)
    go_down(home, runs)
    for run in runs:
        lose_pages(home, run)
    boot(home, "second")
    undisturbed = home.train(*words)
    home.cli("wait", undisturbed, *runs, patience_seconds=280)

    for run in runs:
        kinds = events(home, run)
        assert ("crashed" in kinds, kinds.count("resumed"), kinds.count("started")) == (False, 1, 1)
        with home.reader() as reader:
            assert ANEW in [event.text for event in reader.events(run)]
        check_rows(home, run, 12)
        assert same_weights(home, undisturbed, run)
        assert metrics(home, undisturbed) == metrics(home, run)


@pytest.mark.slow
@pytest.mark.parametrize("is_restarted", [True, False], ids=["reboots", "crashes"])
def test_repeated_restarts_of_the_machine_do_not_count_as_crashes(
    home: Any, wait_until: Callable[..., Any], is_restarted: bool
):
    """Three times before the first checkpoint; with an unchanged boot id they count as crashes."""
    boot(home, "0")
    deep = ("-a", "he-resnet", "-d", "110", "--width", "64", "--data", "tiny", "--batch-size", "20")
    (asked,) = home.json("train", *deep, "--detach")["runs"]
    run, dead = asked["id"], None
    for number in range(3):
        dead = wait_until(lambda seen=dead: {home.worker_pid(run)} - {None, seen}).pop()
        go_down(home, [run])
        boot(home, str(number + 1) if is_restarted else "0")
        home.cli("engine", "start")
    if is_restarted:
        wait_until(lambda: {home.worker_pid(run)} - {None, dead})

    with home.reader() as reader:
        assert reader.run(run).outcome is (None if is_restarted else RunOutcome.FAILED)
    kinds = events(home, run)
    assert kinds.count("crashed") == (0 if is_restarted else 3)


def halt_a_worker(home: Any, wait_until: Callable[..., Any]) -> None:
    """Suspend a worker until commands report it as stalled, kill the engine meanwhile, then continue it."""
    run = home.train("--epochs", "5000")
    wait_until(lambda: begun(home, run))
    worker = home.worker_pid(run)
    os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: " stalled " in home.cli("ls"))
    assert "stalled" in home.cli("show", run)
    home.kill(home.engine_pid())
    wait_until(lambda: home.engine_pid() is None)
    home.cli("engine", "start")
    wait_until(lambda: " stalled " in home.cli("ls"))
    with home.reader() as reader:
        before = reader.run(run)
    # State shown in the console's run table.
    assert state(before, time.monotonic() + MIN_STALL_SECONDS) == "stalled"
    assert home.worker_pid(run) == worker

    os.kill(worker, signal.SIGCONT)
    wait_until(lambda: home.json("show", run)["run"]["epoch"] > before.epoch)
    assert " running " in home.cli("ls")
    home.cli("stop", run)
    home.cli("wait", run, status=4)
    kinds = events(home, run)
    assert ("crashed" in kinds, "resumed" in kinds, kinds.count("started"), kinds.count("adopted")) == (
        *(False, False),
        *(1, 1),
    )
    with home.reader() as reader:
        check_rows(home, run, reader.run(run).epoch)


@pytest.mark.slow
def test_a_halted_worker_is_stalled_not_dead_and_continues(home: Any, wait_until: Callable[..., Any]):
    """With commands that time out after two seconds."""
    home.env |= {"PYTHONPATH": str(SABOTAGE), "DEPTHSCOPE_STALL_SECONDS": "2"}
    halt_a_worker(home, wait_until)


@pytest.mark.soak
def test_a_worker_that_is_halted_for_a_minute_is_stalled(home: Any, wait_until: Callable[..., Any]):
    """With the product's own timeout."""
    halt_a_worker(home, wait_until)
