"""Checkpoints: all the state a run needs to resume, with a checksum.

A file is a header line (magic, SHA-256 and length of the rest) followed by a torch archive, read with
`weights_only=True`. Two generations are kept: a new one is written to a temporary file, synced and then renamed, so
that a readable checkpoint exists at all times.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.base.errors import CheckpointDamaged
from engine.base.paths import open_private, sync_directory, write_atomically
from engine.base.regular_files import OddFile, reading_regular

CHECKPOINT_FORMAT = 2
MAGIC = b"depthscope-checkpoint"
MAX_HEADER_BYTES = 256


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A restored state, and why a newer one could not be read."""

    state: dict[str, Any]
    damage: str | None
    """Why the newest generation was skipped; None if it was read."""


def write_archive(path: Path, state: dict[str, Any]) -> int:
    """Write a state atomically and durably; returns its size in bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    header = b"%s %s %d\n" % (MAGIC, hashlib.sha256(content).hexdigest().encode(), len(content))
    temporary = path.with_name(f".{path.name}.tmp")
    with os.fdopen(open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.write(header)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_directory(path.parent)
    return len(header) + len(content)


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a network's state_dict atomically, in the format of torch.save."""
    buffer = io.BytesIO()
    torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, buffer)
    write_atomically(path, buffer.getvalue())


def save_checkpoint(current: Path, previous: Path, state: dict[str, Any]) -> int:
    """Save a state as the newest generation and keep the previous one; returns the size of the file in bytes.

    Args:
        state: Tensors, numbers, strings, and lists and dictionaries of them.
    """
    if current.exists():
        # A hard link, so that the old generation remains `current` until the new one replaces it.
        keeping = previous.with_name(f".{previous.name}.tmp")
        keeping.unlink(missing_ok=True)
        os.link(current, keeping)
        keeping.rename(previous)
    return write_archive(current, {"format": CHECKPOINT_FORMAT, **state})


def read_archive(path: Path) -> dict[str, Any]:
    """Read a file written by `write_archive`, without executing code from it.

    Raises:
        CheckpointDamaged: the file is truncated, altered or not a checkpoint.
        FileNotFoundError: the file does not exist.
    """
    try:
        with reading_regular(path) as file:
            header = file.readline(MAX_HEADER_BYTES)
            content = file.read()
    except OSError as error:
        if not isinstance(error, OddFile) and error.errno != errno.EIO:
            raise
        raise CheckpointDamaged(f"{path.name} cannot be read: {error.strerror}") from error
    parts = header.split()
    if len(parts) != 3 or parts[0] != MAGIC or not parts[2].isdigit():
        raise CheckpointDamaged(f"{path.name} does not begin as a checkpoint does")
    if len(content) != int(parts[2]):
        raise CheckpointDamaged(f"{path.name} holds {len(content)} of {int(parts[2])} bytes")
    if hashlib.sha256(content).hexdigest().encode() != parts[1]:
        raise CheckpointDamaged(f"{path.name} does not match its own checksum")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        # On arbitrary bytes torch.load may raise anything, including struct.error and KeyError.
        raise CheckpointDamaged(f"{path.name} cannot be read as plain tensors: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointDamaged(f"{path.name} holds {type(state).__name__} in place of a state")
    return state


def load_checkpoint(current: Path, previous: Path, *, spec_digest: str) -> LoadedCheckpoint | None:
    """Load the newest intact generation; None if nothing was saved yet.

    Raises:
        CheckpointDamaged: no existing generation is usable.
    """
    damage: list[str] = []
    for path in (current, previous):
        try:
            state = read_archive(path)
        except FileNotFoundError:
            continue
        except CheckpointDamaged as error:
            damage.append(str(error))
            continue
        if state.get("format") != CHECKPOINT_FORMAT:
            damage.append(f"{path.name} has format {state.get('format')}, not {CHECKPOINT_FORMAT}")
        elif state.get("spec") != spec_digest:
            damage.append(f"{path.name} belongs to a run with another specification")
        else:
            if damage and path == previous:
                # Otherwise the next save would keep the damaged one as `previous` and lose the good one.
                current.replace(current.with_name(f"{current.name}.damaged"))
            return LoadedCheckpoint(state, "; ".join(damage) or None)
    if damage:
        raise CheckpointDamaged("; ".join(damage))
    return None


class HostCopy:
    """Reusable host memory for one copy of a state at a time."""

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._copied: torch.cuda.Event | None = None

    def take(self, state: dict[str, Any]) -> dict[str, Any]:
        """Start copying every tensor of a state, the same tensors at every call; the copy is complete after `wait`."""
        copied: dict[str, Any] = self._copy(state, "")
        if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()
        return copied

    def wait(self) -> None:
        """Wait until the latest copy is complete; may be called from another thread."""
        if self._copied is not None:
            self._copied.synchronize()

    def _copy(self, value: Any, place: str) -> Any:
        if isinstance(value, Tensor):
            if place not in self._tensors:
                # Copies are asynchronous only to pinned memory.
                self._tensors[place] = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
            return self._tensors[place].copy_(value, non_blocking=True)
        if isinstance(value, dict):
            return {name: self._copy(part, f"{place}/{name}") for name, part in value.items()}
        if isinstance(value, list):
            return [self._copy(part, f"{place}/{index}") for index, part in enumerate(value)]
        return value
