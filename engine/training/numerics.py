"""How torch is set to compute on a device: precision, memory layout, determinism. The torch side of `precision`."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from engine.spec import precision
from engine.spec.precision import Precision
from engine.spec.run import RunSpec

CUBLAS_WORKSPACE = ":4096:8"
"""Fixed work space, without which cuBLAS may add in another order from run to run (NVIDIA, cuBLAS documentation)."""

AUTOCAST_TYPES = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


def resolve(spec: RunSpec, device: torch.device) -> Precision:
    """The precision that a run is computed in on a device.

    Raises:
        ValueError: the device does not do it natively.
    """
    if device.type == "cuda":
        native = precision.of_gpu(torch.cuda.get_device_capability(device))
        return precision.resolve(spec.recipe.precision, native, torch.cuda.get_device_name(device))
    native = precision.native_for(spec.model, precision.of_cpu())
    return precision.resolve(spec.recipe.precision, native, "this processor")


def configure(device: torch.device, used: Precision, *, deterministic: bool) -> None:
    """Set this process's torch for one run; a worker does it before its first step.

    Args:
        device: Where it trains.
        used: What `resolve` said.
        deterministic: Whether a GPU has to repeat itself to the last bit; the CPU always does, for one number of
            threads.
    """
    rounding = "tf32" if used is Precision.TF32 else "ieee"
    # float32 is meant as float32: torch would let cuDNN round the factors of a convolution to 10 bits.
    torch.backends.cudnn.conv.fp32_precision = rounding  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = rounding
    if device.type == "cuda":
        # Shapes never change within a run, so the search for the fastest algorithm pays at once.
        torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True)


def computing(used: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass."""
    if used not in AUTOCAST_TYPES:
        return nullcontext()
    # Without the cache of cast weights, which must not outlive the capture of a CUDA graph; each is used once anyway.
    return torch.autocast(device.type, AUTOCAST_TYPES[used], cache_enabled=False)


def memory_format(used: Precision) -> torch.memory_format:
    """How images and weights lie in memory: channels innermost, as fast convolutions want them.

    FP32 leaves them outermost, as the textbook loop has them: on a CPU it then computes the same numbers to the last
    bit, where another layout adds in another order.
    """
    return torch.contiguous_format if used is Precision.FP32 else torch.channels_last
