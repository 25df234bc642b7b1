"""Checkpoints are intact or detected as damaged."""

import dataclasses
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.base.errors import CheckpointDamaged
from engine.training.checkpoint import MAGIC
from tests.checkpoints import IDENTITY, load_in, read_at, save_in


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "checkpoint.pt", tmp_path / "checkpoint.prev.pt"


def save(files: tuple[Path, Path], step: int) -> None:
    save_in(files[0].parent, {"spec": "s", "next_step": step, "weights": torch.full((1000,), float(step))})


def step_of(files: tuple[Path, Path]) -> int | None:
    loaded = load_in(files[0].parent)
    return None if loaded is None else loaded.state["next_step"]


def test_the_newest_generation_is_loaded_with_equal_tensors(files: tuple[Path, Path]):
    """The last save is the state of the run."""
    save(files, 1)
    save(files, 2)
    loaded = load_in(files[0].parent)

    assert loaded is not None
    assert loaded.damage is None
    assert loaded.state["next_step"] == 2
    assert torch.equal(loaded.state["weights"], torch.full((1000,), 2.0))


def test_load_checkpoint_returns_none_without_a_checkpoint(files: tuple[Path, Path]):
    """A run killed before its first checkpoint starts from scratch."""
    assert step_of(files) is None


def test_both_generations_damaged_is_an_error_that_names_both(files: tuple[Path, Path]):
    """Silently starting from scratch would lose the run."""
    save(files, 1)
    save(files, 2)
    for path in files:
        path.write_bytes(b"nothing\n")

    with pytest.raises(CheckpointDamaged, match=r"checkpoint\.pt .*checkpoint\.prev\.pt"):
        step_of(files)


def test_another_runs_checkpoint_is_refused(files: tuple[Path, Path]):
    """In the wrong directory it would continue another run's training."""
    save(files, 1)
    other = dataclasses.replace(IDENTITY, digest="other")

    with pytest.raises(CheckpointDamaged, match="another specification"):
        load_in(files[0].parent, other)
    save_in(files[0].parent, {"spec": "s", "origin": "0123456789", "next_step": 2})
    with pytest.raises(CheckpointDamaged, match=r"checkpoint\.pt belongs to run 0123456789"):
        load_in(files[0].parent, other)


class Malice:
    """Creates a directory when unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


def test_a_pickle_with_a_side_effect_is_refused_without_it(files: tuple[Path, Path], tmp_path: Path):
    """A checkpoint may come from someone else, with a valid checksum."""
    trace = tmp_path / "done"
    save_in(tmp_path, {"spec": "s", "next_step": Malice(trace)})
    assert files[0].read_bytes().startswith(MAGIC)

    with pytest.raises(CheckpointDamaged, match="cannot be read"):
        read_at(files[0])
    assert not trace.exists()


def test_files_are_private(files: tuple[Path, Path]):
    """Under a umask that would let others read."""
    before = os.umask(0o022)
    try:
        save(files, 1)
        save(files, 2)
    finally:
        os.umask(before)

    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]


def test_saving_leaves_the_old_generation_readable_at_every_instant(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    """A process killed between any two system calls of a save leaves a usable checkpoint."""
    save(files, 1)
    save(files, 2)
    seen: list[int | None] = []
    for name in ("link", "fsync", "unlink"):
        real = getattr(os, name)

        def spied(*args: object, real: object = real, **kwargs: object) -> object:
            seen.append(step_of(files))
            result = real(*args, **kwargs)  # type: ignore[operator]
            seen.append(step_of(files))
            return result

        monkeypatch.setattr(os, name, spied)
    save(files, 3)

    assert len(seen) >= 4
    assert set(seen) <= {2, 3}


def test_tensors_come_back_on_the_cpu(files: tuple[Path, Path]):
    """A run saved on a GPU is opened on a machine without one."""
    save(files, 1)
    loaded = load_in(files[0].parent)
    assert loaded is not None
    weights: Tensor = loaded.state["weights"]

    assert weights.device.type == "cpu"
