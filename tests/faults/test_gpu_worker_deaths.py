"""Real GPU failures in workers: memory is full, or a kernel reads out of bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.runs.run import RunOutcome
from engine.spec.devices import read_gpus
from tests.checkpoints import read_at
from tests.faults.killing import check_nothing_lost, sabotaged, train_planned
from tests.faults.sabotage.kill_points import UNTOLD_CHECKPOINT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]

FREED_SECONDS = 5.0
SLACK_BYTES = 256 << 20
"""Memory a driver may keep for itself."""


def used_bytes() -> int:
    """Return the memory in use on the first GPU, by all processes."""
    return read_gpus()[0].used_bytes or 0


def test_a_run_out_of_gpu_memory_fails_with_remedies_and_frees_the_gpu(home: Any, wait_until: Callable[..., Any]):
    """It fails at once and keeps its checkpoint; the card's memory is free again within seconds."""
    sabotaged(home)
    before = used_bytes()
    (run,) = train_planned(home, (("--epochs", "3"), [f"{UNTOLD_CHECKPOINT}|0|1|GPU filled"]))
    home.cli("wait", run, status=4)
    wait_until(lambda: used_bytes() <= before + SLACK_BYTES, patience_seconds=FREED_SECONDS)

    with home.reader() as reader:
        found = reader.run(run)
        kinds = [event.kind for event in reader.events(run)]
    assert found.outcome is RunOutcome.FAILED
    assert (found.error or "").startswith("out of memory on the GPU (")
    assert "fits (~" in (found.error or "") or "nothing fits, even" in (found.error or "")
    assert "crashed" not in kinds
    assert read_at(home.directory(run).checkpoint)["next_step"] == 10


def test_a_worker_whose_gpu_failed_is_resumed_in_a_process_of_its_own(home: Any):
    """An out-of-bounds kernel invalidates the context, not the run."""
    sabotaged(home)
    words = ("--epochs", "3", "--deterministic")
    undisturbed = home.train(*words)
    (run,) = train_planned(home, (words, [f"{UNTOLD_CHECKPOINT}|0|1|GPU out of bounds"]))
    home.cli("wait", undisturbed, run)

    with home.reader() as reader:
        (crashed,) = (event.text for event in reader.events(run) if event.kind == "crashed")
    assert crashed.startswith("its worker could not continue: CUDA error: ")
    check_nothing_lost(home, undisturbed, run, epochs=3, num_kills=1)
