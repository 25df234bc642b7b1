"""Layers, parameters and multiply-accumulates of a network, in closed form. Does not import torch."""

import functools
from collections.abc import Iterator
from enum import StrEnum

import msgspec

from models.catalog import EXPANSION, Block, ModelSpec, Norm

IMAGE_CHANNELS = 3
IMAGE_SIZE = 32
"""Height and width in pixels of the images that all counts refer to."""


class LayerKind(StrEnum):
    """Kind of a layer with weights."""

    CONVOLUTION = "convolution"
    NORMALISATION = "normalisation"
    LINEAR = "linear"


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A layer with weights, and its cost for one image."""

    name: str
    """Dotted name of the module in the network that `build_model` returns."""
    kind: LayerKind
    input_shape: tuple[int, int, int]
    """Channels, height and width of its input for one 32×32 image."""
    output_shape: tuple[int, int, int]
    """Channels, height and width of its output for one 32×32 image; a linear layer's height and width are 1."""
    num_parameters: int
    """Trained parameters, without running statistics of a normalisation."""
    macs: int
    """Multiply-accumulates of the forward pass: convolutions and linear layers, without their biases."""
    on_shortcut: bool = False
    """Whether it belongs to a projection; such a layer does not count towards the depth."""


def layers(spec: ModelSpec) -> tuple[Layer, ...]:
    """All layers with weights, in the order of the forward pass and of the state_dict."""
    return tuple(_network(spec))


def num_parameters(spec: ModelSpec) -> int:
    """Number of trained parameters of the network."""
    return sum(layer.num_parameters for layer in layers(spec))


@functools.lru_cache(maxsize=4096)
def forward_macs(spec: ModelSpec) -> int:
    """Multiply-accumulates of one forward pass of one 32×32 image.

    Counted are convolutions, projections among them, and the classifier; normalisation, activation, addition,
    pooling and biases count nothing. A training step takes about three times as many: the backward pass
    computes one product for the input and one for the weights of each layer.
    """
    return sum(layer.macs for layer in layers(spec))


def _network(spec: ModelSpec) -> Iterator[Layer]:
    channels, size = spec.width, IMAGE_SIZE
    is_preact = spec.design.is_preact
    yield _convolution("stem", IMAGE_CHANNELS, channels, kernel=3, size=size, stride=1, bias=False)
    if not is_preact:
        yield from _normalisation("stem_norm", channels, size, spec.norm)
    for stage, num_blocks in enumerate(spec.blocks):
        planes = spec.width * 2**stage
        for index in range(num_blocks):
            stride = 2 if stage > 0 and index == 0 else 1
            yield from _block(spec, f"stages.{stage}.{index}", channels, planes, stride, size)
            channels, size = planes * EXPANSION[spec.block], _strided(size, stride)
    if is_preact:
        yield from _normalisation("final_norm", channels, size, spec.norm)
    yield _linear("head", channels, spec.num_classes)


def _block(spec: ModelSpec, name: str, in_channels: int, planes: int, stride: int, size: int) -> Iterator[Layer]:
    """Layers of one block whose input has `size` rows and columns."""
    out_channels = planes * EXPANSION[spec.block]
    # Kernel, output channels and stride of each convolution.
    convolutions: tuple[tuple[int, int, int], ...]
    if spec.block == Block.BASIC:
        convolutions = ((3, planes, stride), (3, planes, 1))
    else:
        convolutions = ((1, planes, 1), (3, planes, stride), (1, out_channels, 1))
    before, size_before = in_channels, size
    for number, (kernel, after, step) in enumerate(convolutions, start=1):
        size_after = _strided(size_before, step)
        convolution = _convolution(
            f"{name}.conv{number}", before, after, kernel, size_before, step, bias=spec.conv_bias
        )
        if spec.design.is_preact:
            yield from _normalisation(f"{name}.norm{number}", before, size_before, spec.norm)
            yield convolution
        else:
            yield convolution
            yield from _normalisation(f"{name}.norm{number}", after, size_after, spec.norm)
        before, size_before = after, size_after

    if spec.design.has_projections and (stride != 1 or in_channels != out_channels):
        yield _convolution(
            f"{name}.shortcut.conv",
            in_channels,
            out_channels,
            1,
            size,
            stride,
            bias=spec.projection_bias,
            on_shortcut=True,
        )
        if not spec.design.is_preact:
            size_after = _strided(size, stride)
            yield from _normalisation(f"{name}.shortcut.norm", out_channels, size_after, spec.norm, on_shortcut=True)


def _strided(size: int, stride: int) -> int:
    """Output rows of a convolution with size-preserving padding at a stride."""
    return -(-size // stride)


def _convolution(
    name: str,
    in_channels: int,
    out_channels: int,
    kernel: int,
    size: int,
    stride: int,
    *,
    bias: bool,
    on_shortcut: bool = False,
) -> Layer:
    weights, size_after = in_channels * out_channels * kernel * kernel, _strided(size, stride)
    return Layer(
        name=name,
        kind=LayerKind.CONVOLUTION,
        input_shape=(in_channels, size, size),
        output_shape=(out_channels, size_after, size_after),
        num_parameters=weights + (out_channels if bias else 0),
        macs=weights * size_after * size_after,
        on_shortcut=on_shortcut,
    )


def _normalisation(name: str, channels: int, size: int, norm: Norm, *, on_shortcut: bool = False) -> Iterator[Layer]:
    """The layer, or nothing for a network without normalisation."""
    if norm == Norm.BATCH:
        yield Layer(
            name=name,
            kind=LayerKind.NORMALISATION,
            input_shape=(channels, size, size),
            output_shape=(channels, size, size),
            num_parameters=2 * channels,
            macs=0,
            on_shortcut=on_shortcut,
        )


def _linear(name: str, in_features: int, out_features: int) -> Layer:
    return Layer(
        name=name,
        kind=LayerKind.LINEAR,
        input_shape=(in_features, 1, 1),
        output_shape=(out_features, 1, 1),
        num_parameters=(in_features + 1) * out_features,
        macs=in_features * out_features,
    )
