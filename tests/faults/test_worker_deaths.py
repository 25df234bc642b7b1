"""Workers that die of other causes than SIGKILL: the cause is named, run and queue continue."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.runs.run import RunOutcome
from engine.scheduler.outcomes import MAX_CRASHES
from engine.spec.precision import Precision, of_cpu
from tests.checkpoints import read_at
from tests.faults.killing import (
    check_nothing_lost,
    points_fallen,
    sabotaged,
    train_planned,
)
from tests.faults.sabotage.kill_points import STEP, UNTOLD_CHECKPOINT, UPDATED

CGROUP_BYTES = 1 << 30
"""More than a tiny run needs, yet quickly filled."""


@pytest.fixture
def memory_cgroup(home: Any, request: pytest.FixtureRequest) -> Iterator[None]:
    """A cgroup limited to one gigabyte."""
    here = {line.split(":")[1]: line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines()}
    if "memory" in here:
        parent, limit = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        parent /= here["memory"].lstrip("/")
    else:
        parent, limit = Path("/sys/fs/cgroup", here[""].lstrip("/")), "memory.max"
    cgroup = parent / f"depthscope-{os.getpid()}"
    try:
        cgroup.mkdir()
        (cgroup / limit).write_text(str(CGROUP_BYTES))
    except OSError as error:
        with contextlib.suppress(OSError):
            cgroup.rmdir()
        pytest.skip(f"no cgroup with a limit of memory can be made here: {error}")
    (home.home.root / "kills").mkdir(exist_ok=True)
    (home.home.root / "kills" / "cgroup").write_text(str(cgroup))
    yield
    home.end_everything()
    cgroup.rmdir()


def events(home: Any, run: str, kind: str) -> list[str]:
    """Return the texts of a run's events of a kind."""
    return [event["text"] for event in home.json("show", run)["events"] if event["kind"] == kind]


CAUSES = {
    "segmentation fault": "its worker killed by SIGSEGV",
    "kernel out of patience": "its worker killed by SIGKILL",
    "illegal memory access": "its worker could not continue: CUDA error: an illegal memory access was encountered",
}
KERNEL_OUT_OF_MEMORY = {"kernel out of memory": "its worker killed by SIGKILL because the kernel ran out of memory"}


def strike_once(home: Any, causes: dict[str, str], figure: Callable[[str], None]) -> None:
    """Train a run for each cause of death; check that the run reports it and ends with the same weights."""
    sabotaged(home)
    words = ("--epochs", "2")
    undisturbed = home.train(*words)
    runs = train_planned(home, *[(words, [f"{STEP}|1|5|{misfortune}"]) for misfortune in causes])
    home.cli("wait", undisturbed, *runs, patience_seconds=280)
    for run, (misfortune, said) in zip(runs, causes.items(), strict=True):
        assert [text.partition("; last heard from")[0] for text in events(home, run, "crashed")] == [said]
        check_nothing_lost(home, undisturbed, run, epochs=2, num_kills=1)
        with home.reader() as reader:
            at = {event.kind: event.at for event in reader.events(run)}
        figure(f"{misfortune}: training again {at['resumed'] - at['crashed']:.1f} s after the crash was noticed")


def test_a_crashed_worker_is_resumed_and_its_cause_is_named(home: Any, figure: Callable[[str], None]):
    """After a segmentation fault or CUDA error, the run ends with the same weights."""
    strike_once(home, {name: CAUSES[name] for name in ("segmentation fault", "illegal memory access")}, figure)


@pytest.mark.slow
def test_a_worker_killed_by_a_kernel_limit_is_resumed_with_its_cause(home: Any, figure: Callable[[str], None]):
    """By the kernel's limit on processor time."""
    strike_once(home, {"kernel out of patience": CAUSES["kernel out of patience"]}, figure)


@pytest.mark.slow
@pytest.mark.usefixtures("memory_cgroup")
def test_a_worker_killed_by_the_kernel_out_of_memory_is_resumed_with_its_cause(
    home: Any, figure: Callable[[str], None]
):
    """In a limited cgroup, by the kernel's out-of-memory killer."""
    strike_once(home, KERNEL_OUT_OF_MEMORY, figure)


def fail_three_times(home: Any, *misfortunes: tuple[str, str, str]) -> None:
    """Train a run for each three causes, whose workers die of them in turn, followed by an undisturbed run."""
    sabotaged(home)
    words = ("--epochs", "1")
    # A fourth worker would die, too.
    plans = [[f"{STEP}|0|1|{misfortune}" for misfortune in (*three, three[-1])] for three in misfortunes]
    *runs, other = train_planned(home, *[(words, plan) for plan in plans], (words, []))
    home.cli("wait", *runs, status=4, patience_seconds=280)
    home.cli("wait", other)

    places = {"segmentation fault": "in string_at", "illegal memory access": "in take"}
    for run, three in zip(runs, misfortunes, strict=True):
        shown = home.json("show", run)["run"]
        assert shown["outcome"] == "failed"
        said = f"{CAUSES[three[-1]]}, 3 times without a new checkpoint in between"
        assert shown["error"].splitlines()[-1].startswith(said)
        assert points_fallen(home, run).total() == 3
        assert said in home.cli("show", run)
        logged = home.cli("logs", run)
        assert all(places[misfortune] in logged for misfortune in three)


@pytest.mark.slow
def test_a_run_fails_after_three_crashes_and_the_queue_continues(home: Any):
    """Three crashes of any cause without a checkpoint; the error's last line names the last cause."""
    fail_three_times(home, ("illegal memory access", "illegal memory access", "segmentation fault"))


@pytest.mark.soak
def test_a_worker_that_dies_three_times_of_the_same_has_failed(home: Any):
    """Full version: each cause by itself."""
    fail_three_times(home, ("segmentation fault",) * 3, ("illegal memory access",) * 3)


@pytest.mark.slow
@pytest.mark.skipif(Precision.BF16 not in of_cpu(), reason="the fallback from bf16 needs a CPU with bf16")
def test_a_kernel_that_faults_in_bf16_is_avoided_at_the_third_start(home: Any):
    """An explicit bf16 is overridden, and `show`, the events and the journal say so; resuming stays in fp32."""
    sabotaged(home)
    words = ("--epochs", "1", "--precision", "bf16")
    undisturbed = home.train("--epochs", "1", "--precision", "fp32")
    (run,) = train_planned(home, (words, [f"{STEP}|0|2|segmentation fault unless safe"] * 3))
    home.cli("wait", undisturbed, run, patience_seconds=280)

    shown = home.json("show", run)["run"]
    assert (shown["outcome"], shown["precision"]) == ("succeeded", "fp32")
    assert events(home, run, "crashed") == [CAUSES["segmentation fault"]] * 2
    assert events(home, run, "notice") == [
        "2 crashes in its first steps: training once more in fp32 (overrides --precision bf16)",
        "trains in fp32: earlier workers crashed in its first steps (overrides --precision bf16)",
    ]
    assert "overrides --precision bf16" in home.cli("show", run)
    ours, plain = (torch.load(home.directory(name).weights) for name in (run, undisturbed))
    assert all(torch.equal(ours[name], plain[name]) for name in plain)


@pytest.mark.slow
def test_a_checkpoint_not_reported_by_a_dead_worker_is_progress(home: Any):
    """Three workers die between their first checkpoint and its journal line, and the run still advances."""
    sabotaged(home)
    (run,) = train_planned(home, (("--epochs", "4"), [f"{UNTOLD_CHECKPOINT}|0|1"] * MAX_CRASHES))
    home.cli("wait", run, patience_seconds=280)

    assert len(events(home, run, "crashed")) == MAX_CRASHES


@pytest.mark.slow
def test_runs_out_of_memory_have_failed_with_what_would_fit(
    home: Any, wait_until: Callable[..., Any], figure: Callable[[str], None]
):
    """They fail at once, since it would happen again; checkpoints are kept for a retry, and memory is freed."""
    sabotaged(home)
    causes = {"GPU out of memory": "CUDA out of memory.", "address space out": "can't allocate memory"}
    words = ("--epochs", "2", "--precision", "fp32")
    runs = train_planned(home, *[(words, [f"{STEP}|1|5|{misfortune}"]) for misfortune in causes])
    home.cli("wait", *runs, status=4)
    for run, (misfortune, cause) in zip(runs, causes.items(), strict=True):
        shown = home.json("show", run)
        error = shown["run"]["error"]
        assert shown["run"]["outcome"] == "failed"
        assert error.startswith("out of memory on the CPU (")
        assert any(words in error for words in ("fits (~", "nothing fits, even", "no network fits"))
        assert cause in error
        assert "advice for programmers" not in error
        assert not events(home, run, "crashed")
        assert points_fallen(home, run).total() == 1
        assert read_at(home.directory(run).checkpoint)["next_step"] == 10
        assert home.worker_pid(run) is None
        struck_at = (home.home.root / "kills" / f"{run}.fell").stat().st_mtime
        with home.reader() as reader:
            gone = next(event.at for event in reader.events(run) if event.kind == "finished")
        figure(f"{misfortune}: its process gone {gone - struck_at:.2f} s after it struck")

    home.cli("retry", runs[0])
    home.cli("wait", runs[0])
    assert len(events(home, runs[0], "resumed")) == 1


NOT_FINITE = [
    (STEP, 5, "weight nan", 14),
    (STEP, 5, "weight inf", 14),
    (STEP, 5, "image nan", 14),
    (STEP, 1, "image inf", 10),
    # The previous loss was finite; the next one reveals it.
    (UPDATED, 5, "weight nan", 15),
    # After an epoch's last update, where no further loss precedes the checkpoint.
    (UPDATED, 10, "weight inf", 20),
]


def diverge(home: Any, cases: list[tuple[str, int, str, int]]) -> None:
    """Train runs in which a non-finite number appears, and check that they were stopped before it did harm."""
    words = ("--epochs", "3")
    plans = [[f"{point}|1|{count}|{misfortune}"] for point, count, misfortune, _ in cases]
    runs = train_planned(home, *[(words, plan) for plan in plans])
    home.cli("wait", *runs, status=None, patience_seconds=280)
    for run, (*_, step) in zip(runs, cases, strict=True):
        with home.reader() as reader:
            assert reader.run(run).outcome is RunOutcome.DIVERGED
            notices = [event.text for event in reader.events(run) if event.kind == "notice"]
        saved = read_at(home.directory(run).checkpoint)
        momentum = [kept["momentum_buffer"] for kept in saved["optimizer"]["state"].values()]
        assert points_fallen(home, run).total() == 1
        assert [text for text in notices if f"the loss was not finite at step {step} " in text]
        assert saved["next_step"] == 10
        assert all(torch.isfinite(tensor.float()).all() for tensor in [*saved["model"].values(), *momentum])
        assert not home.directory(run).weights.exists()


@pytest.mark.slow
def test_non_finite_numbers_end_a_run_as_diverged_with_its_last_good_checkpoint(home: Any):
    """NaN and infinity before and after an update, in a weight and in an image; the last checkpoint stays."""
    sabotaged(home)
    diverge(home, NOT_FINITE[:1] + NOT_FINITE[-3:])


@pytest.mark.soak
def test_all_numbers_that_are_none_end_a_run_as_diverged(home: Any):
    """Full version: each number at each place."""
    sabotaged(home)
    diverge(home, NOT_FINITE)


@pytest.mark.slow
def test_non_finite_numbers_would_be_seen_in_a_checkpoint(home: Any):
    """Control: without checks of losses and weights, this test's check fails."""
    sabotaged(home, "watch over numbers")
    with pytest.raises(AssertionError, match="DIVERGED"):
        diverge(home, NOT_FINITE[:1])
