"""The networks: four stages as in pytorch-cifar, the same with pre-activation, three stages as in the paper.

Each maps normalised images [B, 3, 32, 32] to logits [B, num_classes], and is initialised from torch's global
generator: the same seed gives the same weights.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import BasicBlock, Bottleneck, PreActivationBlock, ShortcutKind, convolution, normalisation
from models.catalog import EXPANSION, Block, ModelSpec


class Place(NamedTuple):
    """Position of a block in a network."""

    in_channels: int
    planes: int
    stride: int
    is_first: bool
    """Whether it directly follows the stem."""


MakeBlock = Callable[[Place], nn.Module]


class ResNet(nn.Module):
    """Four stages of basic or bottleneck blocks, residual or plain.

    Order and shapes of the weights follow models/resnet.py of kuangliu/pytorch-cifar, so that the values of its
    state_dict load by position, and the same seed gives the same weights. Without shortcuts there are no
    projections either: they would be dead parameters.

    Initialisation: PyTorch's defaults; pytorch-cifar does no more.

    Args:
        spec: Of architecture resnet or plain.

    Source: kuangliu/pytorch-cifar; He et al. 2015 (arXiv:1512.03385), table 1, with a 3×3 stem for small images.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.stem = convolution(3, spec.width, 3)
        self.stem_norm = normalisation(spec.norm, spec.width)
        self.stages = _stages(spec, _post_activation(spec, ShortcutKind.PROJECTION))
        self.head = _head(spec)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, 3, 32, 32] to logits [B, num_classes]."""
        out: Tensor = F.relu(self.stem_norm(self.stem(x)))  # [B, width, 32, 32]
        out = self.stages(out)  # [B, 8·width·expansion, 4, 4]
        out = F.avg_pool2d(out, 4).flatten(1)  # [B, 8·width·expansion]
        logits: Tensor = self.head(out)
        return logits


class PreActivationResNet(nn.Module):
    """Four stages of pre-activation blocks, with a normalisation and ReLU after the last.

    Initialisation: PyTorch's defaults, so that it differs from ResNet by the order within the blocks alone.

    Args:
        spec: Of architecture preact.

    Source: He et al. 2016 (arXiv:1603.05027), figure 4e and appendix, in the stages of pytorch-cifar. Two
    deviations from that repository's preact_resnet.py, both towards the paper: the last addition is normalised
    and activated before the average pool, and the first block's shortcut starts after its activation.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()

        def make_block(place: Place) -> nn.Module:
            return PreActivationBlock(
                place.in_channels,
                place.planes,
                place.stride,
                block=spec.block,
                is_first=place.is_first,
                norm=spec.norm,
                conv_bias=spec.conv_bias,
                projection_bias=spec.projection_bias,
            )

        self.stem = convolution(3, spec.width, 3)
        self.stages = _stages(spec, make_block)
        self.final_norm = normalisation(spec.norm, _num_features(spec))
        self.activates_output = True
        """Whether the last addition is activated before the pool; not in networks of pytorch-cifar."""
        self.head = _head(spec)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, 3, 32, 32] to logits [B, num_classes]."""
        out: Tensor = self.stem(x)  # [B, width, 32, 32]
        out = self.stages(out)  # [B, 8·width·expansion, 4, 4]
        out = F.relu(self.final_norm(out)) if self.activates_output else out
        out = F.avg_pool2d(out, 4).flatten(1)  # [B, 8·width·expansion]
        logits: Tensor = self.head(out)
        return logits

    def become_pytorch_cifars(self) -> None:
        """Undo both deviations from pytorch-cifar's preact_resnet.py, for weights trained with it."""
        self.final_norm = nn.Identity()
        self.activates_output = False
        for module in self.modules():
            if isinstance(module, PreActivationBlock) and isinstance(module.shortcut, nn.Identity):
                module.activates_shortcut = False


class HeResNet(nn.Module):
    """Three stages of basic blocks, residual with parameter-free shortcuts, or plain: the same parameters.

    Initialisation: Kaiming normal for convolutions and the classifier, biases zero. The paper refers to He et al.
    2015b (arXiv:1502.01852), whose equations 10 (fan-in) and 14 (fan-out) are either sufficient; fan-in is taken
    because it fits the classifier as well, whose ten outputs would make fan-out start from logits far too large.

    Args:
        spec: Of architecture he-resnet or he-plain.

    Source: He et al. 2015 (arXiv:1512.03385), section 4.2.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.stem = convolution(3, spec.width, 3)
        self.stem_norm = normalisation(spec.norm, spec.width)
        self.stages = _stages(spec, _post_activation(spec, ShortcutKind.PADDING))
        self.head = _head(spec)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, 3, 32, 32] to logits [B, num_classes]."""
        out: Tensor = F.relu(self.stem_norm(self.stem(x)))  # [B, width, 32, 32]
        out = self.stages(out)  # [B, 4·width, 8, 8]
        out = F.avg_pool2d(out, 8).flatten(1)  # [B, 4·width]
        logits: Tensor = self.head(out)
        return logits


def _post_activation(spec: ModelSpec, residual_kind: ShortcutKind) -> MakeBlock:
    """What makes the blocks of a residual network with such shortcuts, or of its plain counterpart."""
    block_type = BasicBlock if spec.block == Block.BASIC else Bottleneck
    shortcut_kind = residual_kind if spec.design.is_residual else ShortcutKind.NONE

    def make_block(place: Place) -> nn.Module:
        return block_type(
            place.in_channels,
            place.planes,
            place.stride,
            shortcut_kind=shortcut_kind,
            norm=spec.norm,
            conv_bias=spec.conv_bias,
            projection_bias=spec.projection_bias,
        )

    return make_block


def _stages(spec: ModelSpec, make_block: MakeBlock) -> nn.Sequential:
    """The blocks by stage; the first block of each stage but the first has stride 2."""
    stages: list[nn.Module] = []
    channels = spec.width
    for stage, num_blocks in enumerate(spec.blocks):
        planes = spec.width * 2**stage
        blocks: list[nn.Module] = []
        for index in range(num_blocks):
            stride = 2 if stage > 0 and index == 0 else 1
            is_first = stage == 0 and index == 0
            blocks.append(make_block(Place(channels, planes, stride, is_first)))
            channels = planes * EXPANSION[spec.block]
        stages.append(nn.Sequential(*blocks))
    return nn.Sequential(*stages)


def _num_features(spec: ModelSpec) -> int:
    """Channels of the last stage's output, which the classifier sees pooled."""
    return spec.width * int(2 ** (len(spec.blocks) - 1)) * EXPANSION[spec.block]


def _head(spec: ModelSpec) -> nn.Linear:
    """The classifier over the pooled channels of the last stage."""
    return nn.Linear(_num_features(spec), spec.num_classes)
