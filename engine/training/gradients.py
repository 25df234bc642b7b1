"""How large gradients, weights and updates are layer by layer, from the step that was taken anyway.

Everything is computed on the device behind a step, without another pass, and nothing here waits for it but
`Measurement.read`. A gradient that vanishes with depth is squared out of float32 long before it is nought, so norms
are summed in float64 where that can happen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.runs.journal import LayerGradients
from engine.training.progress import finite
from engine.training.step import TrainingState

SMALLEST_SAFE, LARGEST_SAFE = 1e-15, 1e15
"""Norms whose squares float32 holds to many digits."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or the head; norms are of its weight, a bias left out."""

    name: str
    weight: Tensor


def layers(model: nn.Module) -> list[Layer]:
    """Convolutions and the head of a network, from the stem on, a block's projection behind its convolutions.

    Args:
        model: One of `models.resnet`; "stages.1.0.conv1" is called "stage2.block1.conv1".
    """
    return [
        Layer(layer_name(path), module.weight)
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]


def layer_name(path: str) -> str:
    """What a layer is called, by its place in the network: stages and blocks counted from 1."""
    match path.split("."):
        case ["stages", stage, block, *inside]:
            # A shortcut's convolution is the only one of its shortcut.
            named = [part for part in inside if (part, inside[0]) != ("conv", "shortcut")]
            return ".".join([f"stage{int(stage) + 1}", f"block{int(block) + 1}", *named])
        case parts:
            return ".".join(parts)


@torch.no_grad()
def weight_norms(measured: list[Layer]) -> Tensor:
    """Euclidean norm of every layer's weight, float64 [L], on the device."""
    return norms([layer.weight for layer in measured])


@torch.no_grad()
def measure(
    state: TrainingState, measured: list[Layer], *, learning_rate: float, weights_before: Tensor | None = None
) -> Tensor:
    """Norms of the last step, which the device computes behind it.

    The update is the learning rate times what SGD's momentum holds, weight decay included; there is none where the
    step was left out: behind a loss that was not finite, or by an overflow in float16.

    Args:
        state: Just behind a step, whose gradients lie unscaled where it left them.
        measured: Its layers, L of them.
        learning_rate: Of that step.
        weights_before: float64 [L]: what the weights are said to be; None takes them as they are, behind the update.

    Returns:
        float64 [3, L]: norm of the gradient, of the weight, and of the update over that of the weight; NaN where there
        is none.
    """
    gradients = [gradient for layer in measured if (gradient := layer.weight.grad) is not None]
    assert len(gradients) == len(measured), "a step comes first"
    gradient_norms = norms(gradients)
    weights = weight_norms(measured) if weights_before is None else weights_before
    left_out = state.frozen.bool()
    if state.loss_scale is not None:
        left_out = left_out | ~torch.isfinite(gradient_norms).all()
    update_norms = learning_rate * norms(directions(state, measured, learning_rate))
    return torch.stack([gradient_norms, weights, update_norms.masked_fill(left_out, math.nan) / weights])


def directions(state: TrainingState, measured: list[Layer], learning_rate: float) -> list[Tensor]:
    """What the last update subtracted from every layer's weight, divided by the learning rate; NaN where there was
    none yet."""
    decay = state.optimizer.weight_decay
    if state.optimizer.momentum:
        kept = [state.optimizer.momentum_buffers.get(layer.weight) for layer in measured]
        return [
            torch.full_like(layer.weight, math.nan) if buffer is None else buffer
            for layer, buffer in zip(measured, kept, strict=True)
        ]
    # Without momentum nothing keeps it. With w' = w - r (g + d w) behind the update, g + d w = (g + d w') / (1 - r d).
    return [
        layer.weight.grad.add(layer.weight, alpha=decay).div_(1 - learning_rate * decay)
        for layer in measured
        if layer.weight.grad is not None
    ]


def norms(tensors: list[Tensor]) -> Tensor:
    """Euclidean norms, float64 [L]; each tensor of any shape, and to 1e-4 of the norm."""
    if tensors[0].is_cuda:
        return torch.stack(torch._foreach_norm(tensors, 2, dtype=torch.float64))
    # A CPU sums twenty times as fast in float32, and reading costs nothing there: float64 for what that cannot square.
    found = torch.stack(torch._foreach_norm(tensors, 2)).double()
    is_safe = (found > SMALLEST_SAFE) & (found < LARGEST_SAFE)
    for index in (~is_safe).nonzero().flatten().tolist():
        found[index] = torch.linalg.vector_norm(tensors[index], dtype=torch.float64)
    return found


class Measurement:
    """What `measure` gave, on its way to the host behind the device's other work."""

    def __init__(self, values: Tensor) -> None:
        on_gpu = values.is_cuda
        # Pinned: only then does the copy not hold up the host.
        self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=on_gpu)
        self._host.copy_(values, non_blocking=True)
        self._arrived = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]
        if self._arrived is not None:
            self._arrived.record()

    def has_arrived(self) -> bool:
        """Whether `read` would not wait."""
        return self._arrived is None or bool(self._arrived.query())  # type: ignore[no-untyped-call]

    def read(self) -> Tensor:
        """The values on the host; waits for the device where they have not arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host


def layer_rows(measured: list[Layer], values: Tensor) -> list[LayerGradients]:
    """Values as `measure` gives them [3, L] as a journal has them, from the stem to the head."""
    return [
        LayerGradients(
            name=layer.name,
            gradient_norm=finite(gradient),
            weight_norm=finite(weight),
            update_ratio=finite(ratio),
        )
        for layer, gradient, weight, ratio in zip(measured, *values.tolist(), strict=True)
    ]
