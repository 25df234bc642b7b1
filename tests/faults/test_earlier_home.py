"""A home written by an earlier version opens, and its runs end as if nothing had happened."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.runs.journal import Resumed, read_events
from engine.runs.run import RunStatus
from tests.conftest import TestHome
from tests.faults.killing import check_rows, weights
from tests.record_home import EPOCHS, NETWORK, PROCESSOR, processor
from tests.recorded_runs import RECORDED

TOLERANCE = 0.05
"""Another processor or torch rounds differently; on the one that recorded it, weights are equal to the last bit."""


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[TestHome]:
    """The recorded home."""
    home = TestHome(tmp_path / "home")
    shutil.rmtree(home.home.root)
    with tarfile.open(RECORDED / "earlier-home.tar.xz") as archive:
        archive.extractall(home.home.root, filter="data")
    yield home
    home.end_everything()


def by_seed(home: TestHome) -> dict[int, Any]:
    with home.reader() as reader:
        return {run.spec.seed: run for run in reader.runs(experiment="history", with_deleted=True)}


@pytest.mark.slow
def test_an_earlier_home_opens_and_trains_to_the_same_weights(earlier: TestHome):
    """Resumed after a pause, after a kill, and started from the queue; what was finished or held stays so."""
    before = {path: path.read_bytes() for path in earlier.home.runs.glob("*/weights.pt")}
    earlier.cli("engine", "start")
    runs = by_seed(earlier)
    assert sorted(runs) == list(range(7))
    assert runs[1].tags == ("baseline",)
    assert runs[1].notes == "the second seed"
    assert runs[6].deleted_at is not None
    assert runs[2].status is RunStatus.PAUSED
    assert list(earlier.home.root.glob("depthscope.db.*.old")), "its index was set aside and built anew"
    assert {run.origin == run.id for run in runs.values()} == {True}
    earlier.cli("resume", runs[2].id)
    earlier.cli("wait", runs[2].id, runs[3].id, runs[4].id)
    undisturbed = {}
    for seed in (2, 3):
        words = ("--epochs", str(EPOCHS), "--seed", str(seed), "-e", "undisturbed", "--detach", "--device", "cpu")
        (run,) = earlier.json("train", *NETWORK, *words)["runs"]
        undisturbed[seed] = run["id"]
        earlier.cli("wait", run["id"])
    found = by_seed(earlier)
    assert {seed for seed, run in found.items() if run.succeeded} == {0, 1, 2, 3, 4}
    assert found[5].status is RunStatus.QUEUED
    assert found[5].held
    tolerance = 0.0 if (earlier.home.root / PROCESSOR).read_text() == processor() else TOLERANCE
    for seed, other in undisturbed.items():
        run = found[seed].id
        check_rows(earlier, run, EPOCHS)
        (resumed,) = (one for one in read_events(earlier.directory(run).journal) if isinstance(one, Resumed))
        assert 0 < resumed.step < found[seed].step, "from the checkpoint of the earlier version"
        ours, theirs = weights(earlier, run), weights(earlier, other)
        assert ours.keys() == theirs.keys()
        for name, tensor in ours.items():
            torch.testing.assert_close(tensor, theirs[name], rtol=tolerance, atol=tolerance)
    assert before == {path: path.read_bytes() for path in before}
