"""The queue over several devices, with fake workers instead of processes."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pynvml
import pytest

from engine.base.paths import Home
from engine.runs.directory import ExitReason
from engine.runs.journal import Notice, Resumed
from engine.scheduler.outcomes import MAX_CRASHES
from engine.scheduler.supervisor import Supervisor
from engine.spec.devices import CPU, allowed, find_devices
from tests.engine.scripted import GPUS, Scene, scene


@pytest.fixture
def on_two_gpus(tmp_path: Path) -> Scene:
    return scene(Home(tmp_path / "home").create(), (*GPUS, CPU))


def test_every_gpu_trains_one_run_and_the_next_takes_the_first_that_is_free(on_two_gpus: Scene):
    """The queue uses all GPUs in order; the CPU is only used on request."""
    runs = on_two_gpus.submit(None, None, None, None)
    assert on_two_gpus.launcher.started == [(runs[0], "cuda:0"), (runs[1], "cuda:1")]

    on_two_gpus.end(runs[1], ExitReason.SUCCEEDED)
    assert on_two_gpus.launcher.started[2:] == [(runs[2], "cuda:1")]


def test_a_run_that_waits_for_its_device_does_not_block_others(on_two_gpus: Scene):
    """The second run wants the busy GPU; the third takes the other, the fourth the CPU."""
    runs = on_two_gpus.submit("cuda:0", "cuda:0", None, "cpu")

    assert on_two_gpus.launcher.started == [(runs[0], "cuda:0"), (runs[2], "cuda:1"), (runs[3], "cpu")]
    on_two_gpus.end(runs[0], ExitReason.SUCCEEDED)
    assert on_two_gpus.launcher.started[-1] == (runs[1], "cuda:0")


def test_without_a_gpu_the_cpu_trains_what_any_device_may(tmp_path: Path):
    """One at a time."""
    found = scene(Home(tmp_path / "home").create(), (CPU,))
    runs = found.submit(None, None)

    assert found.launcher.started == [(runs[0], "cpu")]


def test_a_successor_keeps_devices_busy_that_adopted_workers_hold(on_two_gpus: Scene):
    """A restarted engine starts nothing beside live workers."""
    runs = on_two_gpus.submit(None, None, None)
    successor = Supervisor(
        on_two_gpus.home,
        on_two_gpus.supervisor.store,
        on_two_gpus.supervisor.reader,
        on_two_gpus.launcher,
        (*GPUS, CPU),
    )
    successor.recover()

    assert successor.num_running == 2
    assert [run for run, _ in on_two_gpus.launcher.started] == runs[:2]
    assert "adopted" in [event.kind for event in successor.reader.events(runs[0])]


def test_a_crashed_run_restarts_first_and_fails_after_three_crashes_without_progress(on_two_gpus: Scene):
    """It keeps its place in the queue."""
    runs = on_two_gpus.submit(*[None] * 4)
    for crash in range(1, MAX_CRASHES):
        again = on_two_gpus.end(runs[0], None)
        assert on_two_gpus.launcher.started[-1] == (runs[0], "cuda:0"), f"crash {crash}"
        assert str(again.status) == "running"
    failed = on_two_gpus.end(runs[0], None)

    assert (str(failed.outcome), on_two_gpus.launcher.started[-1]) == ("failed", (runs[2], "cuda:0"))
    assert failed.error is not None
    assert "3 times without a new checkpoint" in failed.error


def test_a_crash_noticed_late_says_when_the_worker_was_last_heard_from(
    on_two_gpus: Scene, monkeypatch: pytest.MonkeyPatch
):
    """Engine and worker were killed together; events and rows show how long nothing trained."""
    (run,) = on_two_gpus.submit(None)
    now = time.time()
    began = Resumed(
        pid=1, host="box", device="cuda:0", device_name="a", torch="2", num_threads=1, step=0, total_steps=9
    )
    with monkeypatch.context() as clock:
        for ago, event in ((69, Notice(text="loads")), (60, began), (40, Notice(text="goes on"))):
            clock.setattr(time, "time", lambda at=now - ago: at)
            on_two_gpus.journal(run, event)
    on_two_gpus.launcher.alive.clear()
    for index_lost in (False, True):
        after = on_two_gpus.successor(index_lost=index_lost).supervisor.reader
        if not index_lost:
            told = {event.kind: event.text for event in after.events(run)}
            assert re.search(r"; last heard from 4\d s earlier, at \d\d:\d\d:\d\d$", told["crashed"])
        (resumed,) = [event for event in after.notable_events(since=0)[run] if event.kind == "resumed"]
        assert (resumed.at, resumed.heard_at) == (now - 60, now - 40)


def test_a_run_that_was_stopped_with_the_engine_says_so(on_two_gpus: Scene):
    """So that the user sees why it is queued."""
    (run,) = on_two_gpus.submit(None)
    on_two_gpus.supervisor.leave(stop_workers=True)
    waits = on_two_gpus.end(run, ExitReason.STOPPED)

    assert str(waits.status) == "queued"
    last = on_two_gpus.supervisor.reader.events(run)[-1]
    assert (last.kind, last.text) == ("queued", "its worker was stopped with the engine")


def test_a_worker_stopped_by_someone_else_is_started_again(on_two_gpus: Scene):
    """A SIGTERM by the system is not a request by the user."""
    (run,) = on_two_gpus.submit(None)
    again = on_two_gpus.end(run, ExitReason.STOPPED)

    assert str(again.status) == "running"
    assert on_two_gpus.launcher.started == [(run, "cuda:0")] * 2


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (None, ["GPU-a", "GPU-b", "GPU-c"]),
        ("", []),
        ("2,0", ["GPU-c", "GPU-a"]),
        ("GPU-b", ["GPU-b"]),
        ("0,9,1", ["GPU-a"]),
        ("-1", []),
    ],
)
def test_only_gpus_that_the_environment_allows_are_used(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, expected: list[str]
):
    """As CUDA reads CUDA_VISIBLE_DEVICES: in that order, up to the first unknown entry."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)

    assert allowed(["GPU-a", "GPU-b", "GPU-c"]) == expected


def test_a_machine_without_a_driver_has_the_cpu(monkeypatch: pytest.MonkeyPatch):
    """NVML reports an error."""

    def missing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", missing)

    assert find_devices() == (CPU,)
