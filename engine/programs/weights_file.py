"""Files of weights, read without executing anything in them."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.base.errors import UsageError
from engine.runs.identity import RUN_ID
from engine.training.checkpoint import MAGIC, MAX_HEADER_BYTES

WRAPPERS = ("state_dict", "model_state_dict", "net", "model", "weights")
"""Keys under which programs store a state_dict beside other things, most specific first."""
PREFIX = re.compile(r"^(module\.|_orig_mod\.)+")
"""Prefixes added by DataParallel and torch.compile."""
COUNTER = "num_batches_tracked"
"""Absent in files from before torch 0.4.1, and irrelevant to evaluation."""
SAVE = "torch.save(%s, 'weights.pt')"
"""Python that writes a file we read."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Contents of a file of weights."""

    tensors: dict[str, Tensor]
    """Tensors by name, without counters."""
    counters: dict[str, int] = field(default_factory=dict)
    """Number of batches that each normalisation was trained on, by the name of its layer."""
    is_ordered: bool = True
    """Whether the tensors are in the order of the network's layers; safetensors files do not keep it."""


def read_weights(path: Path) -> Weights:
    """Read the tensors of a PyTorch checkpoint or a safetensors file; a state_dict may be nested in a dictionary.

    Raises:
        UsageError: the file does not exist, contains anything but plain tensors and values, or has no tensors.
    """
    try:
        if is_safetensors(path):
            loaded, is_ordered = read_safetensors(path), False
        else:
            loaded, is_ordered = read_checkpoint(path), True
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    state = state_dict_in(loaded, path)
    if not state:
        raise UsageError(f"{path} holds no state_dict")
    tensors: dict[str, Tensor] = {}
    counters: dict[str, int] = {}
    for name, tensor in state.items():
        name = PREFIX.sub("", name)
        if name in tensors:
            raise UsageError(f"{path} holds {name} twice, with and without a prefix: save one state_dict alone")
        if not name.endswith(COUNTER):
            tensors[name] = tensor
        elif tensor.numel() == 1:
            counters[name.removesuffix(f".{COUNTER}")] = int(tensor)
    return Weights(tensors, counters, is_ordered)


def is_safetensors(path: Path) -> bool:
    """Whether a file begins like a safetensors file: eight bytes with the length of the JSON behind them."""
    with path.open("rb") as file:
        begin = file.read(9)
        num_bytes = os.fstat(file.fileno()).st_size
    return begin[8:9] == b"{" and 0 < int.from_bytes(begin[:8], "little") <= num_bytes - 8


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file."""
    try:
        return load_file(path)
    except safetensors.SafetensorError as error:
        raise UsageError(f"{path} is a damaged safetensors file: {error}") from error


def read_checkpoint(path: Path) -> Any:
    """Content of a file written by torch.save."""
    if (other := other_kind(path)) is not None:
        raise UsageError(f"{path} {other}")
    with path.open("rb") as file:
        is_archive = zipfile.is_zipfile(file)
        file.seek(0)
        is_pickle = file.read(1) == b"\x80"
    if not is_archive and not is_pickle:
        raise UsageError(f"{path} is not a PyTorch checkpoint: give a file written by torch.save")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path} holds Python objects, which are not loaded since that would execute them: write the weights alone,"
            " `torch.save(model.state_dict(), FILE)`"
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        # On arbitrary bytes torch.load may raise anything, as with checkpoints.
        raise UsageError(
            f"{path} is damaged: {str(error).splitlines()[0] if str(error) else 'it ends early'}"
        ) from error


def state_dict_in(loaded: Any, path: Path, *, levels: int = 3) -> dict[str, Tensor]:
    """The state_dict in a checkpoint; empty if there is none.

    Tensors beside it, such as a best accuracy or the state of a random generator, have names without a dot; those of a
    network consist of a layer and a part of it.

    Args:
        path: Of the file, for errors.
        levels: Dictionaries within each other to look into.
    """
    if not isinstance(loaded, Mapping) or levels == 0:
        return {}
    for name in WRAPPERS:
        if state := state_dict_in(loaded.get(name), path, levels=levels - 1):
            return state
    direct = tensors_of(loaded)
    if any("." in name for name in direct):
        return direct
    inside = {str(name): tensors for name, value in loaded.items() if (tensors := tensors_of(value))}
    if len(inside) > 1:
        raise UsageError(f"{path} holds several networks ({', '.join(inside)}): save one state_dict alone")
    return next(iter(inside.values()), direct)


def tensors_of(value: Any) -> dict[str, Tensor]:
    """Tensors directly in a mapping, by name; empty for anything else."""
    if not isinstance(value, Mapping):
        return {}
    return {str(name): tensor for name, tensor in value.items() if isinstance(tensor, Tensor)}


def other_kind(path: Path) -> str | None:
    """What a file is and how to get a state_dict from it, for kinds of files that are not read.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        begin = file.read(MAX_HEADER_BYTES)
    if begin.startswith(MAGIC):
        directory = path.absolute().parent.name
        run = directory if RUN_ID.fullmatch(directory) else "RUN"
        return (
            f"is a training checkpoint of depthscope: `depthscope eval {run}` evaluates the final weights, weights.pt,"
            " once the run has succeeded"
        )
    names = names_in_archive(path)
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        loaded = SAVE % f"torch.jit.load({path.name!r}).state_dict()"
        return f"is a TorchScript archive, which holds a program: take its weights in Python, `{loaded}`"
    if any(name.endswith("archive_format") for name in names):
        loaded = SAVE % f"torch.export.load({path.name!r}).state_dict"
        return f"is an archive of torch.export, which holds a program: take its weights in Python, `{loaded}`"
    if names and all(name.endswith(".npy") for name in names):
        return "is a NumPy archive: save a state_dict with torch.save"
    return None


def names_in_archive(path: Path) -> list[str]:
    """Names in a zip archive; empty if it is damaged or none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return []
