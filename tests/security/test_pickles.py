"""Pickles that run something when they are loaded: refused, and nothing is run, wherever the product reads a file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.checkpoint import CHECKPOINT_FORMAT, write_archive
from engine.recipes import recipe
from engine.run import RunOutcome
from engine.run_directory import Labels
from engine.spec import DataSpec, RunSpec
from models.catalog import model_spec


class Malice:
    """Loaded, it makes a directory."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


def test_a_checkpoint_from_somebody_else_runs_nothing(home: Any, tmp_path: Path, wait_until: Callable[..., Any]):
    """In both generations, with right checksums and of the right run: the run fails and says why."""
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
    state = {"format": CHECKPOINT_FORMAT, "spec": directory.spec_digest(), "next_step": Malice(trace)}
    for path in (directory.checkpoint, directory.previous_checkpoint):
        write_archive(path, state)
    home.cli("engine", "start")

    def ended() -> Any:
        with home.reader() as reader:
            run = reader.run(directory.id)
        return run if run.is_finished else None

    run = wait_until(ended)
    assert run.outcome is RunOutcome.FAILED
    assert "cannot be read as plain tensors" in run.error
    assert not trace.exists()


def test_weights_from_somebody_else_run_nothing(home: Any, tmp_path: Path):
    """The control is torch.load without its guard: these weights do run something."""
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
    """The control is numpy without its guard."""
    trace = tmp_path / "done"
    array = np.empty(1, dtype=object)
    array[0] = Malice(trace)
    path = home.home.data / "tiny" / "train_labels.npy"
    np.save(path, array, allow_pickle=True)
    assert "tiny" in home.cli("data", "verify", "tiny", status=1)
    assert not trace.exists()

    np.load(path, allow_pickle=True)
    assert trace.exists()
