"""SGD with the same results as torch.optim.SGD, without its slow imports.

The first torch.optim.Optimizer of a process imports torch's compiler and sympy, which training does not need and which
adds more than a second to every worker's start. This module calls the function behind torch.optim.SGD directly.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd


class SGD:
    """Bit-identical to torch.optim.SGD with one parameter group, no dampening and no Nesterov momentum.

    Args:
        parameters: Parameters to train.
        learning_rate: A number, or a tensor that CUDA graphs read at each replay.
        momentum: Momentum factor; 0 keeps no buffers.
        weight_decay: L2 penalty on every parameter.
        fused: Whether one kernel updates all parameters. On a GPU it can skip the update, which CUDA graphs need; on a
            CPU it rounds differently from torch's default.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        learning_rate: float | Tensor,
        momentum: float,
        weight_decay: float,
        fused: bool,
    ) -> None:
        self.parameters = list(parameters)
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.fused = fused
        self.momentum_buffers: dict[Tensor, Tensor] = {}
        """Buffer of each parameter; empty before the first step. Addresses never change, as CUDA graphs require."""

    def add_missing_buffers(self) -> None:
        """Create missing momentum buffers as zeros, which gives the same first step as torch.

        torch creates them during that step; a CUDA graph that captured it would recreate them at every replay.
        """
        if self.momentum:
            for parameter in self.parameters:
                if parameter not in self.momentum_buffers:
                    self.momentum_buffers[parameter] = torch.zeros_like(parameter)

    def zero_grad(self, *, set_to_none: bool) -> None:
        """Drop the gradients, or zero them in place."""
        if set_to_none:
            for parameter in self.parameters:
                parameter.grad = None
        elif gradients := [parameter.grad for parameter in self.parameters if parameter.grad is not None]:
            torch._foreach_zero_(gradients)

    @torch.no_grad()
    def step(self, *, found_inf: Tensor | None = None) -> None:
        """Update every parameter that has a gradient.

        Args:
            found_inf: float32 scalar on the parameters' GPU; at 1, the fused kernels skip the update.
        """
        if found_inf is not None:
            # If torch's first step skips its update, it leaves the buffers it creates uninitialised.
            self.add_missing_buffers()
        trained = [(one, one.grad) for one in self.parameters if one.grad is not None]
        parameters = [parameter for parameter, _ in trained]
        buffers = [self.momentum_buffers.get(parameter) for parameter in parameters] if self.momentum else []
        sgd(
            parameters,
            [gradient for _, gradient in trained],
            buffers,
            foreach=False,
            fused=self.fused,
            found_inf=found_inf,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=self.learning_rate,
            dampening=0,
            nesterov=False,
            maximize=False,
        )
        if self.momentum:
            self.momentum_buffers.update(
                (parameter, buffer) for parameter, buffer in zip(parameters, buffers, strict=True) if buffer is not None
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the state in torch.optim.SGD's format; each class can load the other's."""
        return {
            "state": {
                index: {"momentum_buffer": self.momentum_buffers[parameter]}
                for index, parameter in enumerate(self.parameters)
                if parameter in self.momentum_buffers
            },
            "param_groups": [
                {
                    "lr": self.learning_rate,
                    "momentum": self.momentum,
                    "dampening": 0,
                    "weight_decay": self.weight_decay,
                    "nesterov": False,
                    "maximize": False,
                    "foreach": None,
                    "differentiable": False,
                    "fused": self.fused,
                    "params": list(range(len(self.parameters))),
                }
            ],
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore only the momentum buffers; recipe and device determine the rest."""
        self.momentum_buffers = {
            self.parameters[index]: buffer.to(dtype=self.parameters[index].dtype, device=self.parameters[index].device)
            for index, kept in saved["state"].items()
            if (buffer := kept.get("momentum_buffer")) is not None
        }
