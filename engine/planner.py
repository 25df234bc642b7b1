"""What memory a run will need, estimated without torch from the network's layers; `pace` estimates the time.

It is shown as an estimate: it counts what the textbook loop keeps in float32, and leaves out what the libraries take
for themselves.
"""

from __future__ import annotations

from engine.spec import RunSpec
from models import cost
from models.cost import LayerKind

BYTES_A_NUMBER = 4
COPIES_OF_PARAMETERS = 3
"""The parameters, their gradients, and the momentum of SGD."""
IMAGE_BYTES = 3 * 32 * 32


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
