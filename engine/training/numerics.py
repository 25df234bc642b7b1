"""Torch settings for a device: precision and determinism."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from engine.spec import precision
from engine.spec.precision import Precision
from engine.spec.run import RunSpec

CUBLAS_WORKSPACE = ":4096:8"
"""Fixed workspace, without which cuBLAS may change the order of summation between runs (cuBLAS documentation)."""

AUTOCAST_TYPES = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


def resolve(spec: RunSpec, device: torch.device) -> Precision:
    """Resolve a run's precision on a device.

    Raises:
        ValueError: the device does not support it natively.
    """
    if device.type == "cuda":
        native = precision.of_gpu(torch.cuda.get_device_capability(device))
        return precision.resolve(spec.recipe.precision, native, torch.cuda.get_device_name(device))
    return precision.resolve(spec.recipe.precision, precision.of_cpu(), "this processor")


def configure(device: torch.device, used: Precision, *, deterministic: bool) -> None:
    """Configure torch for one run, before its first step.

    Args:
        used: Resolved precision.
        deterministic: Whether results on a GPU must be bit-identical between runs; on the CPU they always are, for a
            given number of threads.
    """
    rounding = "tf32" if used is Precision.TF32 else "ieee"
    # By default torch lets cuDNN round factors of float32 convolutions to 10 bits.
    torch.backends.cudnn.conv.fp32_precision = rounding  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = rounding
    if device.type == "cuda":
        # Shapes never change within a run, so searching for the fastest algorithm pays off.
        torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True)


def computing(used: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the autocast context of a forward pass."""
    if used not in AUTOCAST_TYPES:
        return nullcontext()
    # No cache of cast weights: it must not outlive a CUDA graph capture, and each weight is used only once.
    return torch.autocast(device.type, AUTOCAST_TYPES[used], cache_enabled=False)
