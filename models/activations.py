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
    """What is saved of its activations for the backward pass, its input among them where something of it needs that."""
    saves_input: bool
    saves_output: bool
    """Whether its last step is a ReLU: what that returns is the next part's input, and counted there."""
    fixed_size: int
    """float32 numbers that are saved whatever the batch: mean and deviation of every normalisation."""
    weight_size: int
    """Weights of its convolutions or of the classifier, of which autocast saves copies."""
    first_gradients_size: int
    """Gradients of activations that lie beside what is saved when the block's backward pass has begun."""
    last_gradients_size: int
    """Gradients when it ends, and what it still saves then beside its input."""
    summands_size: int
    """What the second forward pass holds of a shortcut that is no identity, beside what it comes to save."""
    loss_bytes: int = 0
    """Saved for one image whatever the precision: log-probabilities and the label."""

    def fixed_bytes(self, number_bytes: int) -> int:
        """Return the saved bytes that do not depend on the batch size."""
        copies = number_bytes * self.weight_size if number_bytes < FULL_BYTES else 0
        return FULL_BYTES * self.fixed_size + copies

    def saved_bytes(self, batch_size: int, number_bytes: int) -> int:
        """Return all saved bytes."""
        return batch_size * (number_bytes * self.saved_size + self.loss_bytes) + self.fixed_bytes(number_bytes)

    def recomputed_bytes(self, batch_size: int, number_bytes: int) -> int:
        """What comes to be in a block's second forward pass; its input is there already, its output is made again."""
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
    """The most that saved activations, recomputed ones and the gradients of activations take together in a step.

    That is at the end of the forward pass, or when the backward pass comes to a block whose tensors are large: all that
    comes after it is gone by then.

    Args: as for `saved_bytes`.
    """
    stem, *blocks, head = parts(spec)
    at_the_end = saved_bytes(spec, batch_size, number_bytes=number_bytes, checkpointed=checkpointed)
    # Beside what is saved: the last sum, or what was normalised last, and the gradients of the loss.
    beside = blocks[-1].output_size
    if not (checkpointed or blocks[-1].saves_input):
        # Inputs that nobody saves are held by whoever passes them on: the network, the last stage, the last block.
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
    """Numbers for one image that are alive at once in a forward pass that saves nothing: an upper bound.

    A block's input may be held by its stage, by the block and activated; of its output's size there are the sum, what
    is added and what the last normalisation returned.
    """
    return max(3 * (block.input_size + block.output_size) for block in parts(spec)[1:-1])


@functools.lru_cache(maxsize=64)
def parts(spec: ModelSpec) -> tuple[Part, ...]:
    """Stem, blocks and what follows them, in the order of the forward pass."""
    is_preact = spec.design.is_preact
    grouped = {name: list(group) for name, group in itertools.groupby(cost.layers(spec), part_of)}
    found = [part(name, group, spec, is_preact=is_preact) for name, group in grouped.items() if name.startswith("s")]
    return (*found, head(grouped["head"], spec, found[-1].output_size))


def part_of(layer: Layer) -> str:
    """The part to which a layer belongs: `stem`, `stages.0.1`, `head`."""
    first, *rest = layer.name.split(".")
    if first == "stages":
        return ".".join([first, *rest[:2]])
    return "stem" if first.startswith("stem") else "head"


def part(name: str, group: Sequence[Layer], spec: ModelSpec, *, is_preact: bool) -> Part:
    """The stem or a block."""
    main = [layer for layer in group if layer.kind is LayerKind.CONVOLUTION and not layer.on_shortcut]
    normalised = sum(math.prod(layer.input_shape) for layer in normalisations(group))
    # Each convolution is applied to an image or to what a ReLU returned; a shortcut's to what the first one is.
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
        # Of the sum that was activated, and of what it was added up from; pre-activation keeps the sum's for the
        # shortcut while the last convolution and the ReLU before it are gone through.
        first_gradients_size=output_size + 2 * math.prod(main[-1].input_shape) if is_preact else 2 * output_size,
        last_gradients_size=last_gradients_size(spec, main[0]),
        summands_size=output_size if spec.design.is_residual and input_size != output_size else 0,
    )


def last_gradients_size(spec: ModelSpec, first: Layer) -> int:
    """Numbers for one image that a block holds at the end of its backward pass, by its first convolution."""
    input_size = math.prod(first.input_shape)
    if not spec.design.is_residual:
        return input_size + math.prod(first.output_shape)
    # Of the two paths to the input, and their sum; pre-activation still needs what its first ReLU returned.
    return (4 if spec.design.is_preact else 3) * input_size


def head(group: Sequence[Layer], spec: ModelSpec, last_size: int) -> Part:
    """What follows the last block: pre-activation's normalisation and ReLU, the pool, the classifier and the loss."""
    classifier = group[-1]
    normalised = sum(math.prod(layer.input_shape) for layer in normalisations(group))
    return Part(
        name="head",
        input_size=last_size,
        output_size=spec.num_classes,
        # The pool is applied to what a ReLU returned, the classifier to what the pool returned.
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
    """Those layers that normalise."""
    return [layer for layer in group if layer.kind is LayerKind.NORMALISATION]


def weights(layer: Layer) -> int:
    """Weights of a convolution or of the classifier; none of a normalisation, which autocast leaves as it is."""
    if layer.kind is LayerKind.NORMALISATION:
        return 0
    if layer.kind is LayerKind.LINEAR:
        return layer.input_shape[0] * layer.output_shape[0]
    return layer.macs // math.prod(layer.output_shape[1:])
