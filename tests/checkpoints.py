"""Checkpoints of a directory, saved and read outside a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.base.folder import Folder
from engine.runs.identity import Identity
from engine.training.checkpoint import LoadedCheckpoint, load_checkpoint, read_archive, save_checkpoint, write_archive
from tests.engine.scripted import spec_of

IDENTITY = Identity(spec_of(0, "cpu"), origin=None, digest="s")
"""Identity with which a checkpoint loads whose `spec` is "s"."""


def read_at(path: Path) -> dict[str, Any]:
    """Read one checkpoint."""
    with Folder(path.parent) as folder:
        return read_archive(folder, path.name)


def write_at(path: Path, state: dict[str, Any]) -> None:
    """Write one checkpoint as it is."""
    with Folder(path.parent) as folder:
        write_archive(folder, path.name, state)


def save_in(path: Path, state: dict[str, Any]) -> None:
    """Save the newest checkpoint of a run directory."""
    with Folder(path) as folder:
        save_checkpoint(folder, state)


def load_in(path: Path, identity: Identity = IDENTITY) -> LoadedCheckpoint | None:
    """Load the newest intact checkpoint of a run directory."""
    with Folder(path) as folder:
        return load_checkpoint(folder, identity)
