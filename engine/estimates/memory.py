"""Estimate of a run's memory, in closed form and without torch.

Tensors follow from the network (`models.activations` matches autograd to the byte). The overhead of libraries does
not; the constants here allow for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine.spec.precision import BYTES_OF_ACTIVATION, Precision
from engine.spec.run import RunSpec
from models import activations, cost
from models.catalog import ModelSpec
from models.cost import IMAGE_CHANNELS, IMAGE_SIZE, LayerKind

MIB = 1 << 20
COPIES_OF_PARAMETERS = 3
"""Parameters, gradients and SGD momentum: float32 in every precision."""
IMAGE_NUMBERS = IMAGE_CHANNELS * IMAGE_SIZE * IMAGE_SIZE
LABEL_BYTES = 8
DRAW_BYTES = 8 + 2 * 8 + 1
"""Random draws per image and epoch: position, crop offsets and flip."""
GPU_WORKSPACE_BYTES = 128 * MIB
"""Workspace of cuBLAS (32 MiB on Hopper) and of cuDNN's chosen algorithms. While searching for the fastest algorithm,
cuDNN tries whatever is free, and makes do with less if there is less."""
GPU_CONTEXT_BYTES = 512 * MIB
"""GPU memory of the driver and libraries before the first tensor; torch does not count it."""
CPU_PROCESS_BYTES = 1024 * MIB
"""Python, torch and oneDNN: 0.7 to 1.1 GiB beside the tensors of seven networks, measured with torch 2.15 on Linux."""
MAX_EVALUATION_BATCH_SIZE = 1000
FREE_EVALUATION_BYTES = 64 * MIB
"""Memory an evaluation may use even if training uses less, because tiny batches would be slow."""


class MemoryEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """Peak memory of a run by purpose, in bytes."""

    weights_bytes: int
    """Parameters, gradients, momentum and batch-norm statistics."""
    activations_bytes: int
    """Peak of saved and recomputed activations and their gradients."""
    data_bytes: int
    """Images and labels of both sets, an epoch's random draws, and the current batch."""
    workspace_bytes: int
    """Workspace of libraries; 0 on the CPU, where `process_bytes` includes it."""
    process_bytes: int
    """Memory of the process besides its tensors."""

    @property
    def allocated_bytes(self) -> int:
        """Memory that torch counts as allocated on a GPU."""
        return self.weights_bytes + self.activations_bytes + self.data_bytes + self.workspace_bytes

    @property
    def total_bytes(self) -> int:
        """Memory that has to fit on the device."""
        return self.allocated_bytes + self.process_bytes


def training_memory(
    spec: RunSpec, native: Sequence[Precision], *, on_gpu: bool, num_train: int, num_test: int
) -> MemoryEstimate:
    """Estimate a run's peak memory.

    Args:
        native: The device's native precisions, preferred first, which resolve `auto`.
        num_train: Training images in the dataset.
        num_test: Test images in the dataset.
    """
    precision = used_precision(spec, native)
    number_bytes = BYTES_OF_ACTIVATION[precision]
    sizes = spec.data.sizes(num_train=num_train, num_test=num_test)
    held_out = sizes.validation + sizes.test
    norms = [layer for layer in cost.layers(spec.model) if layer.kind is LayerKind.NORMALISATION]
    # Mean and variance of every channel in float32, and an int64 batch counter.
    running_bytes = sum(2 * 4 * layer.output_shape[0] + 8 for layer in norms)
    # In float32 the stem saves the batch itself; autocast saves a copy.
    batch_bytes = 4 * IMAGE_NUMBERS * spec.recipe.batch_size if number_bytes < 4 else 0
    evaluated_bytes = evaluation_bytes(spec.model, precision) * min(
        max(sizes.validation, sizes.test), evaluation_batch_size(spec, precision)
    )
    return MemoryEstimate(
        weights_bytes=COPIES_OF_PARAMETERS * 4 * cost.num_parameters(spec.model) + running_bytes,
        activations_bytes=max(step_bytes(spec, precision), evaluated_bytes),
        data_bytes=(sizes.train + held_out) * (IMAGE_NUMBERS + LABEL_BYTES) + sizes.train * DRAW_BYTES + batch_bytes,
        workspace_bytes=GPU_WORKSPACE_BYTES if on_gpu else 0,
        process_bytes=GPU_CONTEXT_BYTES if on_gpu else CPU_PROCESS_BYTES,
    )


def used_precision(spec: RunSpec, native: Sequence[Precision]) -> Precision:
    """Return the precision a run will use."""
    if spec.recipe.precision is Precision.AUTO:
        return native[0]
    return spec.recipe.precision


def step_bytes(spec: RunSpec, precision: Precision) -> int:
    """Return a step's peak memory for activations and their gradients."""
    return activations.peak_bytes(
        spec.model,
        spec.recipe.batch_size,
        number_bytes=BYTES_OF_ACTIVATION[precision],
        checkpointed=spec.recipe.checkpoint_activations,
    )


def evaluation_bytes(model: ModelSpec, precision: Precision) -> int:
    """Return the memory per image of a forward pass that saves nothing: a block's input, output and intermediates."""
    return BYTES_OF_ACTIVATION[precision] * activations.working_size(model)


def evaluation_batch_size(spec: RunSpec, precision: Precision) -> int:
    """Return the batch size of an evaluation: up to 1000, limited to the memory of a training step."""
    room = max(step_bytes(spec, precision), FREE_EVALUATION_BYTES)
    return max(1, min(MAX_EVALUATION_BATCH_SIZE, room // evaluation_bytes(spec.model, precision)))
