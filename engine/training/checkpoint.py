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
from typing import Any

import torch
from torch import Tensor, nn

from engine.base.errors import CheckpointDamaged
from engine.base.folder import Folder
from engine.base.regular_files import OddFile
from engine.runs.directory import FileName
from engine.runs.identity import Identity

CHECKPOINT_FORMAT = 2
MAGIC = b"depthscope-checkpoint"
MAX_HEADER_BYTES = 256


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A restored state, and why a newer one could not be read."""

    state: dict[str, Any]
    damage: str | None
    """Why the newest generation was skipped; None if it was read."""


def write_archive(folder: Folder, name: str, state: dict[str, Any]) -> int:
    """Write a state atomically and durably; returns its size in bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    header = b"%s %s %d\n" % (MAGIC, hashlib.sha256(content).hexdigest().encode(), len(content))
    temporary = f".{name}.tmp"
    with os.fdopen(folder.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.write(header)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    folder.rename(temporary, name)
    folder.sync()
    return len(header) + len(content)


def save_weights(folder: Folder, model: nn.Module) -> None:
    """Write a network's state_dict atomically, in the format of torch.save."""
    buffer = io.BytesIO()
    torch.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, buffer)
    folder.write_atomically(FileName.WEIGHTS, buffer.getvalue())


def save_checkpoint(folder: Folder, state: dict[str, Any]) -> int:
    """Save a state as the newest generation and keep the previous one; returns the size of the file in bytes.

    Args:
        state: Tensors, numbers, strings, and lists and dictionaries of them.
    """
    if folder.exists(FileName.CHECKPOINT):
        # A hard link, so that the old generation keeps its name until the new one replaces it.
        keeping = f".{FileName.PREVIOUS_CHECKPOINT}.tmp"
        folder.unlink(keeping)
        folder.link(FileName.CHECKPOINT, keeping)
        folder.rename(keeping, FileName.PREVIOUS_CHECKPOINT)
    return write_archive(folder, FileName.CHECKPOINT, {"format": CHECKPOINT_FORMAT, **state})


def read_archive(folder: Folder, name: str) -> dict[str, Any]:
    """Read a file written by `write_archive`, without executing code from it.

    Raises:
        CheckpointDamaged: the file is truncated, altered or not a checkpoint.
        FileNotFoundError: the file does not exist.
    """
    try:
        with os.fdopen(folder.open(name, os.O_RDONLY), "rb") as file:
            header = file.readline(MAX_HEADER_BYTES)
            content = file.read()
    except OSError as error:
        if not isinstance(error, OddFile) and error.errno != errno.EIO:
            raise
        raise CheckpointDamaged(f"{name} cannot be read: {error.strerror}") from error
    parts = header.split()
    if len(parts) != 3 or parts[0] != MAGIC or not parts[2].isdigit():
        raise CheckpointDamaged(f"{name} does not begin as a checkpoint does")
    if len(content) != int(parts[2]):
        raise CheckpointDamaged(f"{name} holds {len(content)} of {int(parts[2])} bytes")
    if hashlib.sha256(content).hexdigest().encode() != parts[1]:
        raise CheckpointDamaged(f"{name} does not match its own checksum")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        # On arbitrary bytes torch.load may raise anything, including struct.error and KeyError.
        raise CheckpointDamaged(f"{name} cannot be read as plain tensors: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointDamaged(f"{name} holds {type(state).__name__} in place of a state")
    return state


def load_checkpoint(folder: Folder, identity: Identity) -> LoadedCheckpoint | None:
    """Load the newest intact generation of a run; None if nothing was saved yet.

    Raises:
        CheckpointDamaged: no existing generation is usable.
    """
    damage: list[str] = []
    for name in (FileName.CHECKPOINT, FileName.PREVIOUS_CHECKPOINT):
        try:
            state = read_archive(folder, name)
        except FileNotFoundError:
            continue
        except CheckpointDamaged as error:
            damage.append(str(error))
            continue
        if state.get("format") != CHECKPOINT_FORMAT:
            damage.append(f"{name} has format {state.get('format')}, not {CHECKPOINT_FORMAT}")
        elif (whose := state.get("origin")) != identity.origin and isinstance(whose, str):
            damage.append(f"{name} belongs to run {whose}")
        elif state.get("spec") != identity.digest:
            damage.append(f"{name} belongs to a run with another specification")
        else:
            if damage and name == FileName.PREVIOUS_CHECKPOINT:
                # Otherwise the next save would keep the damaged one as the previous and lose the good one.
                folder.rename(FileName.CHECKPOINT, f"{FileName.CHECKPOINT}.damaged")
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
