"""Presets for weights trained elsewhere: what the tensors of a file do not record. Does not import torch."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from engine.base.errors import UsageError
from models.catalog import Architecture

Channels = tuple[float, float, float]
"""A number for each of the channels red, green and blue."""


class Preset(StrEnum):
    """A program that trains networks like ours."""

    PYTORCH_CIFAR = "pytorch-cifar"
    """github.com/kuangliu/pytorch-cifar: ResNet and PreActResNet."""
    AKAMASTER = "akamaster"
    """github.com/akamaster/pytorch_resnet_cifar10, option A."""
    TORCHVISION = "torchvision"
    """torchvision.models.resnet, with a 3×3 stem and no max pool."""
    REPORT = "report"
    """The report that depthscope reproduces: pytorch-cifar's networks with biases in all blocks."""


class Names(StrEnum):
    """Scheme by which a network's tensors are named."""

    PYTORCH_CIFAR = "pytorch-cifar"
    """`layer1.0.bn1`, `layer2.0.shortcut.0`, `linear`: akamaster's and the report's, too."""
    TORCHVISION = "torchvision"
    """The same but for `downsample` and `fc`."""


class Conventions(msgspec.Struct, frozen=True, kw_only=True):
    """Conventions of a preset's networks."""

    names: Names
    architectures: tuple[Architecture, ...]
    """Networks of ours that compute the same."""
    mean: Channels
    std: Channels
    centred: bool = False
    """Whether parameter-free shortcuts pad new channels on both sides of the old ones."""
    biases: bool = False
    """Whether the convolutions of blocks and projections have biases."""


_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_FOUR_STAGE = (Architecture.RESNET, Architecture.PLAIN)

PRESETS = {
    Preset.PYTORCH_CIFAR: Conventions(
        names=Names.PYTORCH_CIFAR,
        architectures=(*_FOUR_STAGE, Architecture.PREACT),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
    ),
    Preset.AKAMASTER: Conventions(
        names=Names.PYTORCH_CIFAR,
        architectures=(Architecture.HE_RESNET,),
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        centred=True,
    ),
    Preset.TORCHVISION: Conventions(
        names=Names.TORCHVISION, architectures=_FOUR_STAGE, mean=_IMAGENET_MEAN, std=_IMAGENET_STD
    ),
    Preset.REPORT: Conventions(
        names=Names.PYTORCH_CIFAR,
        architectures=_FOUR_STAGE,
        mean=(0.4914, 0.4824, 0.4467),
        std=(0.2471, 0.2435, 0.2616),
        biases=True,
    ),
}


def find_preset(word: str) -> Preset:
    """Find a preset by name.

    Raises:
        UsageError: there is none of this name.
    """
    try:
        return Preset(word.strip().lower().replace("_", "-"))
    except ValueError:
        raise UsageError(f"--as must be one of {', '.join(Preset)}, got {word!r}") from None
