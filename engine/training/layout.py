"""Memory layout of images and weights, chosen once for a run.

float32 keeps the contiguous layout of a textbook loop, because another layout sums in another order and a CPU would no
longer match that loop bit for bit. Other precisions use channels last, for fast convolutions.

On a CPU, one kernel of oneDNN must not be reached: the weight gradient of a strided 1×1 convolution (`jit_1x1`,
`jit_bf16_1x1`) in channels-last layout with fewer than 16 input channels. It writes beyond its buffer if the number of
threads does not divide the batch, for images of 16×16 and 32×32 in bf16 and float32 alike, which crashes the process
or changes other tensors. Seen with torch 2.15.0 on a CPU with AVX-512. The same kernel ran without fault with one
thread, with at least 16 input channels, and for contiguous images; so did 1×1 convolutions of stride 1 and 3×3
convolutions of both strides with any number of channels. `tests/benchmarks/convolutions.py` repeats the measurement
with another torch.

Such convolutions, which are the projections of narrow networks, therefore take every second row and column first and
then compute at stride 1: the same terms in less time, and nothing more to save for the backward pass, since autograd
keeps a view of the image. (Forward and backward of 8 to 16 channels, 128 images of 32×32 in bf16, one thread of an AMD
EPYC: 2.2 ms, strided 3.8 ms, strided in contiguous layout 12.3 ms.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.spec.precision import Layout, Precision

SAFE_CHANNELS = 16
"""Fewest input channels with which the strided kernel stays within its buffer."""


def choose(model: nn.Module, used: Precision, device: torch.device, *, keep: Layout | None = None) -> Layout:
    """Choose the layout of a network.

    Args:
        model: Any network; only its convolutions matter.
        used: Resolved precision.
        device: Where it trains or is evaluated.
        keep: Layout that a resumed run has to keep, see `to_keep`.
    """
    if used is Precision.FP32:
        return Layout.CONTIGUOUS
    if keep is None and device.type == "cpu" and any(unsafe_convolutions(model)):
        return Layout.CHANNELS_LAST_SLICED
    return Layout.CHANNELS_LAST


def to_keep(saved: Mapping[str, Any]) -> Layout | None:
    """Layout that a run must keep to end with the same weights; None for the usual choice.

    Earlier versions let single-threaded runs use the strided kernel, which is safe there.

    Args:
        saved: State of a checkpoint. Those of earlier versions name no layout.
    """
    is_old = "layout" not in saved
    return Layout.CHANNELS_LAST if is_old and saved["num_threads"] == 1 else None


def lay_out(model: nn.Module, layout: Layout) -> None:
    """Give a network's weights their layout, and its unsafe convolutions another way to compute; in place."""
    if layout is Layout.CONTIGUOUS:
        return
    model.to(memory_format=torch.channels_last)
    if layout is Layout.CHANNELS_LAST_SLICED:
        for convolution in unsafe_convolutions(model):
            convolution.forward = sliced(convolution)  # type: ignore[method-assign, assignment]


def memory_format(layout: Layout) -> torch.memory_format:
    """Return torch's name of a layout."""
    return torch.contiguous_format if layout is Layout.CONTIGUOUS else torch.channels_last


def unsafe_convolutions(model: nn.Module) -> Iterator[nn.Conv2d]:
    """Convolutions that must not compute in channels-last layout on a CPU as they are."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and is_unsafe(module):
            yield module


def is_unsafe(convolution: nn.Conv2d) -> bool:
    """Whether a convolution has a shape that overruns oneDNN's buffer."""
    is_strided = convolution.kernel_size == (1, 1) and convolution.stride != (1, 1)
    return is_strided and convolution.in_channels < SAFE_CHANNELS


def sliced(convolution: nn.Conv2d) -> Callable[[Tensor], Tensor]:
    """Forward function of a strided 1×1 convolution without padding that computes at stride 1."""
    down, across = convolution.stride

    def forward(x: Tensor) -> Tensor:
        """Map [B, in_channels, H, W] to [B, out_channels, H/stride, W/stride]."""
        return F.conv2d(every_other(x, down, across), convolution.weight, convolution.bias)

    return forward


class EveryOther(torch.autograd.Function):
    """Rows and columns at a stride, as a view; its gradient is laid out as the image is.

    torch's own slicing returns a contiguous gradient, which makes the normalisation before it sum in bfloat16.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, down: int, across: int) -> Tensor:
        context.stride, context.shape = (down, across), x.shape
        return x[:, :, ::down, ::across]

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        down, across = context.stride
        whole = torch.empty(
            context.shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last
        ).zero_()
        whole[:, :, ::down, ::across] = gradient
        return whole, None, None


def every_other(x: Tensor, down: int, across: int) -> Tensor:
    """Map [B, C, H, W] to [B, C, H/down, W/across]."""
    kept: Tensor = EveryOther.apply(x, down, across)
    return kept
