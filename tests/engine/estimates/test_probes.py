"""Probe processes and their cached results; speed itself is tested by benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.base.paths import Home
from engine.estimates import probes
from engine.estimates.duration import Pace, Workload
from engine.estimates.probes import NoPace, ProbeFailed, Task, keep, probe_all, read_kept
from engine.spec.devices import CPU, cpu_name
from engine.spec.precision import Precision
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from models.catalog import model_spec
from tests.samples import a_pace


def task(depth: int = 8, **changes: Any) -> Task:
    """Create a task for a network that takes milliseconds per step."""
    spec = RunSpec(model=model_spec("he-resnet", depth, width=4), recipe=recipe("quick", batch_size=20, **changes))
    return Task(spec=spec, num_train=200, num_test=80)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Home(tmp_path / "home").create()


def test_a_probe_times_every_network_it_can_and_says_why_it_cannot(bare: Home):
    """In the device's precision, with a worker's threads, leaving nothing on disk."""
    asked = [task(precision="fp32"), task(precision="fp16"), task(14, precision="fp32", deterministic=True)]
    told: list[tuple[Task, Pace | NoPace]] = []
    found = probe_all(bare, CPU, asked, lambda one, answer: told.append((one, answer)))

    assert [one for one, _ in told] == asked
    assert isinstance(told[1][1], NoPace)
    assert "precision fp16 is not native to this processor" in told[1][1].reason
    assert [pace.workload for pace in found[:2]] == [
        Workload.of(asked[0].spec, Precision.FP32),
        Workload.of(asked[2].spec, Precision.FP32),
    ]
    assert found[1].workload.deterministic
    for pace in found:
        assert (pace.device_name, pace.num_threads) == (cpu_name(), 1)
        assert probes.same_torch(pace.torch, probes.torch_version())
        assert min(pace.seconds_per_step, pace.seconds_per_evaluated_image, pace.seconds_per_checkpoint) > 0
    assert sorted(path.name for path in bare.root.iterdir()) == ["data", "runs"]


def test_a_probe_that_dies_reports_its_last_line(bare: Home, monkeypatch: pytest.MonkeyPatch):
    """Here Python cannot start."""
    monkeypatch.setenv("PYTHONHOME", "/nonexistent")

    with pytest.raises(ProbeFailed, match=r"the probe exited early: .*\w"):
        probe_all(bare, CPU, [task()], lambda _task, _answer: None)


@pytest.fixture
def measured() -> Pace:
    return a_pace(task().spec, torch="2.15.0+cpu", num_threads=1)


def test_a_probe_is_kept_until_torch_or_the_threads_change(bare: Home, measured: Pace, monkeypatch: pytest.MonkeyPatch):
    """Either changes the speed; reverting makes the old probe valid again."""
    monkeypatch.setattr(probes, "torch_version", lambda: "2.15.0")
    keep(bare, [measured])
    assert read_kept(bare) == [measured]

    monkeypatch.setattr(probes, "torch_version", lambda: "2.16.0")
    assert read_kept(bare) == []
    monkeypatch.setattr(probes, "torch_version", lambda: "2.15.0")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert read_kept(bare) == []
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert read_kept(bare) == [measured]


def test_a_later_probe_replaces_an_earlier_one_of_the_same_workload_alone(
    bare: Home, measured: Pace, monkeypatch: pytest.MonkeyPatch
):
    """One figure for each network and device."""
    monkeypatch.setattr(probes, "torch_version", lambda: "2.15.0")
    elsewhere = msgspec.structs.replace(measured, device_name="another processor")
    again = msgspec.structs.replace(measured, seconds_per_step=0.2)
    keep(bare, [measured, elsewhere])
    keep(bare, [again])

    assert read_kept(bare) == [elsewhere, again]


@pytest.mark.parametrize("content", [b"", b"{", b'[{"pace": 1}]', b"\xff"])
def test_a_damaged_file_of_probes_reads_as_none_and_is_replaced(bare: Home, measured: Pace, content: bytes):
    """Probing again takes only seconds."""
    bare.probes.write_bytes(content)
    assert read_kept(bare) == []
    keep(bare, [measured])

    assert msgspec.json.decode(bare.probes.read_bytes())[0]["pace"]["seconds_per_step"] == 0.1
    assert bare.probes.stat().st_mode & 0o077 == 0
