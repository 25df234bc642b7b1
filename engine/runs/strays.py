"""Directories among the runs that are not runs, such as backup copies."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from engine.base.errors import DepthscopeError
from engine.runs.directory import RunDirectory
from engine.runs.identity import RUN_ID


@dataclass(frozen=True, slots=True)
class Stray:
    """A directory that is ignored because it is not the run that its name says."""

    path: Path
    what: str
    """What it is: a copy of 0123456789."""


def find_strays(runs: Path, known: Collection[str], *, every: bool = False) -> list[Stray]:
    """Find directories that are ignored, by name.

    Args:
        runs: Directory with the runs of a home.
        known: Ids of the runs in the index.
        every: Whether to look into their directories, too: another run may have taken their place.
    """
    try:
        with os.scandir(runs) as entries:
            names = sorted(entry.name for entry in entries if (every or entry.name not in known) and entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = (describe_stray(RunDirectory(runs / name), known) for name in names)
    return [stray for stray in found if stray is not None]


def describe_stray(directory: RunDirectory, known: Collection[str]) -> Stray | None:
    """Return what an unknown directory is; None if it may be a run that the next engine finds."""
    try:
        identity = directory.read_identity()
    except (DepthscopeError, OSError) as error:
        return None if RUN_ID.fullmatch(directory.id) else Stray(directory.path, f"not a run: {error}")
    has_name = RUN_ID.fullmatch(directory.id) is not None
    if has_name and (identity.origin is None or directory.wrong_run() is None):
        return None
    if identity.origin is None:
        return Stray(directory.path, "a copy of a run under another name")
    return Stray(directory.path, f"{'a copy of' if identity.origin in known else 'run'} {identity.origin}")
