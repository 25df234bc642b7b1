"""Blocks repeated in a stage, with and without a shortcut; independent of depths and networks."""

from enum import StrEnum
from typing import assert_never

import torch.nn.functional as F
from torch import Tensor, nn

from models.catalog import EXPANSION, Block, Norm


class ShortcutKind(StrEnum):
    """Shortcut of a block when its shape changes; otherwise the shortcut is the identity."""

    NONE = "none"
    """No shortcut: a plain block."""
    PROJECTION = "projection"
    """A strided 1×1 convolution where the shape changes: option B of He et al. 2015."""
    PADDING = "padding"
    """Every second row and column, and zero channels, where the shape changes: option A, without parameters."""


def convolution(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """An odd-sized convolution that keeps height and width at stride 1."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=bias)


def normalisation(norm: Norm, channels: int) -> nn.Module:
    """Batch normalisation, or for Norm.NONE an identity without state."""
    match norm:
        case Norm.BATCH:
            return nn.BatchNorm2d(channels)
        case Norm.NONE:
            return nn.Identity()
        case _:
            assert_never(norm)


class Projection(nn.Module):
    """Shortcut of a block that changes shape: a strided 1×1 convolution and a normalisation."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: Norm, *, bias: bool) -> None:
        super().__init__()
        self.conv = convolution(in_channels, out_channels, 1, stride=stride, bias=bias)
        self.norm = normalisation(norm, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in_channels, H, W] to [B, out_channels, H/stride, W/stride]."""
        projected: Tensor = self.norm(self.conv(x))
        return projected


class PaddingShortcut(nn.Module):
    """Shortcut without parameters: every stride-th row and column, and zeros for new channels.

    Source: He et al. 2015, section 3.3, option A. The paper does not say where the zeros go; here they follow the
    channels that there are.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = out_channels - in_channels
        self.num_before = 0
        """New channels placed before the existing ones; non-zero only for networks trained elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in_channels, H, W] to [B, out_channels, H/stride, W/stride]."""
        kept = x[:, :, :: self.stride, :: self.stride]
        return F.pad(kept, (0, 0, 0, 0, self.num_before, self.new_channels - self.num_before))


def shortcut(
    kind: ShortcutKind, in_channels: int, out_channels: int, stride: int, norm: Norm, *, projection_bias: bool
) -> nn.Module | None:
    """Module of a block's shortcut; None for a plain block."""
    if kind == ShortcutKind.NONE:
        return None
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if kind == ShortcutKind.PADDING:
        return PaddingShortcut(in_channels, out_channels, stride)
    return Projection(in_channels, out_channels, stride, norm, bias=projection_bias)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions, each normalised; the shortcut, if any, is added before the last ReLU.

    Args:
        in_channels: Channels of the input.
        planes: Channels of both convolutions, and of the output.
        stride: Of the first convolution.
        shortcut_kind: How the input is added to the output; ShortcutKind.NONE gives a plain block.
        norm: What follows each convolution.
        conv_bias: Give both convolutions a bias.
        projection_bias: Give a projection's convolution a bias.

    Source: He et al. 2015, figure 5 left.
    """

    def __init__(
        self,
        in_channels: int,
        planes: int,
        stride: int,
        *,
        shortcut_kind: ShortcutKind,
        norm: Norm,
        conv_bias: bool,
        projection_bias: bool,
    ) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, planes, 3, stride=stride, bias=conv_bias)
        self.norm1 = normalisation(norm, planes)
        self.conv2 = convolution(planes, planes, 3, bias=conv_bias)
        self.norm2 = normalisation(norm, planes)
        self.shortcut = shortcut(shortcut_kind, in_channels, planes, stride, norm, projection_bias=projection_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in_channels, H, W] to [B, planes, H/stride, W/stride]."""
        out: Tensor = F.relu(self.norm1(self.conv1(x)))  # [B, planes, H/stride, W/stride]
        out = self.norm2(self.conv2(out))
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        return F.relu(out)


class Bottleneck(nn.Module):
    """1×1, 3×3 and widening 1×1 convolutions; the shortcut, if any, is added before the last ReLU.

    Args:
        in_channels: Channels of the input.
        planes: Channels of the first two convolutions; the output has four times as many.
        stride: Of the 3×3 convolution.
        shortcut_kind: How the input is added to the output; ShortcutKind.NONE gives a plain block.
        norm: What follows each convolution.
        conv_bias: Give the three convolutions a bias.
        projection_bias: Give a projection's convolution a bias.

    Source: He et al. 2015, figure 5 right. The paper strides the first convolution; like pytorch-cifar, this
    strides the 3×3, which looks at every pixel.
    """

    def __init__(
        self,
        in_channels: int,
        planes: int,
        stride: int,
        *,
        shortcut_kind: ShortcutKind,
        norm: Norm,
        conv_bias: bool,
        projection_bias: bool,
    ) -> None:
        super().__init__()
        out_channels = planes * EXPANSION[Block.BOTTLENECK]
        self.conv1 = convolution(in_channels, planes, 1, bias=conv_bias)
        self.norm1 = normalisation(norm, planes)
        self.conv2 = convolution(planes, planes, 3, stride=stride, bias=conv_bias)
        self.norm2 = normalisation(norm, planes)
        self.conv3 = convolution(planes, out_channels, 1, bias=conv_bias)
        self.norm3 = normalisation(norm, out_channels)
        self.shortcut = shortcut(
            shortcut_kind, in_channels, out_channels, stride, norm, projection_bias=projection_bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in_channels, H, W] to [B, 4·planes, H/stride, W/stride]."""
        out: Tensor = F.relu(self.norm1(self.conv1(x)))  # [B, planes, H, W]
        out = F.relu(self.norm2(self.conv2(out)))  # [B, planes, H/stride, W/stride]
        out = self.norm3(self.conv3(out))  # [B, 4·planes, H/stride, W/stride]
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        return F.relu(out)


class PreActivationBlock(nn.Module):
    """Normalisation and ReLU before each convolution, so that an identity shortcut stays untouched.

    Args:
        in_channels: Channels of the input.
        planes: Channels of the convolutions; the output of the bottleneck form has four times as many.
        stride: Of the (first) 3×3 convolution.
        block: Two 3×3 convolutions, or 1×1, 3×3 and widening 1×1.
        is_first: Whether it is the first of the network, where the shortcut takes the activated input too.
        norm: What precedes each convolution; never the projection, whose input is normalised already.
        conv_bias: Give the convolutions, but not the projection, a bias.
        projection_bias: Give a projection's convolution a bias.

    Source: He et al. 2016 (arXiv:1603.05027), figure 4e and appendix: the first block of the network, and those
    that change shape, activate their input before it splits into the two paths.
    """

    def __init__(
        self,
        in_channels: int,
        planes: int,
        stride: int,
        *,
        block: Block,
        is_first: bool,
        norm: Norm,
        conv_bias: bool,
        projection_bias: bool,
    ) -> None:
        super().__init__()
        out_channels = planes * EXPANSION[block]
        is_basic = block == Block.BASIC
        self.norm1 = normalisation(norm, in_channels)
        self.conv1 = convolution(
            in_channels, planes, 3 if is_basic else 1, stride=stride if is_basic else 1, bias=conv_bias
        )
        self.norm2 = normalisation(norm, planes)
        self.conv2 = convolution(planes, planes, 3, stride=1 if is_basic else stride, bias=conv_bias)
        self.norm3 = None if is_basic else normalisation(norm, planes)
        self.conv3 = None if is_basic else convolution(planes, out_channels, 1, bias=conv_bias)
        changes_shape = stride != 1 or in_channels != out_channels
        self.activates_shortcut = is_first or changes_shape
        self.shortcut = (
            Projection(in_channels, out_channels, stride, Norm.NONE, bias=projection_bias)
            if changes_shape
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in_channels, H, W] to [B, planes, H/stride, W/stride], with 4·planes for a bottleneck."""
        activated = F.relu(self.norm1(x))  # [B, in_channels, H, W]
        out: Tensor = self.conv1(activated)
        out = self.conv2(F.relu(self.norm2(out)))  # [B, planes, H/stride, W/stride]
        if self.norm3 is not None and self.conv3 is not None:
            out = self.conv3(F.relu(self.norm3(out)))  # [B, 4·planes, H/stride, W/stride]
        shortcut: Tensor = self.shortcut(activated if self.activates_shortcut else x)
        return out + shortcut
