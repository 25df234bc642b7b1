"""Norms of gradients, weights and updates per layer, measured on regular training steps.

Everything is computed on the device after a step, without an extra pass; only `Measurement.read` waits for it. Squares
of vanishing gradients underflow in float32, so norms are summed in float64 where that can happen.
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
"""Range of norms whose squares are accurate in float32."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or the classifier; norms are of its weight, without the bias."""

    name: str
    weight: Tensor


def layers(model: nn.Module) -> list[Layer]:
    """List a network's convolutions and classifier, from the stem on; a block's projection follows its convolutions."""
    return [
        Layer(layer_name(path), module.weight)
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]


def layer_name(path: str) -> str:
    """Return a layer's display name, stages and blocks counted from 1: stage2.block1.conv1 for stages.1.0.conv1."""
    match path.split("."):
        case ["stages", stage, block, *inside]:
            # A shortcut has only one convolution, so its name is redundant.
            named = [part for part in inside if (part, inside[0]) != ("conv", "shortcut")]
            return ".".join([f"stage{int(stage) + 1}", f"block{int(block) + 1}", *named])
        case parts:
            return ".".join(parts)


@torch.no_grad()
def weight_norms(measured: list[Layer]) -> Tensor:
    """Compute the Euclidean norm of every layer's weight, float64 [L], on the device."""
    return norms([layer.weight for layer in measured])


@torch.no_grad()
def measure(
    state: TrainingState, measured: list[Layer], *, learning_rate: float, weights_before: Tensor | None = None
) -> Tensor:
    """Measure norms of the last step, asynchronously on the device.

    The update is the learning rate times SGD's momentum buffer, which includes weight decay. It is NaN if the step was
    skipped, after a loss that was not finite or a float16 overflow.

    Args:
        state: State right after a step, with unscaled gradients in place.
        measured: The L layers of the network.
        weights_before: float64 [L], weight norms to report; None measures them after the update.

    Returns:
        float64 [3, L]: norm of the gradient, norm of the weight, and ratio of the update's norm to the weight's.
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
    """Return the last update of every layer's weight divided by the learning rate; NaN before the first update."""
    decay = state.optimizer.weight_decay
    if state.optimizer.momentum:
        kept = [state.optimizer.momentum_buffers.get(layer.weight) for layer in measured]
        return [
            torch.full_like(layer.weight, math.nan) if buffer is None else buffer
            for layer, buffer in zip(measured, kept, strict=True)
        ]
    # Without momentum it is not stored: after w' = w - r (g + d w), g + d w = (g + d w') / (1 - r d).
    return [
        layer.weight.grad.add(layer.weight, alpha=decay).div_(1 - learning_rate * decay)
        for layer in measured
        if layer.weight.grad is not None
    ]


def norms(tensors: list[Tensor]) -> Tensor:
    """Compute Euclidean norms, float64 [L], of tensors of any shape, with a relative accuracy of 1e-4."""
    if tensors[0].is_cuda:
        return torch.stack(torch._foreach_norm(tensors, 2, dtype=torch.float64))
    # On a CPU float32 sums are twenty times as fast, and reading is free: use float64 only where float32 is unsafe.
    found = torch.stack(torch._foreach_norm(tensors, 2)).double()
    is_safe = (found > SMALLEST_SAFE) & (found < LARGEST_SAFE)
    for index in (~is_safe).nonzero().flatten().tolist():
        found[index] = torch.linalg.vector_norm(tensors[index], dtype=torch.float64)
    return found


class Measurement:
    """Result of `measure`, being copied to the host asynchronously."""

    def __init__(self, values: Tensor) -> None:
        on_gpu = values.is_cuda
        # Copies are asynchronous only to pinned memory.
        self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=on_gpu)
        self._host.copy_(values, non_blocking=True)
        self._arrived = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]
        if self._arrived is not None:
            self._arrived.record()

    def has_arrived(self) -> bool:
        """Return whether `read` would return without waiting."""
        return self._arrived is None or bool(self._arrived.query())  # type: ignore[no-untyped-call]

    def read(self) -> Tensor:
        """Return the values on the host, waiting for them if necessary."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host


def layer_rows(measured: list[Layer], values: Tensor) -> list[LayerGradients]:
    """Convert the values of `measure` [3, L] to the journal's rows, from the stem to the classifier."""
    return [
        LayerGradients(
            name=layer.name, gradient_norm=finite(gradient), weight_norm=finite(weight), update_ratio=finite(ratio)
        )
        for layer, gradient, weight, ratio in zip(measured, *values.tolist(), strict=True)
    ]
