"""The device that a process computes on: which one it was given, its name, its memory and its threads."""

from __future__ import annotations

import os

import torch

from engine.base.errors import DepthscopeError
from engine.spec.devices import cpu_name


def assigned_device() -> str:
    """The device as the engine calls it; a worker started by hand takes the CPU."""
    return os.environ.get("DEPTHSCOPE_DEVICE", "cpu")


def divide_threads() -> None:
    """Take the share of the CPU that the engine gives; a run that goes on from a checkpoint keeps the number it has."""
    share = os.environ.get("DEPTHSCOPE_NUM_THREADS")
    if share is not None:
        torch.set_num_threads(int(share))


def torch_device(assigned: str) -> torch.device:
    """The device as torch calls it: the one GPU that is visible, whatever its number is to the engine.

    Raises:
        DepthscopeError: it is a GPU, and this torch cannot use one.
    """
    if assigned == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DepthscopeError(
            f"torch {torch.__version__} cannot use the GPU: install a build for your driver, or train with --device cpu"
        )
    return torch.device("cuda", 0)


def limit_memory(device: torch.device, limit_bytes: int | None) -> None:
    """Hold torch to a run's own limit on a GPU: what goes past it fails there as it would on a smaller card."""
    if device.type == "cuda" and limit_bytes is not None:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), device)


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_name()
