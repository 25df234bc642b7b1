"""Names of tensors in our networks and in those of other programs."""

from __future__ import annotations

import re

from engine.spec.presets import Names

RULES = (
    (re.compile(r"^stem\."), "conv1."),
    (re.compile(r"^stem_norm\."), "bn1."),
    (re.compile(r"\.norm(?=\d)"), ".bn"),
    (re.compile(r"\.shortcut\.conv\."), ".shortcut.0."),
    (re.compile(r"\.shortcut\.norm\."), ".shortcut.1."),
    (re.compile(r"^head\."), "linear."),
)
"""What to replace in a name of ours for pytorch-cifar's."""
STAGE = re.compile(r"^stages\.(\d+)\.")
PROJECTION = re.compile(r"\.(shortcut|downsample)\.")
"""In names of a projection's tensors, ours and others'."""
BLOCK_BIAS = re.compile(r"\.\d+\.conv\d\.bias$")
PROJECTION_BIAS = re.compile(r"\.(shortcut|downsample)\.(0|conv)\.bias$")


def their_name(name: str, names: Names) -> str:
    """Name that another program gives to a tensor of ours."""
    name = STAGE.sub(lambda found: f"layer{int(found[1]) + 1}.", name)
    for pattern, replacement in RULES:
        name = pattern.sub(replacement, name)
    if names is Names.TORCHVISION:
        name = re.sub(r"^linear\.", "fc.", name.replace(".shortcut.", ".downsample."))
    return name


def kind(name: str) -> str:
    """Return a tensor's role in its layer: weight, bias, running_mean or running_var."""
    return name.rpartition(".")[2]
