"""Malicious pickles are refused without running anything, wherever depthscope reads a file."""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.base.errors import DatasetError, UsageError
from engine.data.cache import map_array, read_info
from engine.data.sources import ArrayUnpickler, unpickle
from engine.programs.weights_file import read_weights
from engine.runs.directory import Labels
from engine.runs.run import RunOutcome
from engine.spec.recipes import recipe
from engine.spec.run import DataSpec, RunSpec
from engine.training.checkpoint import CHECKPOINT_FORMAT, CheckpointDamaged
from models.catalog import model_spec
from tests.checkpoints import read_at, write_at


class Malice:
    """Creates a directory when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


def test_a_malicious_checkpoint_runs_nothing(home: Any, tmp_path: Path, wait_until: Callable[..., Any]):
    """In both generations, with valid checksums and run id: the run fails with the reason."""
    trace = tmp_path / "done"
    directory = home.directory("0123456789")
    spec = RunSpec(
        model=model_spec("he-plain", 8, num_classes=4),
        data=DataSpec(name="tiny"),
        recipe=recipe("quick", batch_size=20),
        seed=0,
        device="cpu",
    )
    directory.create(spec, Labels(name="theirs", experiment="theirs", position=1, created_at=time.time()))
    state = {"format": CHECKPOINT_FORMAT, "spec": directory.read_identity().digest, "next_step": Malice(trace)}
    for path in (directory.checkpoint, directory.previous_checkpoint):
        write_at(path, state)
    home.cli("engine", "start")

    def ended() -> Any:
        with home.reader() as reader:
            run = reader.run(directory.id)
        return run if run.is_finished else None

    run = wait_until(ended)
    assert run.outcome is RunOutcome.FAILED
    assert "cannot be read as plain tensors" in run.error
    assert not trace.exists()


def test_malicious_weights_run_nothing(home: Any, tmp_path: Path):
    """Control: torch.load without its guard does run code from these weights."""
    trace, weights = tmp_path / "done", tmp_path / "weights.pt"
    torch.save({"conv.weight": Malice(trace)}, weights)
    said = home.cli(
        "eval", "--weights", str(weights), "-a", "he-plain", "-d", "8", "--width", "4", "--data", "tiny", status=2
    )
    assert "which are not loaded" in said
    assert not trace.exists()

    torch.load(weights, weights_only=False)
    assert trace.exists()


def test_a_dataset_of_pickled_objects_runs_nothing(home: Any, tmp_path: Path):
    """Control: NumPy without its guard does."""
    trace = tmp_path / "done"
    array = np.empty(1, dtype=object)
    array[0] = Malice(trace)
    path = home.home.data / "tiny" / "train_labels.npy"
    np.save(path, array, allow_pickle=True)
    assert "tiny" in home.cli("data", "verify", "tiny", status=1)
    assert not trace.exists()

    np.load(path, allow_pickle=True)
    assert trace.exists()


def malicious_checkpoint(home: Any, malice: Malice) -> Callable[[], object]:
    path = home.home.root / "checkpoint.pt"
    write_at(path, {"format": CHECKPOINT_FORMAT, "next_step": malice})
    return lambda: read_at(path)


def malicious_weights(home: Any, malice: Malice) -> Callable[[], object]:
    path = home.home.root / "weights.pt"
    torch.save({"conv.weight": malice}, path)
    return lambda: read_weights(path)


def malicious_labels(home: Any, malice: Malice) -> Callable[[], object]:
    array = np.empty(1, dtype=object)
    array[0] = malice
    np.save(home.home.data / "tiny" / "train_labels.npy", array, allow_pickle=True)
    return lambda: map_array(home.home, read_info(home.home, "tiny"), "train_labels")


def malicious_batch(_home: Any, malice: Malice) -> Callable[[], object]:
    content = pickle.dumps({"data": malice})
    return lambda: unpickle("data_batch_1", content)


LOAD_PICKLES = (
    torch,
    "load",
    lambda file, weights_only, load=torch.load, **words: load(file, weights_only=False, **words),
)
LOAD_OBJECTS = (np, "load", lambda path, load=np.load, **_words: load(path, allow_pickle=True))
FIND_ANYTHING = (ArrayUnpickler, "find_class", pickle.Unpickler.find_class)


@pytest.mark.parametrize(
    ("make", "refusal", "unguarded"),
    [
        pytest.param(malicious_checkpoint, CheckpointDamaged, LOAD_PICKLES, id="checkpoint"),
        pytest.param(malicious_weights, UsageError, LOAD_PICKLES, id="weights"),
        pytest.param(malicious_labels, DatasetError, LOAD_OBJECTS, id="dataset"),
        pytest.param(malicious_batch, DatasetError, FIND_ANYTHING, id="published batch"),
    ],
)
def test_without_the_guard_a_pickle_would_execute_code(
    make: Callable[..., Callable[[], object]],
    refusal: type[Exception],
    unguarded: tuple[Any, str, Any],
    home: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Controls: the product's own reader, unmodified and with its guard removed."""
    trace = tmp_path / "done"
    read = make(home, Malice(trace))
    with pytest.raises(refusal):
        read()
    assert not trace.exists()

    monkeypatch.setattr(*unguarded)
    with contextlib.suppress(refusal):
        read()
    assert trace.exists()
