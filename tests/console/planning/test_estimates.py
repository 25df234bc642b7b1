"""Knowledge about this machine: unknown networks are probed, and valid probes are stored."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

import console.planning.estimates
from console.planning.estimates import Knowledge, gather, probe
from engine.base.paths import Home
from engine.control import launch
from engine.control.protocol import NewRun
from engine.estimates.duration import Pace
from engine.estimates.probes import Task
from engine.index.writer import Store
from engine.runs.run import RunStatus
from engine.spec.devices import CPU
from models.catalog import model_spec
from tests.samples import a_pace, add_sample, sample_spec


def pace_of(task: Task) -> Pace:
    torch = console.planning.estimates.probes.torch_version()
    return a_pace(task.spec, torch=torch, num_threads=task.num_threads or 2)


@pytest.fixture
def home(tmp_path, sample_machine: None, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A quiet machine with a trained he-plain20 and instant probes."""
    monkeypatch.setattr(console.planning.estimates, "busy_percent", lambda _device: 3.0)
    monkeypatch.setattr(
        console.planning.estimates.probes,
        "probe_all",
        lambda _home, _device, tasks, _report: [pace_of(task) for task in tasks],
    )
    home = Home(tmp_path / "home").create()
    store = Store(home.database)
    with store.transaction():
        add_sample(store, 1, "he-plain", 20, experiment="past", epochs_done=164)
    store.close()
    return home


def runs(*depths: int, seeds: Sequence[int] = (0,)) -> list[NewRun]:
    return [
        NewRun(name=f"{depth}-s{seed}", spec=sample_spec("he-plain", depth, seed=seed))
        for depth in depths
        for seed in seeds
    ]


def sources(knowledge: Knowledge, planned: list[NewRun]) -> list[str | None]:
    return [None if run.estimate is None else run.estimate.source.value for run in knowledge.estimated(planned)]


def test_only_what_was_never_trained_is_probed_and_the_probe_is_kept(home: Home):
    """Once for all seeds of a network; the next command uses it."""
    planned, said = runs(20, 32, seeds=(0, 1)), []
    found = probe(gather(home), planned, again=False, report=said.append)

    assert said == ["probing 1 network on cpu, at most about 15 s"]
    assert sources(found, planned) == ["history"] * 2 + ["probe"] * 2
    assert sources(gather(home), planned) == ["history"] * 2 + ["probe"] * 2
    assert sources(gather(home, with_kept_probes=False), planned) == ["history"] * 2 + ["scaled"] * 2


def test_what_is_asked_for_is_probed_again_and_counts_now(home: Home):
    """`--probe` measures the machine's current speed."""
    planned = runs(20)

    assert sources(probe(gather(home), planned, again=True, report=lambda _text: None), planned) == ["probe"]
    assert sources(gather(home), planned) == ["history"]


@pytest.mark.parametrize("trains", [True, False])
def test_a_device_with_other_work_is_named_and_its_probe_is_not_kept(
    home: Home, trains: bool, monkeypatch: pytest.MonkeyPatch
):
    """Its result would be too slow for later plans."""
    if trains:
        store = Store(home.database)
        with store.transaction():
            add_sample(store, 2, "plain", 56, experiment="now", epochs_done=1, status=RunStatus.RUNNING, outcome=None)
        store.close()
    else:
        monkeypatch.setattr(console.planning.estimates, "busy_percent", lambda _device: 80.0)
    planned, said = runs(32), []
    found = probe(gather(home), planned, again=False, report=said.append)

    assert sources(found, planned) == ["probe"]
    assert said[1].startswith("a run is training on cpu" if trains else "other programs use 80 % of cpu")
    assert "will be too slow" in said[1]
    assert sources(gather(home), planned) == ["scaled"]


def test_history_of_another_machine_does_not_count(home: Home, monkeypatch: pytest.MonkeyPatch):
    """Run directories may be copied; the device's name identifies the machine."""
    monkeypatch.setattr(console.planning.estimates, "device_name", lambda _device: "another processor")

    assert sources(gather(home), runs(20)) == [None]


def test_history_with_other_threads_does_not_count(home: Home, monkeypatch: pytest.MonkeyPatch):
    """The samples were trained with two."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert sources(gather(home), runs(20)) == [None]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert sources(gather(home), runs(20)) == ["history"]


def test_a_narrow_network_goes_by_what_one_thread_took(home: Home):
    """Wide networks' times on two threads do not apply to it, nor vice versa."""
    narrow, wide = (
        NewRun(name="a", spec=msgspec.structs.replace(runs(20)[0].spec, model=model_spec("he-plain", 20, width=width)))
        for width in (8, 32)
    )
    assert sources(gather(home), [narrow, wide]) == [None, "scaled"]

    found = probe(gather(home), [narrow], again=False, report=lambda _text: None)
    assert sources(found, [narrow, wide]) == ["probe", "scaled"]
    assert [pace.num_threads for pace in found.paces["cpu"].probes] == [1]


def test_an_index_that_cannot_be_read_leaves_everything_unknown(home: Home):
    """Runs can be queued without estimates."""
    home.database.write_bytes(b"no database" * 1000)
    try:
        knowledge = gather(home)
    finally:
        # Started to rebuild the index.
        launch.stop(home)

    assert (knowledge.queue, knowledge.truths, sources(knowledge, runs(20))) == ((), (), [None])
    assert knowledge.device_for(runs(20)[0].spec) == CPU
