"""Estimated peak memory, compared with torch's live tensors and with what autograd saves."""

from __future__ import annotations

import msgspec
import pytest
import torch

from engine.estimates.memory import evaluation_batch_size, evaluation_bytes, training_memory
from engine.spec.precision import Precision
from engine.spec.recipes import recipe
from engine.spec.run import DataSpec, RunSpec
from engine.training.step import Batch, evaluate, start_training, train_step
from models.activations import saved_bytes
from models.catalog import ModelSpec, label, model_spec
from models.cost import num_parameters
from tests.memory_trace import LiveStorages, saved_by_autograd, unlearnt_data, without_drawing

SIZES = {"num_train": 50_000, "num_test": 10_000}
BATCH = 16
NETWORKS = [
    model_spec("resnet", None, blocks=(2, 1, 1, 1), width=16),
    model_spec("resnet", None, blocks=(1, 2, 2, 1), block="bottleneck", width=8),
    model_spec("plain", None, blocks=(1, 2, 2, 1), block="bottleneck", width=8),
    model_spec("plain", 18, width=8, conv_bias=True),
    model_spec("preact", 18, width=8),
    model_spec("preact", None, blocks=(1, 2, 2, 1), block="bottleneck", width=8),
    model_spec("preact", 18, width=8, norm="none"),
    model_spec("he-resnet", 20),
    model_spec("he-plain", 8, norm="none"),
]


def asking_for(model: ModelSpec, **overrides: object) -> RunSpec:
    return RunSpec(model=model, recipe=recipe("reference", **{"precision": "fp32", **overrides}))


def live_peak(spec: RunSpec, *, steps: int = 2) -> int:
    """Return the peak of live bytes in steps after the first, which allocates the momentum."""
    device = torch.device("cpu")
    live = LiveStorages()
    with live:
        with without_drawing():
            state = start_training(spec, device, precision=spec.recipe.precision)
        for tensor in (*state.model.parameters(), *state.model.buffers()):
            live.count(tensor)
        batch = Batch(torch.zeros(BATCH, 3, 32, 32), torch.zeros(BATCH, dtype=torch.int64))
        for step in range(steps):
            if step == 1:
                live.bytes_peak = 0
            train_step(state, batch, learning_rate=1e-6)
    return live.bytes_peak


@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", NETWORKS, ids=label)
def test_the_estimate_is_the_most_that_is_alive_at_once(model: ModelSpec, precision: str, checkpointed: bool):
    """Within 5 % of real steps: weights, gradients, momentum, activations, and their gradients."""
    spec = asking_for(model, batch_size=BATCH, precision=precision, checkpoint_activations=checkpointed)
    estimate = training_memory(spec, [spec.recipe.precision], on_gpu=False, **SIZES)
    batch_bytes = 0 if precision == "fp32" else 4 * BATCH * 3 * 32 * 32
    # An evaluation may need more than the steps of such a small network; it is tested separately.
    step_bytes = training_steps_alone(spec)

    assert estimate.weights_bytes + step_bytes + batch_bytes == pytest.approx(live_peak(spec), rel=0.05)


def training_steps_alone(spec: RunSpec) -> int:
    """Return the estimate of activations for a run that evaluates one image."""
    one = msgspec.structs.replace(spec, data=DataSpec(train_images=10, test_images=1))
    return training_memory(one, [spec.recipe.precision], on_gpu=False, **SIZES).activations_bytes


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("model", NETWORKS, ids=label)
def test_an_evaluation_stays_within_its_estimate(model: ModelSpec, precision: Precision):
    """The estimate that limits its batches is not far above the live bytes."""
    images = 20
    data = unlearnt_data(1, images, torch.device("cpu"))
    live = LiveStorages()
    with live:
        spec = asking_for(model, precision=precision)
        with without_drawing():
            state = start_training(spec, torch.device("cpu"), precision=precision)
        before = live.bytes_now
        live.bytes_peak = 0
        evaluate(state.model, data, batch_size=images, precision=precision)
    # Images and weight copies of one layer are added.
    beside = images * 4 * 3 * 32 * 32 * 3 + 4 * num_parameters(model)

    assert live.bytes_peak - before <= images * evaluation_bytes(model, precision) + beside
    assert live.bytes_peak - before > 0.3 * images * evaluation_bytes(model, precision)


def test_an_evaluation_never_sets_the_peak_of_a_large_run():
    """Bottlenecks with checkpointing would need more for 1,000 test images than for a step."""
    spec = asking_for(model_spec("resnet", 101), checkpoint_activations=True)
    size = evaluation_batch_size(spec, Precision.FP32)

    assert 100 < size < 1000
    assert training_memory(spec, [Precision.FP32], on_gpu=True, **SIZES).activations_bytes == training_steps_alone(spec)
    assert evaluation_batch_size(asking_for(model_spec("he-resnet", 56)), Precision.FP32) == 1000


@pytest.mark.parametrize("depth", [101, pytest.param(110, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("precision", "checkpointed"), [(Precision.FP32, True), (Precision.BF16, False), (Precision.BF16, True)]
)
def test_deep_bottlenecks_train_in_six_gigabytes(depth: int, precision: Precision, checkpointed: bool):
    """At full width and batch 128, extrapolated from autograd; the report's networks did not fit a 6 GB card."""
    model = model_spec("resnet", depth, block="bottleneck")
    spec = asking_for(model, precision=precision, checkpoint_activations=checkpointed)
    number_bytes = 4 if precision is Precision.FP32 else 2
    counted = saved_by_autograd(model, 1, precision, checkpointed=checkpointed)

    assert saved_bytes(model, 1, number_bytes=number_bytes, checkpointed=checkpointed) == counted
    assert training_memory(spec, [precision], on_gpu=True, **SIZES).total_bytes < 6e9


def test_the_estimate_counts_the_images_that_are_trained_on():
    """They are on the device, 3 kB each, with their labels and random draws."""
    whole = asking_for(model_spec("resnet", 20))
    part = msgspec.structs.replace(whole, data=DataSpec(train_images=10_000, test_images=1_000))
    more, less = (training_memory(spec, [Precision.FP32], on_gpu=True, **SIZES) for spec in (whole, part))

    assert more.data_bytes - less.data_bytes == (40_000 + 9_000) * (3 * 32 * 32 + 8) + 40_000 * 25
    assert more.total_bytes - less.total_bytes == more.data_bytes - less.data_bytes


def test_images_held_out_for_validation_are_moved_and_not_added():
    """All images are still on the device, but only trained ones have random draws."""
    whole = asking_for(model_spec("resnet", 20))
    split = msgspec.structs.replace(whole, data=DataSpec(validation_images=5_000))
    more, less = (training_memory(spec, [Precision.FP32], on_gpu=True, **SIZES) for spec in (whole, split))

    assert more.data_bytes - less.data_bytes == 5_000 * 25


def test_auto_is_estimated_as_what_the_device_will_take():
    """bfloat16 on a GPU that supports it."""
    auto = asking_for(model_spec("resnet", 20), precision="auto")
    with_bf16, without = [Precision.BF16, Precision.FP32], [Precision.FP32]

    for native, meant in ((with_bf16, "bf16"), (without, "fp32")):
        plainly = asking_for(auto.model, precision=meant)
        assert training_memory(auto, native, on_gpu=True, **SIZES) == training_memory(
            plainly, with_bf16, on_gpu=True, **SIZES
        )
