"""Numerics of a run on its device: precision, determinism, and loss scaling for float16."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.spec import precision
from engine.spec.precision import Precision
from engine.spec.run import RunSpec

CUBLAS_WORKSPACE = ":4096:8"
"""Fixed workspace, without which cuBLAS may change the order of summation between runs (cuBLAS documentation)."""

AUTOCAST_TYPES = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}
FIRST_SCALE = 2.0**16
GROWTH = 2.0
BACKOFF = 0.5
STEPS_BEFORE_GROWTH = 2000.0


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


@dataclass(slots=True)
class LossScale:
    """Factor on the loss that keeps small gradients from vanishing in float16.

    It stays on the device, so that a CUDA graph can capture it.

    Halved when a gradient overflows, and that update is skipped; doubled after 2,000 steps without overflow.

    Source: Micikevicius et al. 2018 (arXiv:1710.03740), section 3.2, with the constants of torch.amp.GradScaler, which
    does the same but reads its flag on the host.
    """

    factor: Tensor
    """float32 scalar."""
    good_steps: Tensor
    """float32 scalar: steps since the last overflow or growth."""

    @classmethod
    def start(cls, device: torch.device) -> LossScale:
        return cls(torch.full((), FIRST_SCALE, device=device), torch.zeros((), device=device))

    def scale(self, loss: Tensor) -> Tensor:
        """Return the scaled loss."""
        return loss * self.factor

    def unscale(self, gradients: Iterable[Tensor | None]) -> Tensor:
        """Divide gradients of the scaled loss by the factor in place, and set the factor of the next step.

        Returns:
            float32 scalar, 1 if a gradient overflowed and the update must be skipped, else 0.
        """
        found = [gradient for gradient in gradients if gradient is not None]
        torch._foreach_mul_(found, 1.0 / self.factor)
        # The norm is finite exactly if all gradients are, because unscaled ones are far from float32's limit.
        overflowed = (~torch.isfinite(torch.nn.utils.get_total_norm(found))).float()
        steps = (self.good_steps + 1) * (1 - overflowed)
        grows = (steps >= STEPS_BEFORE_GROWTH).float()
        self.factor.mul_(1 + (BACKOFF - 1) * overflowed + (GROWTH - 1) * grows)
        self.good_steps.copy_(steps * (1 - grows))
        return overflowed
