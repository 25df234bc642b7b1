"""Build a network from its specification."""

from typing import assert_never

from torch import nn

from models.catalog import Architecture, ModelSpec
from models.resnet import HeResNet, PreActivationResNet, ResNet


def build_model(spec: ModelSpec) -> nn.Module:
    """Build a freshly initialised network in training mode on torch's default device.

    Weights come from torch's global generator: `torch.manual_seed` before the call decides them. Under
    `torch.device("meta")` nothing is allocated.

    Args:
        spec: Valid by construction.

    Returns:
        A module that maps normalised images [B, 3, 32, 32] to logits [B, num_classes].
    """
    match spec.architecture:
        case Architecture.RESNET | Architecture.PLAIN:
            return ResNet(spec)
        case Architecture.PREACT:
            return PreActivationResNet(spec)
        case Architecture.HE_RESNET | Architecture.HE_PLAIN:
            return HeResNet(spec)
        case _:
            assert_never(spec.architecture)
