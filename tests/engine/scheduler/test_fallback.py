"""A run whose workers crash in their first steps is tried once more in fp32, and says so."""

from __future__ import annotations

import msgspec
import pytest

from engine.base.paths import Home
from engine.control.protocol import NewRun, Submit
from engine.runs.journal import Checkpointed, Started
from engine.runs.run import Run
from engine.scheduler.outcomes import FAULTS
from engine.spec.devices import CPU
from engine.spec.precision import Precision
from tests.engine.scripted import Scene, scene, spec_of


@pytest.fixture
def here(home_at: Home) -> Scene:
    return scene(home_at, (CPU,))


@pytest.fixture
def home_at(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home")).create()


def submit(here: Scene, asked: Precision) -> str:
    """Queue one run."""
    spec = spec_of(0, None)
    spec = msgspec.structs.replace(spec, recipe=msgspec.structs.replace(spec.recipe, precision=asked))
    return here.ask(Submit(runs=(NewRun(name="a", spec=spec),))).runs[0]


def begin(here: Scene, run: str, used: Precision) -> None:
    """Write what a worker writes at its first step."""
    here.journal(
        run,
        Started(
            pid=1, host="h", device="cpu", device_name="a CPU", torch="2", num_threads=1, total_steps=100,
            precision=used, num_parameters=1, num_train=1, num_test=1, data_sha256="", synthetic=False,
        ),
    )  # fmt: skip


def crash(here: Scene, run: str, *statuses: str, used: Precision = Precision.BF16) -> Run:
    """End one worker after another."""
    for status in statuses:
        begin(here, run, used)
        here.launcher.status = status
        found = here.end(run, None)
    return found


def fallback(here: Scene, run: str) -> Precision | None:
    return here.supervisor.directory(run).read_labels().fallback


def texts(here: Scene, run: str, kind: str) -> list[str]:
    return [event.text for event in here.supervisor.reader.events(run) if event.kind == kind]


@pytest.mark.parametrize("asked", [Precision.AUTO, Precision.BF16])
@pytest.mark.parametrize("name", FAULTS)
def test_two_faults_in_the_first_steps_lead_to_fp32(here: Scene, asked: Precision, name: str):
    """Asked for or not; the run's labels, its precision and its events say so, for later engines, too."""
    run = submit(here, asked)
    assert fallback(here, run) is None
    found = crash(here, run, f"killed by {name}")
    assert (fallback(here, run), found.precision) == (None, Precision.BF16)
    found = crash(here, run, f"killed by {name}")

    assert (fallback(here, run), found.precision) == (Precision.FP32, Precision.FP32)
    said = "2 crashes in its first steps: training once more in fp32"
    assert texts(here, run, "notice") == [said + " (overrides --precision bf16)" * (asked is Precision.BF16)]
    assert fallback(here.successor(index_lost=True), run) is Precision.FP32


def test_a_third_fault_fails_the_run(here: Scene):
    """There is one more try, not three."""
    run = submit(here, Precision.AUTO)
    crash(here, run, "killed by SIGSEGV", "killed by SIGABRT")
    found = crash(here, run, "killed by SIGSEGV", used=Precision.FP32)

    assert str(found.outcome) == "failed"
    assert (found.error or "").endswith(
        "killed by SIGSEGV, 3 times without a new checkpoint in between, at last in fp32"
    )


@pytest.mark.parametrize(
    "statuses",
    [
        ("killed by SIGKILL", "killed by SIGKILL"),
        ("killed by SIGTERM", "killed by SIGTERM"),
        ("exited with status 1", "exited with status 1"),
        ("killed by SIGSEGV", "killed by SIGKILL because the kernel ran out of memory"),
        ("killed by SIGKILL", "killed by SIGSEGV"),
    ],
)
def test_other_ends_change_nothing(here: Scene, statuses: tuple[str, str]):
    """Somebody's kill says nothing about a kernel, and one fault may be chance."""
    run = submit(here, Precision.AUTO)
    crash(here, run, *statuses)

    assert fallback(here, run) is None


def test_fp32_has_nothing_safer(here: Scene):
    """It is contiguous already."""
    run = submit(here, Precision.AUTO)
    crash(here, run, "killed by SIGSEGV", "killed by SIGSEGV", used=Precision.FP32)

    assert fallback(here, run) is None
    assert texts(here, run, "notice") == []


def test_a_run_with_a_checkpoint_keeps_its_precision(here: Scene):
    """Its steps have worked, and its weights must not change."""
    run = submit(here, Precision.AUTO)
    begin(here, run, Precision.BF16)
    here.journal(run, Checkpointed(step=3, size_bytes=1, seconds=0.1))
    crash(here, run, "killed by SIGSEGV", "killed by SIGSEGV")

    assert fallback(here, run) is None
