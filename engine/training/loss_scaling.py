"""The scale of a float16 loss, wholly on the device, so that a CUDA graph can hold it."""

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
    """What the loss is multiplied by, so that small gradients do not vanish in float16.

    Halved when a gradient overflows, whose update is then left out; doubled after 2,000 steps without.

    Source: Micikevicius et al. 2018 (arXiv:1710.03740), section 3.2, with the constants of torch.amp.GradScaler. That
    class does the same but reads its flag on the host, unless the optimizer is told of it by private attributes.
    """

    factor: Tensor
    """float32 scalar."""
    good_steps: Tensor
    """float32 scalar: steps since the last overflow or growth."""

    @classmethod
    def start(cls, device: torch.device) -> LossScale:
        return cls(torch.full((), FIRST_SCALE, device=device), torch.zeros((), device=device))

    def scale(self, loss: Tensor) -> Tensor:
        """The loss to be differentiated."""
        return loss * self.factor

    def unscale(self, gradients: Iterable[Tensor | None]) -> Tensor:
        """Divide gradients in place, and set the factor of the next step.

        Args:
            gradients: Of the scaled loss; None for parameters that have none.

        Returns:
            float32 scalar, 1 where a gradient overflowed and the update has to be left out, else 0.
        """
        found = [gradient for gradient in gradients if gradient is not None]
        torch._foreach_mul_(found, 1.0 / self.factor)
        # The norm is not finite if and only if a number is not, unscaled gradients being far from float32's end.
        overflowed = (~torch.isfinite(torch.nn.utils.get_total_norm(found))).float()
        steps = (self.good_steps + 1) * (1 - overflowed)
        grows = (steps >= STEPS_BEFORE_GROWTH).float()
        self.factor.mul_(1 + (BACKOFF - 1) * overflowed + (GROWTH - 1) * grows)
        self.good_steps.copy_(steps * (1 - grows))
        return overflowed
