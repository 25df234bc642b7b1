"""How much memory a run will take, in closed form and without torch: an estimate, and shown as one.

What training holds follows from the network (`models.activations`, equal to the byte to what autograd saves). What the
libraries take for themselves does not, and is allowed for by the constants here.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine.spec.precision import BYTES_OF_ACTIVATION, Precision, native_for
from engine.spec.run import RunSpec
from models import activations, cost
from models.catalog import ModelSpec
from models.cost import IMAGE_CHANNELS, IMAGE_SIZE, LayerKind

MIB = 1 << 20
COPIES_OF_PARAMETERS = 3
"""The parameters, their gradients, and the momentum of SGD: float32 in every precision."""
IMAGE_NUMBERS = IMAGE_CHANNELS * IMAGE_SIZE * IMAGE_SIZE
LABEL_BYTES = 8
DRAW_BYTES = 8 + 2 * 8 + 1
"""Of an image in an epoch: its place in the order, the offsets of its crop, and whether it is flipped."""
GPU_WORKSPACE_BYTES = 128 * MIB
"""For what cuBLAS (32 MiB on Hopper) and the chosen algorithms of cuDNN work in. While cuDNN searches for the fastest
algorithm it tries with as much as is free, and makes do with less where less is free."""
GPU_CONTEXT_BYTES = 512 * MIB
"""What driver and libraries take of a card for a process before its first tensor; torch does not count it."""
CPU_PROCESS_BYTES = 1024 * MIB
"""Python, torch and oneDNN: 0.7 to 1.1 GiB beside the tensors of seven networks, measured with torch 2.15 on Linux."""
MAX_EVALUATION_BATCH_SIZE = 1000
FREE_EVALUATION_BYTES = 64 * MIB
"""An evaluation may take so much whatever the training takes: in tiny batches it would be slow."""


class MemoryEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """The peak of a run's memory by what takes it, in bytes."""

    weights_bytes: int
    """Parameters, gradients, momentum and running statistics."""
    activations_bytes: int
    """Saved activations, recomputed ones and gradients of activations at their most."""
    data_bytes: int
    """Images and labels of both sets, what an epoch draws, and the batch at hand."""
    workspace_bytes: int
    """What the libraries work in; 0 on the CPU, where it is in `process_bytes`."""
    process_bytes: int
    """What the process takes beside its tensors."""

    @property
    def allocated_bytes(self) -> int:
        """What torch counts as allocated on a GPU."""
        return self.weights_bytes + self.activations_bytes + self.data_bytes + self.workspace_bytes

    @property
    def total_bytes(self) -> int:
        """All that has to fit."""
        return self.allocated_bytes + self.process_bytes


def training_memory(
    spec: RunSpec, native: Sequence[Precision], *, on_gpu: bool, num_train: int, num_test: int
) -> MemoryEstimate:
    """Estimated peak memory of a run.

    Args:
        spec: What is to be trained.
        native: Precisions that its device does natively, the preferred first: what `auto` will be.
        on_gpu: Whether that is a GPU, rather than the processor.
        num_train: Training images that the dataset holds.
        num_test: Test images that it holds.
    """
    precision = used_precision(spec, native)
    number_bytes = BYTES_OF_ACTIVATION[precision]
    train, test = spec.data.train_images or num_train, spec.data.test_images or num_test
    norms = [layer for layer in cost.layers(spec.model) if layer.kind is LayerKind.NORMALISATION]
    # Mean and variance of every channel in float32, and an int64 that counts batches.
    running_bytes = sum(2 * 4 * layer.output_shape[0] + 8 for layer in norms)
    # The batch in float32 is what the stem saves, unless autocast saves a copy of it.
    batch_bytes = 4 * IMAGE_NUMBERS * spec.recipe.batch_size if number_bytes < 4 else 0
    evaluated_bytes = evaluation_bytes(spec.model, precision) * min(test, evaluation_batch_size(spec, precision))
    return MemoryEstimate(
        weights_bytes=COPIES_OF_PARAMETERS * 4 * cost.num_parameters(spec.model) + running_bytes,
        activations_bytes=max(step_bytes(spec, precision), evaluated_bytes),
        data_bytes=(train + test) * (IMAGE_NUMBERS + LABEL_BYTES) + train * DRAW_BYTES + batch_bytes,
        workspace_bytes=GPU_WORKSPACE_BYTES if on_gpu else 0,
        process_bytes=GPU_CONTEXT_BYTES if on_gpu else CPU_PROCESS_BYTES,
    )


def used_precision(spec: RunSpec, native: Sequence[Precision]) -> Precision:
    """What the run will be computed in."""
    if spec.recipe.precision is Precision.AUTO:
        return native_for(spec.model, native)[0]
    return spec.recipe.precision


def step_bytes(spec: RunSpec, precision: Precision) -> int:
    """The most that a step holds of activations and their gradients."""
    return activations.peak_bytes(
        spec.model,
        spec.recipe.batch_size,
        number_bytes=BYTES_OF_ACTIVATION[precision],
        checkpointed=spec.recipe.checkpoint_activations,
    )


def evaluation_bytes(model: ModelSpec, precision: Precision) -> int:
    """What one image takes in a forward pass that saves nothing: input, output and what lies between of one block."""
    return BYTES_OF_ACTIVATION[precision] * activations.working_size(model)


def evaluation_batch_size(spec: RunSpec, precision: Precision) -> int:
    """Images of an evaluation's forward pass: as many, up to 1000, as need no more memory than a training step."""
    room = max(step_bytes(spec, precision), FREE_EVALUATION_BYTES)
    return max(1, min(MAX_EVALUATION_BATCH_SIZE, room // evaluation_bytes(spec.model, precision)))
