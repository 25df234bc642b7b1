"""What takes room in a home, by kind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.base.paths import Home
from engine.runs.directory import ExitReason, RunDirectory
from engine.runs.usage import Kind, bytes_of, measure, spent_checkpoints

SIZE = 1 << 16


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


def fill(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(SIZE))
    return path


def test_every_file_has_a_kind(home: Home, tmp_path: Path):
    """Each byte counts once: hidden runs as a whole, links and what they point to not at all."""
    files = {
        Kind.DATASETS: ["data/mine/train_images.npy"],
        Kind.CHECKPOINTS: ["runs/a/checkpoint.pt", "runs/a/checkpoint.pt.damaged", "runs/a/.checkpoint.pt.7.tmp"],
        Kind.WEIGHTS: ["runs/a/weights.pt"],
        Kind.JOURNALS: ["runs/a/journal.jsonl", "runs/a/worker.log"],
        Kind.DATABASE: ["depthscope.db", "depthscope.db-wal", "depthscope.db.20260101-000000.old"],
        Kind.HIDDEN: ["runs/b/weights.pt", "runs/b/checkpoint.pt"],
        Kind.OTHER: ["engine.log", "saved/chart.svg"],
    }
    for names in files.values():
        for name in names:
            fill(home.root / name)
    (home.runs / "a" / "checkpoint.prev.pt").hardlink_to(home.runs / "a" / "checkpoint.pt")
    (home.data / "elsewhere").symlink_to(fill(tmp_path / "outside" / "big").parent)

    found = measure(home, {"b"})

    assert found == {kind: len(names) * SIZE for kind, names in files.items()}


@pytest.mark.parametrize("reason", ExitReason)
@pytest.mark.parametrize("has_weights", [True, False])
def test_spent_checkpoints(reason: ExitReason, has_weights: bool, home: Home):
    """Only a succeeded run with its weights needs no checkpoint: any other may be resumed or retried."""
    directory = RunDirectory(home.runs / "0123456789")
    for path in (directory.checkpoint, directory.previous_checkpoint, directory.journal):
        fill(path)
    if has_weights:
        fill(directory.weights)
    directory.write_exit(reason, step=1)

    spent = reason is ExitReason.SUCCEEDED and has_weights
    assert len(spent_checkpoints(directory)) == 2 * spent
    directory.clear_exit()
    assert spent_checkpoints(directory) == []
    assert bytes_of(directory.checkpoint) == SIZE
    assert bytes_of(directory.path / "nothing") == 0
