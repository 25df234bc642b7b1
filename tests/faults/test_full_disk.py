"""Full disks, on a small in-memory file system where mounting one is allowed."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from console.tui.status import take_pulse
from engine.base.errors import DatasetError, DepthscopeError
from engine.base.paths import Home
from engine.data import datasets
from engine.runs.disk import trouble_of
from engine.runs.journal import Epoch, read_journal
from engine.runs.run import DISK_FULL, RunStatus
from tests.checkpoints import load_in
from tests.conftest import TestHome
from tests.faults.disks import fill, mounted
from tests.faults.killing import same_weights

SIZE_MIB = 24
EPOCHS = 20
LEFT_FOR_LINES_BYTES = 40 << 10
"""Space for journal lines but not for a checkpoint."""

UNGUARDED = """
import engine.runs.disk

engine.runs.disk.trouble_of = lambda error: None
engine.runs.disk.trouble_now = lambda path, needed_bytes: None
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system with little space."""
    with mounted(tmp_path / "disk", SIZE_MIB) as disk:
        yield disk


@pytest.fixture
def small_home(small_disk: Path) -> Iterator[TestHome]:
    """A home on the small disk, with the tiny dataset."""
    home = TestHome(small_disk / "home")
    home.add_tiny()
    yield home
    home.end_everything()


def run_of(home: TestHome, run: str) -> Any:
    """Return the run; None while the index cannot be read."""
    try:
        with home.reader() as reader:
            return reader.run(run)
    except DepthscopeError:
        return None


def epochs_of(home: TestHome, run: str) -> list[Any]:
    with home.reader() as reader:
        return reader.epochs(run)


def is_waiting(home: TestHome, run: str) -> bool:
    found = run_of(home, run)
    return found is not None and found.waits_for_disk


@pytest.mark.slow
@pytest.mark.parametrize("left_bytes", [0, LEFT_FOR_LINES_BYTES])
def test_a_run_pauses_on_a_full_disk_and_continues_automatically(
    small_home: TestHome, small_disk: Path, wait_until: Callable[..., Any], left_bytes: int
):
    """With no space left journal and index fail first, with little a checkpoint; no acknowledged row is lost."""
    home = small_home
    run = home.train("--epochs", str(EPOCHS))
    wait_until(lambda: len(epochs_of(home, run)) >= 3)
    following = home.start("follow", run)
    worker = home.worker_pid(run)
    filler = fill(small_disk, left_bytes=left_bytes)
    wait_until(lambda: is_waiting(home, run), patience_seconds=60)
    acknowledged = epochs_of(home, run)
    directory = home.directory(run)

    assert home.worker_pid(run) is None
    assert re.search(rf"{run} .* {DISK_FULL}", home.cli("ls"))
    assert f"error       {DISK_FULL}: " in home.cli("show", run)
    assert (take_pulse(home.home).trouble or "").startswith(f"{DISK_FULL}: ")
    # The engine's reserve for the index is used up, too.
    again = fill(small_disk, name="again")
    refused = home.cli("train", "-a", "he-resnet", "-d", "8", "--data", "tiny", "--detach", status=1)
    assert refused.startswith(f"depthscope: {DISK_FULL}")
    assert [path.name for path in home.home.runs.iterdir()] == [run], "nothing is left of what was refused"
    assert load_in(directory.path, directory.read_identity())
    if left_bytes == 0:
        # For as long as it takes to look several times: nothing is started in vain.
        threading.Event().wait(5)
    assert home.worker_pid(run) is None
    engine = home.engine_pid()
    filler.unlink()
    again.unlink()
    wait_until(lambda: run_of(home, run).status is RunStatus.RUNNING)
    home.cli("wait", run)

    assert home.engine_pid() == engine
    assert home.worker_pid(run) != worker
    rows = epochs_of(home, run)
    assert rows[: len(acknowledged)] == acknowledged
    assert [row.epoch for row in rows] == list(range(1, EPOCHS + 1))
    written = [event.epoch for event in read_journal(directory.journal).events if isinstance(event, Epoch)]
    assert written == list(range(1, EPOCHS + 1))
    _, told = following.communicate(timeout=60)
    assert following.returncode == 0, "who follows a run waits with it"
    assert DISK_FULL in told
    if left_bytes > 0:
        undisturbed = home.train("--epochs", str(EPOCHS))
        home.cli("wait", undisturbed)
        assert same_weights(home, undisturbed, run)


@pytest.mark.slow
def test_without_its_exit_reason_a_full_disk_would_not_pause_the_run(
    small_home: TestHome, small_disk: Path, tmp_path: Path, wait_until: Callable[..., Any]
):
    """Control: worker and engine treat a full disk like any other error."""
    (tmp_path / "unguarded").mkdir()
    (tmp_path / "unguarded" / "sitecustomize.py").write_text(UNGUARDED)
    small_home.env["PYTHONPATH"] = str(tmp_path / "unguarded")
    run = small_home.train("--epochs", "4000")
    wait_until(lambda: len(epochs_of(small_home, run)) >= 1)
    fill(small_disk, left_bytes=LEFT_FOR_LINES_BYTES)

    wait_until(lambda: small_home.worker_pid(run) is None)
    # For as long as it takes to look several times.
    threading.Event().wait(5)
    left = run_of(small_home, run)
    # Failed if there was space to record it, else still listed as running without a worker.
    assert left.outcome == "failed" or left.status is RunStatus.RUNNING
    assert DISK_FULL not in (left.error or "")


@pytest.mark.slow
def test_a_dataset_that_does_not_fit_is_waited_for_and_leaves_nothing(
    small_home: TestHome, small_disk: Path, wait_until: Callable[..., Any]
):
    """Its run is not started until there is space, then starts by itself."""
    with pytest.raises(DatasetError) as refused:
        datasets.prepare(small_home.home, "synthetic")
    assert (trouble_of(refused.value) or "").startswith(DISK_FULL)
    assert sorted(path.name for path in small_home.home.data.iterdir()) == [".lock", "tiny"]
    assert datasets.verify(small_home.home, "tiny").num_train == 200
    (asked,) = small_home.json(
        *("train", "-a", "he-plain", "-d", "8", "--width", "4", "--data", "synthetic"),
        *("--train-images", "100", "--test-images", "50", "--epochs", "1", "--batch-size", "20", "--detach"),
    )["runs"]
    run = asked["id"]
    wait_until(lambda: DISK_FULL in (take_pulse(small_home.home).trouble or ""))
    assert run_of(small_home, run).status is RunStatus.QUEUED
    assert DISK_FULL in small_home.cli("show", run)
    subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)
    small_home.cli("wait", run)


def test_an_engine_does_not_start_on_a_full_disk_and_says_why_in_a_line(small_disk: Path):
    """Nothing can be written, so no index can be created."""
    home = TestHome(small_disk / "home")
    fill(small_disk)
    said = home.cli("engine", "start", status=3)

    assert said.count("\n") == 1
    assert DISK_FULL in said
    assert "Traceback" not in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may fill what is kept for root")
def test_the_engine_keeps_a_reserve_for_the_index(small_home: TestHome, small_disk: Path):
    """So that it can record that the disk is full."""
    small_home.cli("engine", "start")

    assert (Home(small_home.home.root).root / ".reserve").stat().st_blocks * 512 >= 1 << 20


@pytest.mark.slow
def test_prune_makes_room_on_a_full_disk(small_home: TestHome, small_disk: Path):
    """Even where nothing at all can be written, whether an engine runs or not."""
    home = small_home
    runs = [home.train("--epochs", "1", "--seed", str(seed)) for seed in range(2)]
    home.cli("wait", *runs)
    for run in runs:
        home.directory(run).checkpoint.write_bytes(bytes(2 << 20))
    home.cli("rm", runs[1])
    fill(small_disk)
    fill(small_disk, name="again")

    assert "deleted" in home.cli("prune", "--delete", "--only", "checkpoints", status=None)
    assert not home.directory(runs[0]).checkpoint.exists()
    fill(small_disk, name="once more")
    home.cli("engine", "stop")
    assert home.json("prune", "--delete")["num_bytes"] > 2 << 20
    assert [path.name for path in home.home.runs.iterdir()] == [runs[0]]
    assert [run["id"] for run in home.json("ls", "--all")["runs"]] == [runs[0]]
