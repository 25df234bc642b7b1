"""Weights trained elsewhere, loaded into one of our networks.

Tensors are matched by name, ours or another program's, or by position if the names are unknown: networks with the same
layers in the same order list their tensors in the same order too. A note names what a file does not record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from engine.base.errors import DepthscopeError, UsageError
from engine.programs.weight_names import BLOCK_BIAS, PROJECTION, PROJECTION_BIAS, kind, their_name
from engine.programs.weights_file import COUNTER, Weights
from engine.spec.presets import PRESETS, Names, Preset
from models.blocks import PaddingShortcut
from models.build import build_model
from models.catalog import THREE_STAGE, Architecture, ModelSpec, Norm, label
from models.resnet import PreActivationResNet

NAMED_BY = {
    Names.PYTORCH_CIFAR: "the names of pytorch-cifar, akamaster and the report",
    Names.TORCHVISION: "torchvision's names",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network with the weights of a file."""

    model: nn.Module
    names: str | None
    """Whose names the file's tensors have, "ours" among them; None if they were matched by position."""
    notes: tuple[str, ...]
    """What was taken for granted because the file does not record it, and what was left out."""


def load(spec: ModelSpec, weights: Weights, *, source: str, preset: Preset | None = None) -> Loaded:
    """Build a network with weights trained elsewhere.

    Args:
        spec: The network.
        weights: Contents of the file.
        source: Name of the file, for errors.
        preset: Program that trained it, if known.

    Raises:
        UsageError: the tensors do not fit; the text names the first that differs.
    """
    notes: list[str] = []
    found = weights.tensors
    refuse_imagenet_stem(found, source)
    if spec.architecture is Architecture.PLAIN and any(PROJECTION.search(name) for name in found):
        found = without_projections(weights, source)
        notes.append(
            f"{len(weights.tensors) - len(found)} tensors of projections were left out: they were never trained, as in"
            " a network whose shortcuts are not added"
        )
    model = build_model(spec)
    if isinstance(model, PreActivationResNet) and lacks_final_norm(model, found, preset):
        model.become_pytorch_cifars()
        notes.append(
            "no normalisation and ReLU after the last block, and none before the first shortcut, as in pytorch-cifar's"
            " PreActResNet"
        )
    names = fit(model, replace(weights, tensors=found), spec=spec, source=source, preset=preset)
    if spec.architecture in THREE_STAGE:
        notes.append(
            "the file does not tell whether this network was trained with shortcuts: he-resnet and he-plain have the"
            " same tensors, and the wrong one is no better than guessing"
        )
    if preset is None and names in NAMED_BY:
        notes.append(f"guessed: the tensors have {NAMED_BY[Names(names)]}; --as says who trained them")
    if preset is Preset.TORCHVISION:
        notes.append("the file does not tell whether a max pool follows the stem; here none does")
    return Loaded(model, names, tuple(notes))


def refuse_imagenet_stem(found: Mapping[str, Tensor], source: str) -> None:
    """Refuse networks for large images.

    Raises:
        UsageError: the first convolution is 7×7.
    """
    first = next((tensor for name, tensor in found.items() if name.endswith(("conv1.weight", "stem.weight"))), None)
    if first is not None and first.shape[1:] == (3, 7, 7):
        raise UsageError(
            f"{source} has torchvision's ImageNet stem, a 7×7 convolution of stride 2 before a max pool: networks here"
            " begin with a 3×3 convolution, for images of 32×32 pixels"
        )


def without_projections(weights: Weights, source: str) -> dict[str, Tensor]:
    """Leave out projections that were never trained.

    A network whose shortcuts are not added may still have projections: their normalisation has seen no batch.

    Raises:
        UsageError: they were trained, so that the network is residual.
    """
    if (trained := trained_projection(weights)) is not None:
        raise UsageError(
            f"{source} is a residual network's: its projections were trained ({trained}), and without them the network"
            " only guesses; load it with -a resnet"
        )
    return {name: tensor for name, tensor in weights.tensors.items() if not PROJECTION.search(name)}


def trained_projection(weights: Weights) -> str | None:
    """Evidence that a projection was trained; None if none was."""
    layers = {name.rpartition(".")[0] for name in weights.tensors if PROJECTION.search(name)}
    normalised = sorted(layer for layer in layers if f"{layer}.running_mean" in weights.tensors)
    if not normalised:
        return "they have no normalisation that would say otherwise"
    # Files converted from torch before 0.4.1 count no batch anywhere, whatever was trained.
    counts = any(weights.counters.values())
    for layer in normalised:
        if counts and layer in weights.counters:
            if weights.counters[layer]:
                return f"{layer} has seen {counted(weights.counters[layer])}"
            continue
        mean, variance = weights.tensors[f"{layer}.running_mean"], weights.tensors.get(f"{layer}.running_var")
        if bool(mean.any()) or variance is None or not bool((variance == 1).all()):
            return f"{layer} has a running mean and variance other than 0 and 1"
    return None


def counted(num_batches: int) -> str:
    """A number of batches with its noun."""
    return "1 batch" if num_batches == 1 else f"{num_batches} batches"


def lacks_final_norm(model: nn.Module, found: Mapping[str, Tensor], preset: Preset | None) -> bool:
    """Whether the file has all tensors of a pre-activation network but the last normalisation, as in pytorch-cifar."""
    wanted = without_counters(model.state_dict())
    num_final = sum(name.startswith("final_norm.") for name in wanted)
    return len(found) == len(wanted) - num_final and (preset is not None or "final_norm.weight" not in found)


def fit(
    model: nn.Module, weights: Weights, *, spec: ModelSpec, source: str, preset: Preset | None = None
) -> str | None:
    """Load tensors into a network in place; changes nothing unless all fit.

    Args:
        model: The network of the specification, or a variant of it.

    Returns:
        Whose names the tensors have, "ours" among them; None if they were matched by position.

    Raises:
        UsageError: the tensors do not fit; the text names the first that differs.
    """
    state = model.state_dict()
    wanted, found = without_counters(state), weights.tensors
    network = label(spec)
    names, pairs = matched(wanted, found, preset)
    if names is None and preset is not None:
        expected = {their_name(name, PRESETS[preset].names) for name in wanted}
        odd = next((f"lacks {name}" for name in sorted(expected - found.keys())), None)
        odd = odd or next(f"has {name} too" for name in found if name not in expected)
        raise UsageError(
            f"the weights do not fit {network} in the names of {preset}: {source} {odd}{hint(spec, found)}"
        )
    if names is None and not weights.is_ordered:
        raise UsageError(
            f"the weights do not fit {network}: {source} has other names, and safetensors files do not keep the order"
            f" of the layers; the first of its {len(found)} tensors is {next(iter(found))}{hint(spec, found)}"
        )
    for ours, theirs in pairs:
        have, want = found[theirs], wanted[ours]
        # The kind too: the scale, shift, mean and variance of a normalisation all have one shape.
        if have.shape != want.shape or kind(ours) != kind(theirs) or not have.is_floating_point():
            raise UsageError(
                f"the weights do not fit {network}: the first that differs is {ours} {list(want.shape)}, in {source}"
                f" {theirs} {list(have.shape)}{'' if have.is_floating_point() else f' of {have.dtype}'}"
                f"{hint(spec, found)}"
            )
    if len(found) < len(wanted):
        missing = list(wanted)[len(found)]
        raise UsageError(f"the weights do not fit {network}: {source} ends before {missing}, with {len(found)} tensors")
    if len(found) > len(wanted):
        more = list(found)[len(wanted)]
        raise UsageError(
            f"the weights do not fit {network}: {source} goes on with {more} behind its {len(wanted)} tensors"
        )
    model.load_state_dict({**state, **{ours: found[theirs].to(wanted[ours].dtype) for ours, theirs in pairs}})
    return names


def matched(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], preset: Preset | None
) -> tuple[str | None, list[tuple[str, str]]]:
    """Pairs of our name and the file's, and whose names these are; without known names, pairs by position."""
    if wanted.keys() == found.keys():
        return "ours", [(name, name) for name in wanted]
    for names in Names if preset is None else (PRESETS[preset].names,):
        renamed = {name: their_name(name, names) for name in wanted}
        if set(renamed.values()) == found.keys():
            return names.value if preset is None else preset.value, list(renamed.items())
    return None, list(zip(wanted, found, strict=False))


def hint(spec: ModelSpec, found: Mapping[str, Tensor]) -> str:
    """What to change about biases, if the file has others than the network; follows an error."""
    blocks = any(BLOCK_BIAS.search(name) for name in found)
    projections = spec.design.has_projections and any(PROJECTION_BIAS.search(name) for name in found)
    if spec.norm is Norm.BATCH and (blocks, projections) != (spec.conv_bias, spec.projection_bias):
        flags = ["--conv-bias"] * blocks + ["--projection-bias"] * projections
        return f"; its names ask for {' and '.join(flags)}" if flags else "; its names ask for no biases"
    return ""


def without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that an evaluation uses."""
    return {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}


def guessing_note(error_percent: float, num_classes: int) -> str | None:
    """What may be wrong if the error is no better than that of guessing; None if it is better.

    Weights in a network that they were not trained in compute nothing of use, and nothing else shows it.
    """
    guessing = 100 * (1 - 1 / num_classes)
    if error_percent < guessing - 1:
        return None
    return (
        f"no better than guessing ({guessing:.2f} %): are these the weights of another network, such as one with"
        " shortcuts in one without, or of another normalisation?"
    )


def check_finite(model: nn.Module, *, source: str) -> None:
    """Check that every weight is a finite number.

    Raises:
        DepthscopeError: one is not, so that any error measured would be that of guessing.
    """
    state = model.state_dict()
    wrong = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if wrong:
        raise DepthscopeError(
            f"{source} has weights that are not finite (NaN or infinity) in {len(wrong)} of {len(state)} tensors, the"
            f" first of them {wrong[0]}: the network computes nothing; use weights from before its training diverged"
        )


def centre_shortcuts(model: nn.Module) -> None:
    """Make parameter-free shortcuts pad new channels on both sides of the old ones, as some programs do.

    He et al. 2015 do not specify this. We pad at the end; akamaster/pytorch_resnet_cifar10 pads half in front. Weights
    have the same shapes either way, so the user has to say which it is.
    """
    for module in model.modules():
        if isinstance(module, PaddingShortcut):
            module.num_before = module.new_channels // 2
