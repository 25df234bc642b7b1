"""Loss scaling for float16, entirely on the device, so that a CUDA graph can capture it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

FIRST_SCALE = 2.0**16
GROWTH = 2.0
BACKOFF = 0.5
STEPS_BEFORE_GROWTH = 2000.0


@dataclass(slots=True)
class LossScale:
    """Factor on the loss that keeps small gradients from vanishing in float16.

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
