"""Stochastic gradient descent, with the numbers of torch.optim.SGD and without what that class loads.

The first torch.optim.Optimizer of a process imports torch's compiler and sympy: more than a second of every worker's
start, for nothing that training uses. So the function that torch.optim.SGD calls is called here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd


class SGD:
    """torch.optim.SGD with one group of parameters, no dampening and no Nesterov momentum: equal to the last bit.

    Args:
        parameters: What is trained.
        learning_rate: A tensor where a CUDA graph reads it.
        momentum: 0 keeps no momentum at all.
        weight_decay: L2 penalty on every parameter.
        fused: Whether one kernel updates all parameters. On a GPU such a kernel can skip its update, as a CUDA graph
            needs; on a CPU it rounds differently from torch's default.
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
        """By parameter; empty before the first step. A buffer keeps its address for life: CUDA graphs know it."""

    def add_missing_buffers(self) -> None:
        """Give every parameter the momentum from which the first step computes what torch's first step does.

        torch makes the buffers in that step. A CUDA graph that recorded it would make them anew at every replay.
        """
        if self.momentum:
            for parameter in self.parameters:
                if parameter not in self.momentum_buffers:
                    self.momentum_buffers[parameter] = torch.zeros_like(parameter)

    def zero_grad(self, *, set_to_none: bool) -> None:
        """Drop the gradients, or zero them where they lie."""
        if set_to_none:
            for parameter in self.parameters:
                parameter.grad = None
        elif gradients := [parameter.grad for parameter in self.parameters if parameter.grad is not None]:
            torch._foreach_zero_(gradients)

    @torch.no_grad()
    def step(self, *, found_inf: Tensor | None = None) -> None:
        """Update every parameter that has a gradient.

        Args:
            found_inf: float32 scalar on the parameters' GPU; where it is 1, the fused kernels skip the update.
        """
        if found_inf is not None:
            # torch's first step would leave the momentum that it makes uninitialised where it skips its update.
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
        """The state in the form of torch.optim.SGD, which can load it, as `load_state_dict` loads that class's."""
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
        """Take the momentum of a saved state, and nothing else: recipe and device choose the rest anew."""
        self.momentum_buffers = {
            self.parameters[index]: buffer.to(dtype=self.parameters[index].dtype, device=self.parameters[index].device)
            for index, kept in saved["state"].items()
            if (buffer := kept.get("momentum_buffer")) is not None
        }
