"""Several workers per device: number, memory, threads, and the same after a restart."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.base.paths import Home
from engine.control.protocol import Move, NewRun, Pause, Resume, Submit
from engine.estimates.memory import training_memory
from engine.runs.directory import ExitReason, RunDirectory
from engine.runs.journal import Step
from engine.runs.launcher import WorkerHolds
from engine.scheduler import placement
from engine.spec import places
from engine.spec.devices import CPU, Device, MemoryReading
from engine.spec.recipes import recipe
from engine.spec.run import DataSpec
from engine.spec.settings import Settings
from models.catalog import model_spec
from tests.engine.scripted import GPUS, Scene, scene, spec_of
from tests.samples import a_start

THREE_ON_THE_FIRST = Settings(slots={"cuda:0": 3})


ONE_RUN_BYTES = training_memory(
    spec_of(0, None), GPUS[0].native, on_gpu=True, num_train=50_000, num_test=10_000
).total_bytes
"""Estimated memory of one of the scene's runs, with CIFAR-10."""


def step(number: int) -> Step:
    return Step(
        step=number, epoch=1, train_loss=1.0, train_error_percent=50.0, learning_rate=0.1, images_per_second=1.0
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


def test_empty_devices_are_filled_before_one_is_shared(home: Home):
    """Workers are faster on separate devices; the fifth run waits."""
    here = scene(home, (*GPUS, CPU), THREE_ON_THE_FIRST)
    here.submit(*[None] * 5)

    assert [device for _, device in here.started] == ["cuda:0", "cuda:1", "cuda:0", "cuda:0"]


def test_a_place_that_becomes_free_goes_to_the_next_run(home: Home):
    """To exactly one."""
    here = scene(home, (CPU,), Settings(slots={"cpu": 2}))
    runs = here.submit(*[None] * 4)
    here.end(runs[0], ExitReason.SUCCEEDED)

    assert [run for run, _ in here.started] == runs[:3]


def test_a_run_goes_to_the_card_that_is_large_enough(home: Home):
    """It is preferred to one where it may not fit, which is used only if the others are busy."""
    small, large = (
        msgspec.structs.replace(gpu, memory_bytes=round(share * ONE_RUN_BYTES))
        for gpu, share in zip(GPUS, (0.5, 2.0), strict=True)
    )
    here = scene(home, (small, large, CPU))
    here.submit(None, None)

    assert [device for _, device in here.started] == ["cuda:1", "cuda:0"]


def with_memory(home: Home, total: float, free: float | None = None) -> Scene:
    """Create a GPU with three slots and memory given in runs, with a first run on it."""
    reading = MemoryReading(
        free_bytes=None if free is None else round(free * ONE_RUN_BYTES), total_bytes=round(total * ONE_RUN_BYTES)
    )
    here = scene(home, (GPUS[0], CPU), THREE_ON_THE_FIRST, lambda _device: reading)
    here.submit("cuda:0")
    return here


@pytest.mark.parametrize(
    ("total", "free", "num_started"),
    [
        (3.0, None, 3),
        (2.9, None, 2),
        (1.9, None, 1),
        # Free memory includes what the first run has yet to allocate.
        (9.0, 3.0, 3),
        (9.0, 2.9, 2),
        (9.0, 1.9, 1),
    ],
)
def test_a_second_worker_starts_only_where_the_memory_suffices(
    home: Home, total: float, free: float | None, num_started: int
):
    """All estimates must fit in the device, and memory yet to be allocated in what is free."""
    here = with_memory(home, total, free)
    here.submit("cuda:0", "cuda:0")

    assert len(here.started) == num_started


def test_the_first_worker_on_an_empty_device_always_starts(home: Home):
    """Too high an estimate must not block a run forever."""
    here = with_memory(home, 0.5, 0.1)

    assert len(here.started) == 1


def test_memory_that_a_worker_has_taken_is_not_counted_twice(home: Home, monkeypatch: pytest.MonkeyPatch):
    """Once it trains, its memory is no longer reported as free."""
    monkeypatch.setattr(placement, "SECONDS_BETWEEN_READINGS", 0.0)
    here = with_memory(home, 9.0, 1.5)
    here.submit("cuda:0")
    assert len(here.started) == 1

    here.journal(here.started[0][0], a_start(device="cuda:0"), step(5))
    here.supervisor.tick()
    assert len(here.started) == 2


def test_a_run_waiting_for_memory_says_so_and_is_not_overtaken_by_small_ones(home: Home):
    """Its slot is reserved; other devices stay open to later runs."""
    here = with_memory(home, 1.9)
    small = msgspec.structs.replace(
        spec_of(1, "cuda:0"), recipe=recipe("quick", batch_size=2), data=DataSpec(train_images=10, test_images=10)
    )
    (waiting,) = here.submit("cuda:0")
    (behind,) = here.ask(Submit(runs=(NewRun(name="small", spec=small),))).runs
    (elsewhere,) = here.submit("cpu")

    assert [run for run, _ in here.started[1:]] == [elsewhere]
    notices = [event.text for event in here.supervisor.reader.events(waiting) if event.kind == "notice"]
    assert len(notices) == 1
    assert notices[0].startswith("waits for memory on cuda:0: needs about ")
    here.ask(Move(runs=(behind,)))
    assert here.started[-1] == (behind, "cuda:0")
    here.end(behind, ExitReason.SUCCEEDED)
    here.end(here.started[0][0], ExitReason.SUCCEEDED)
    assert here.started[-1] == (waiting, "cuda:0")


@pytest.mark.parametrize(("num_slots", "cores", "expected"), [(1, 8, None), (2, 8, 4), (3, 8, 2), (4, 3, 1)])
def test_threads_are_divided_among_the_slots(
    home: Home, monkeypatch: pytest.MonkeyPatch, num_slots: int, cores: int, expected: int | None
):
    """A worker alone on its device uses torch's default."""
    monkeypatch.setattr(places, "num_cores", lambda: cores)
    here = scene(home, (CPU,), Settings(slots={"cpu": num_slots}))
    (run,) = here.submit(None)

    assert here.launcher.num_threads[run] == expected


def submit_of_width(here: Scene, *widths: int) -> list[str]:
    """Queue a run of each width, for any device."""
    runs = tuple(
        NewRun(
            name=f"run{index}-w{width}",
            spec=msgspec.structs.replace(spec_of(index, None), model=model_spec("he-plain", 8, width=width)),
        )
        for index, width in enumerate(widths)
    )
    return list(here.ask(Submit(runs=runs)).runs)


@pytest.fixture
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "num_cores", lambda: 3)


def test_each_core_trains_a_narrow_network_where_no_number_is_set(home: Home, three_cores: None):
    """One thread each, even alone, so that results do not depend on the rest of the queue."""
    here = scene(home, (CPU,))
    runs = submit_of_width(here, 8, 4, 15, 8)

    assert [run for run, _ in here.started] == runs[:3]
    assert set(here.launcher.num_threads.values()) == {1}
    here.end(runs[1], ExitReason.SUCCEEDED)
    assert [run for run, _ in here.started] == runs


def test_a_wide_network_takes_all_cores(home: Home, three_cores: None):
    """It waits for the narrow ones to finish, is not overtaken, and nothing starts beside it."""
    here = scene(home, (CPU,))
    narrow, wide, behind = submit_of_width(here, 8, 16, 8)
    assert [run for run, _ in here.started] == [narrow]
    notices = [event.text for event in here.supervisor.reader.events(wide) if event.kind == "notice"]
    assert notices == ["waits for all cores of cpu: narrow networks are training there"]

    here.end(narrow, ExitReason.SUCCEEDED)
    assert [run for run, _ in here.started] == [narrow, wide]
    assert here.launcher.num_threads[wide] is None
    assert not here.supervisor.reader.run(behind).device

    here.end(wide, ExitReason.SUCCEEDED)
    assert [run for run, _ in here.started] == [narrow, wide, behind]


def test_a_successor_starts_nothing_beside_a_wide_network(home: Home, three_cores: None):
    """The adopted worker still fills the CPU."""
    here = scene(home, (CPU,))
    wide, _ = submit_of_width(here, 16, 8)

    assert here.successor().started == [(wide, "cpu")]


@pytest.mark.parametrize(("num_slots", "threads"), [(1, None), (2, 1)])
def test_a_number_that_is_set_wins_over_the_networks(
    home: Home, three_cores: None, num_slots: int, threads: int | None
):
    """Narrow and wide networks share the CPU as configured."""
    here = scene(home, (CPU,), Settings(slots={"cpu": num_slots}))
    runs = submit_of_width(here, 8, 16, 8)

    assert [run for run, _ in here.started] == runs[:num_slots]
    assert set(here.launcher.num_threads.values()) == {threads}


def test_fewer_threads_than_cores_where_the_environment_says_so(monkeypatch: pytest.MonkeyPatch):
    """Setting OMP_NUM_THREADS means sharing the machine with others."""
    monkeypatch.setattr(places.os, "sched_getaffinity", lambda _pid: set(range(16)), raising=False)
    monkeypatch.setattr(places.psutil, "cpu_count", lambda logical: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert places.num_cores() == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert places.num_cores() == 3


@pytest.mark.parametrize("index_lost", [False, True])
def test_a_new_engine_knows_a_workers_device_before_the_worker_reports_it(home: Home, index_lost: bool):
    """Loading torch takes seconds; until then only the run directory names the worker's device."""
    here = scene(home, (*GPUS, CPU))
    runs = here.submit("cuda:1", "cuda:1", "cpu", "cpu")
    after = here.successor(index_lost=index_lost)

    assert after.supervisor.reader.run(runs[0]).device == "cuda:1"
    assert after.started == [(runs[0], "cuda:1"), (runs[2], "cpu")]


def test_a_new_engine_recognises_gpus_it_numbers_differently(home: Home):
    """`cuda:0` of one engine may be `cuda:1` of the next, if the environment orders GPUs differently."""
    here = scene(home, (*GPUS, CPU))
    first, second = here.submit("cuda:0", "cuda:0")
    here.journal(first, a_start(device="cuda:0"))
    after = here.successor((Device("cuda:0", "GPU-b"), Device("cuda:1", "GPU-a"), CPU))

    assert after.supervisor.reader.run(first).device == "cuda:1"
    assert after.started[-1] == (second, "cuda:0")


@pytest.mark.parametrize("index_lost", [False, True])
def test_a_worker_started_by_someone_else_is_on_the_device_it_reports(
    home: Home, monkeypatch: pytest.MonkeyPatch, index_lost: bool
):
    """Also for the next engine, even though this one had assigned another device."""
    here = scene(home, (*GPUS, CPU))

    def held(directory: RunDirectory, device: Device, num_threads: int | None, worker: str) -> None:
        here.launcher.alive.add(directory.id)
        raise WorkerHolds("by hand")

    with monkeypatch.context() as patch:
        patch.setattr(here.launcher, "start", held)
        (run,) = here.submit(None)
    here.journal(run, a_start(device="cuda:1"))
    here.supervisor.tick()
    assert here.supervisor.reader.run(run).device == "cuda:1"

    after = here.successor(index_lost=index_lost)
    (other,) = after.submit("cuda:0")
    after.submit("cuda:1")
    assert after.started == [(other, "cuda:0")]


@pytest.mark.parametrize("index_lost", [False, True])
def test_a_worker_started_by_hand_is_on_the_device_it_reports(home: Home, index_lost: bool):
    """Without an engine: the first that adopts it reads the journal, and later ones know."""
    here = scene(home, (*GPUS, CPU))
    (run,) = here.submit("cuda:0")
    here.journal(run, a_start(device="cuda:1"))
    after = here.successor().successor(index_lost=index_lost)

    assert after.supervisor.reader.run(run).device == "cuda:1"
    (other,) = after.submit("cuda:0")
    assert after.started[-1] == (other, "cuda:0")


def test_an_earlier_workers_device_is_not_taken_for_the_newest_ones(home: Home):
    """The journal names the previous worker's device, the run directory the newest one's."""
    here = scene(home, (*GPUS, CPU))
    (run,) = here.submit(None)
    here.journal(run, a_start(device="cuda:0"))
    here.ask(Pause(runs=(run,)))
    here.end(run, ExitReason.STOPPED)
    here.submit("cuda:0")
    here.ask(Resume(runs=(run,)))
    assert here.started[-1] == (run, "cuda:1")
    after = here.successor(index_lost=True)

    assert after.supervisor.reader.run(run).device == "cuda:1"


def test_a_run_resumes_on_its_previous_device_if_free(home: Home):
    """Otherwise on the first free one."""
    here = scene(home, (*GPUS, CPU))
    runs = here.submit(None, None)
    here.supervisor.leave(stop_workers=True)
    for run in runs:
        here.end(run, ExitReason.STOPPED)
    here.supervisor.store.set_device(runs[0], "cuda:1")
    here.successor()

    assert here.started[2:] == [(runs[0], "cuda:1"), (runs[1], "cuda:0")]
