"""What a run will need, estimated without torch: memory from the network's layers, time from runs that are done.

These are estimates, and are shown as such. Memory counts what the textbook loop keeps in float32 and leaves out what
the libraries take for themselves; time is as good as the nearest past run on the same device.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from engine.run import Run
from engine.spec import RunSpec
from models import cost
from models.cost import LayerKind

BYTES_A_NUMBER = 4
COPIES_OF_PARAMETERS = 3
"""The parameters, their gradients, and the momentum of SGD."""
IMAGE_BYTES = 3 * 32 * 32
MAX_FACTOR_APART = 30.0
"""A past run with so many times the work an image, or so little, says nothing of the pace of another."""


def training_memory_bytes(spec: RunSpec, *, num_train: int, num_test: int) -> int:
    """Estimated peak memory of training: parameters, gradients, momentum, saved activations, and the resident images.

    Args:
        spec: What is to be trained.
        num_train: Training images that the dataset holds.
        num_test: Test images that it holds.
    """
    layers = cost.layers(spec.model)
    # The input of every convolution is kept for the backward pass, and so is what a normalisation normalises;
    # ReLU works in place on the normalisation's output, which is the next convolution's input.
    activations = sum(
        layer.output_shape[0] * layer.output_shape[1] * layer.output_shape[2]
        for layer in layers
        if layer.kind is not LayerKind.LINEAR
    )
    parameters = sum(layer.num_parameters for layer in layers)
    images = (spec.data.train_images or num_train) + (spec.data.test_images or num_test)
    return (
        COPIES_OF_PARAMETERS * BYTES_A_NUMBER * parameters
        + spec.recipe.batch_size * BYTES_A_NUMBER * activations
        + images * IMAGE_BYTES
    )


def training_seconds(spec: RunSpec, *, num_train: int, past: Iterable[Run]) -> float | None:
    """Estimated time of a whole run at the pace of past ones; None where no past run is like it.

    Args:
        spec: What is to be trained.
        num_train: Training images that the dataset holds.
        past: Runs with epochs behind them, of whatever network; those of the wanted device count, where one is wanted.
    """
    macs = cost.forward_macs(spec.model)
    paces: list[tuple[float, float]] = []
    for run in past:
        if not run.images_per_second or not run.epoch or (spec.device and run.device != spec.device):
            continue
        other = cost.forward_macs(run.spec.model)
        apart = max(macs / other, other / macs)
        if apart <= MAX_FACTOR_APART:
            paces.append((apart, run.images_per_second * other / macs))
    if not paces:
        return None
    nearest = min(apart for apart, _ in paces)
    pace = statistics.median(pace for apart, pace in paces if apart <= nearest * 1.01)
    return spec.recipe.epochs * (spec.data.train_images or num_train) / pace
