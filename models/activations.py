"""Activation memory of training, in closed form. Does not import torch.

Counts what autograd saves, each storage once: inputs of convolutions and normalisations, batch statistics, and outputs
of ReLUs. Additions, identities, padded shortcuts and average pooling save nothing new. Under autocast, activations and
a copy of every weight take 2 bytes per number; statistics, logits and loss stay float32.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import msgspec

from models import cost
from models.catalog import ModelSpec, Norm
from models.cost import Layer, LayerKind

FULL_BYTES = 4
"""Bytes of a float32 number."""
LABEL_BYTES = 8


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The stem, a block, or everything after the last block; sizes count numbers per image."""

    name: str
    input_size: int
    output_size: int
    saved_size: int
    """Activations saved for the backward pass, including its input if needed."""
    saves_input: bool
    saves_output: bool
    """Whether it ends in a ReLU, whose output counts as the next part's input."""
    fixed_size: int
    """float32 numbers saved for any batch size: mean and deviation of every normalisation."""
    weight_size: int
    """Weights of its convolutions or the classifier, which autocast copies."""
    first_gradients_size: int
    """Gradients of activations at the start of the block's backward pass."""
    last_gradients_size: int
    """Gradients at its end, and activations other than its input still saved then."""
    summands_size: int
    """Temporary activations of a projection shortcut in the second forward pass."""
    loss_bytes: int = 0
    """Bytes saved for one image at any precision: log-probabilities and label."""

    def fixed_bytes(self, number_bytes: int) -> int:
        """Return the saved bytes that do not depend on the batch size."""
        copies = number_bytes * self.weight_size if number_bytes < FULL_BYTES else 0
        return FULL_BYTES * self.fixed_size + copies

    def saved_bytes(self, batch_size: int, number_bytes: int) -> int:
        """Return all saved bytes."""
        return batch_size * (number_bytes * self.saved_size + self.loss_bytes) + self.fixed_bytes(number_bytes)

    def recomputed_bytes(self, batch_size: int, number_bytes: int) -> int:
        """Activations created in a block's second forward pass, including its output but not its input."""
        size = self.saved_size - self.saves_input * self.input_size + self.saves_output * self.output_size
        return batch_size * number_bytes * size + self.fixed_bytes(number_bytes)


def saved_bytes(spec: ModelSpec, batch_size: int, *, number_bytes: int, checkpointed: bool = False) -> int:
    """Compute the bytes autograd holds after the forward pass and the loss.

    Args:
        spec: The network.
        batch_size: Images of the step.
        number_bytes: Of an activation: 4, or 2 under autocast.
        checkpointed: Whether of each block its input alone is kept.
    """
    stem, *blocks, head = parts(spec)
    kept = sum(
        batch_size * number_bytes * block.input_size if checkpointed else block.saved_bytes(batch_size, number_bytes)
        for block in blocks
    )
    return stem.saved_bytes(batch_size, number_bytes) + kept + head.saved_bytes(batch_size, number_bytes)


def peak_bytes(spec: ModelSpec, batch_size: int, *, number_bytes: int, checkpointed: bool = False) -> int:
    """Peak memory of saved and recomputed activations and their gradients in a step.

    That is at the end of the forward pass, or when the backward pass comes to a block whose tensors are large: all that
    comes after it is gone by then.

    Args: as for `saved_bytes`.
    """
    stem, *blocks, head = parts(spec)
    at_the_end = saved_bytes(spec, batch_size, number_bytes=number_bytes, checkpointed=checkpointed)
    # In addition to saved activations: the last sum or normalised activation, and the gradients of the loss.
    beside = blocks[-1].output_size
    if not (checkpointed or blocks[-1].saves_input):
        # Inputs that are not saved are still referenced by their caller: network, last stage or last block.
        beside += stem.output_size + 2 * blocks[-1].input_size
    peak = at_the_end + batch_size * (number_bytes * beside + 2 * head.loss_bytes)
    before = stem.saved_bytes(batch_size, number_bytes)
    for block in blocks:
        kept_input = batch_size * number_bytes * block.input_size
        if checkpointed:
            own = kept_input + block.recomputed_bytes(batch_size, number_bytes)
            own += batch_size * number_bytes * block.summands_size
        else:
            own = block.saved_bytes(batch_size, number_bytes)
            own += batch_size * number_bytes * block.output_size * block.saves_output
        begins = own + batch_size * number_bytes * block.first_gradients_size
        ends = kept_input + batch_size * number_bytes * block.last_gradients_size
        peak = max(peak, before + max(begins, ends))
        before += kept_input if checkpointed else block.saved_bytes(batch_size, number_bytes)
    return peak


def working_size(spec: ModelSpec) -> int:
    """Upper bound of the numbers for one image alive at once in a forward pass that saves nothing.

    A block's input may be held by its stage, by the block and activated; of its output's size there are the sum, what
    is added and what the last normalisation returned.
    """
    return max(3 * (block.input_size + block.output_size) for block in parts(spec)[1:-1])


@functools.lru_cache(maxsize=64)
def parts(spec: ModelSpec) -> tuple[Part, ...]:
    """Stem, blocks and the remaining layers, in the order of the forward pass."""
    is_preact = spec.design.is_preact
    grouped = {name: list(group) for name, group in itertools.groupby(cost.layers(spec), part_of)}
    found = [part(name, group, spec, is_preact=is_preact) for name, group in grouped.items() if name.startswith("s")]
    return (*found, head(grouped["head"], spec, found[-1].output_size))


def part_of(layer: Layer) -> str:
    """Part that a layer belongs to: `stem`, `stages.0.1`, `head`."""
    first, *rest = layer.name.split(".")
    if first == "stages":
        return ".".join([first, *rest[:2]])
    return "stem" if first.startswith("stem") else "head"


def part(name: str, group: Sequence[Layer], spec: ModelSpec, *, is_preact: bool) -> Part:
    """The stem or a block."""
    main = [layer for layer in group if layer.kind is LayerKind.CONVOLUTION and not layer.on_shortcut]
    normalised = sum(math.prod(layer.input_shape) for layer in normalisations(group))
    # The input of each convolution is the image or a ReLU's output; a shortcut shares the first one's input.
    applied_to = sum(math.prod(layer.input_shape) for layer in main)
    is_stem = name == "stem"
    input_size, output_size = math.prod(main[0].input_shape), math.prod(main[-1].output_shape)
    return Part(
        name=name,
        input_size=input_size,
        output_size=output_size,
        saved_size=normalised + applied_to,
        saves_input=not is_preact or is_stem or spec.norm is Norm.BATCH,
        saves_output=not is_preact,
        fixed_size=2 * sum(layer.input_shape[0] for layer in normalisations(group)),
        weight_size=sum(weights(layer) for layer in group),
        # Gradients of the activated sum and of its terms; pre-activation keeps the sum's for the shortcut during the
        # backward pass of the last convolution and the ReLU before it.
        first_gradients_size=output_size + 2 * math.prod(main[-1].input_shape) if is_preact else 2 * output_size,
        last_gradients_size=last_gradients_size(spec, main[0]),
        summands_size=output_size if spec.design.is_residual and input_size != output_size else 0,
    )


def last_gradients_size(spec: ModelSpec, first: Layer) -> int:
    """Numbers for one image held at the end of a block's backward pass, at its first convolution."""
    input_size = math.prod(first.input_shape)
    if not spec.design.is_residual:
        return input_size + math.prod(first.output_shape)
    # Gradients of both paths to the input, and their sum; pre-activation still needs its first ReLU's output.
    return (4 if spec.design.is_preact else 3) * input_size


def head(group: Sequence[Layer], spec: ModelSpec, last_size: int) -> Part:
    """Layers after the last block: pre-activation's normalisation and ReLU, the pool, the classifier and the loss."""
    classifier = group[-1]
    normalised = sum(math.prod(layer.input_shape) for layer in normalisations(group))
    return Part(
        name="head",
        input_size=last_size,
        output_size=spec.num_classes,
        # The pool's input is a ReLU's output, the classifier's input the pool's output.
        saved_size=normalised + last_size + classifier.input_shape[0],
        saves_input=not spec.design.is_preact or spec.norm is Norm.BATCH,
        saves_output=False,
        # The loss saves the sum of its weights.
        fixed_size=2 * sum(layer.input_shape[0] for layer in normalisations(group)) + 1,
        weight_size=weights(classifier),
        first_gradients_size=2 * spec.num_classes,
        last_gradients_size=2 * last_size,
        summands_size=0,
        loss_bytes=FULL_BYTES * spec.num_classes + LABEL_BYTES,
    )


def normalisations(group: Sequence[Layer]) -> list[Layer]:
    """Normalisation layers."""
    return [layer for layer in group if layer.kind is LayerKind.NORMALISATION]


def weights(layer: Layer) -> int:
    """Weights of a convolution or the classifier; 0 for a normalisation, which autocast does not copy."""
    if layer.kind is LayerKind.NORMALISATION:
        return 0
    if layer.kind is LayerKind.LINEAR:
        return layer.input_shape[0] * layer.output_shape[0]
    return layer.macs // math.prod(layer.output_shape[1:])
