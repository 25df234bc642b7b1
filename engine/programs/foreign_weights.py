"""Weights trained elsewhere: read without executing code, and loaded into one of our networks.

Tensors are matched by name, or by position if the names differ: networks with the same layers in the same order, such
as those of kuangliu/pytorch-cifar, list their tensors in the same order too.
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.base.errors import DepthscopeError, UsageError
from engine.runs.identity import RUN_ID
from engine.training.checkpoint import MAGIC, MAX_HEADER_BYTES
from models.blocks import PaddingShortcut

WRAPPERS = ("state_dict", "model_state_dict", "net", "model", "weights")
"""Keys under which programs store a state_dict beside other things, most specific first."""
PREFIX = re.compile(r"^(module\.|_orig_mod\.)+")
"""Prefixes added by DataParallel and torch.compile."""
COUNTER = "num_batches_tracked"
"""Absent in files from before torch 0.4.1, and irrelevant to evaluation."""


SAVE = "torch.save(%s, 'weights.pt')"
"""Python that writes a file we read."""


def other_kind(path: Path) -> str | None:
    """What a file is and how to get a state_dict from it, for kinds of files other than those of torch.save.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        begin = file.read(MAX_HEADER_BYTES)
        num_bytes = os.fstat(file.fileno()).st_size
    if begin.startswith(MAGIC):
        directory = path.absolute().parent.name
        run = directory if RUN_ID.fullmatch(directory) else "RUN"
        return (
            f"is a training checkpoint of depthscope: `depthscope eval {run}` evaluates the final weights, weights.pt,"
            " once the run has succeeded"
        )
    # Eight bytes with the length of the JSON behind them.
    if begin[8:9] == b"{" and 0 < int.from_bytes(begin[:8], "little") <= num_bytes - 8:
        loaded = SAVE % f"safetensors.torch.load_file({path.name!r})"
        return f"is a safetensors file: convert it in Python, `{loaded}`"
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


def check_finite(model: nn.Module, *, source: str) -> None:
    """Check that every weight is a finite number.

    Raises:
        DepthscopeError: one is not, so that any error measured would be that of guessing.
    """
    state = model.state_dict()
    wrong = [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]
    if wrong:
        raise DepthscopeError(
            f"{source} has weights that are not finite (NaN or infinity) in {len(wrong)} of {len(state)} tensors, the"
            f" first of them {wrong[0]}: the network computes nothing; use weights from before its training diverged"
        )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a PyTorch checkpoint in order; the state_dict may be nested in a dictionary.

    Raises:
        UsageError: the file does not exist, contains anything but plain tensors and values, or has no tensors.
    """
    try:
        if (other := other_kind(path)) is not None:
            raise UsageError(f"{path} {other}")
        with path.open("rb") as file:
            is_archive = zipfile.is_zipfile(file)
            file.seek(0)
            is_pickle = file.read(1) == b"\x80"
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if not is_archive and not is_pickle:
        raise UsageError(f"{path} is not a PyTorch checkpoint: give a file written by torch.save")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"{path} holds Python objects, which are not loaded since that would execute them: write the weights alone,"
            " `torch.save(model.state_dict(), FILE)`"
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        # On arbitrary bytes torch.load may raise anything, including IndexError and struct.error.
        raise UsageError(
            f"{path} is damaged: {str(error).splitlines()[0] if str(error) else 'it ends early'}"
        ) from error
    found = tensors_of(loaded)
    if not found and isinstance(loaded, Mapping):
        inside = {str(name): tensors for name, value in loaded.items() if (tensors := tensors_of(value))}
        names = [name for name in WRAPPERS if name in inside] or list(inside)
        if len(names) > 1 and names[0] not in WRAPPERS:
            raise UsageError(f"{path} holds several networks ({', '.join(names)}): save one state_dict alone")
        found = inside[names[0]] if names else {}
    if not found:
        raise UsageError(f"{path} holds no state_dict")
    return found


def tensors_of(value: Any) -> dict[str, Tensor]:
    """Return a mapping's tensors by name, without counters; empty for anything else."""
    if not isinstance(value, Mapping):
        return {}
    return {
        PREFIX.sub("", str(name)): tensor
        for name, tensor in value.items()
        if isinstance(tensor, Tensor) and not str(name).endswith(COUNTER)
    }


def fit(model: nn.Module, found: Mapping[str, Tensor], *, network: str, source: str) -> bool:
    """Load tensors, in their order, into a network in place; changes nothing unless all fit.

    Args:
        network: Name of the network, for errors.
        source: Name of the file, for errors.

    Returns:
        True if matched by name, False if by position.

    Raises:
        UsageError: the tensors do not fit; the text names the first that differs.
    """
    state = model.state_dict()
    wanted = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    by_name = wanted.keys() == found.keys()
    pairs = [(name, name) for name in wanted] if by_name else list(zip(wanted, found, strict=False))
    for ours, theirs in pairs:
        have, want = found[theirs], wanted[ours]
        # The kind too: the scale, shift, mean and variance of a normalisation all have one shape.
        if have.shape != want.shape or kind(ours) != kind(theirs) or not have.is_floating_point():
            raise UsageError(
                f"the weights do not fit {network}: the first that differs is {ours} {list(want.shape)},"
                f" in {source} {theirs} {list(have.shape)}{'' if have.is_floating_point() else f' of {have.dtype}'}"
            )
    if len(found) < len(wanted):
        missing = list(wanted)[len(found)]
        raise UsageError(f"the weights do not fit {network}: {source} ends before {missing}, with {len(found)} tensors")
    if len(found) > len(wanted):
        more = list(found)[len(wanted)]
        raise UsageError(
            f"the weights do not fit {network}: {source} goes on with {more} behind its {len(wanted)} tensors"
        )
    model.load_state_dict({**state, **{ours: found[theirs].to(wanted[ours].dtype) for ours, theirs in pairs}})
    return by_name


def centre_shortcuts(model: nn.Module) -> None:
    """Make parameter-free shortcuts pad new channels on both sides of the old ones, as some programs do.

    He et al. 2015 do not specify this. We pad at the end; akamaster/pytorch_resnet_cifar10 pads half in front. Weights
    have the same shapes either way, so the user has to say which it is.
    """
    for module in model.modules():
        if isinstance(module, PaddingShortcut):
            module.num_before = module.new_channels // 2


def kind(name: str) -> str:
    """Return a tensor's role in its layer: weight, bias, running_mean or running_var."""
    return name.rpartition(".")[2]
