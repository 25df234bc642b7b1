"""Device of the current process: assignment, name, memory limit and threads."""

from __future__ import annotations

import os

import torch

from engine.base.errors import DepthscopeError
from engine.spec.devices import cpu_name


def assigned_device() -> str:
    """Return the device assigned by the engine; the CPU for a worker started by hand."""
    return os.environ.get("DEPTHSCOPE_DEVICE", "cpu")


def divide_threads() -> None:
    """Set the number of CPU threads assigned by the engine; resuming a checkpoint overrides it later."""
    share = os.environ.get("DEPTHSCOPE_NUM_THREADS")
    if share is not None:
        torch.set_num_threads(int(share))


def torch_device(assigned: str) -> torch.device:
    """Return the torch device: the only visible GPU, whatever its number in the engine, or the CPU.

    Raises:
        DepthscopeError: a GPU is assigned but torch cannot use it.
    """
    if assigned == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DepthscopeError(
            f"torch {torch.__version__} cannot use the GPU: install a build for your driver, or train with --device cpu"
        )
    return torch.device("cuda", 0)


def limit_memory(device: torch.device, limit_bytes: int | None) -> None:
    """Limit torch's memory on a GPU, so that a run fails as it would on a smaller card."""
    if device.type == "cuda" and limit_bytes is not None:
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), device)


def device_name(device: torch.device) -> str:
    """Return the device's model name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_name()


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
