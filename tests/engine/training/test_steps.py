"""Steps that stay on the device, as captured on a GPU, match eager steps."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch import Tensor

from engine.spec.precision import Precision
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from engine.training import numerics
from engine.training.augmentation import EpochDraws
from engine.training.cuda_graphs import CapturedSteps, DeviceSteps, batch_sizes
from engine.training.step import TrainingState, evaluate, start_training
from engine.training.steps import EagerSteps, steps_for
from models.catalog import model_spec
from tests.engine.training.test_step import BATCH_SIZE, NUM_TRAIN, random_data

RATES = (0.0625, 0.03125) * 5
"""Exact in float32, as kept on the device; nine full batches and a remainder."""

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def a_spec(**changes: object) -> RunSpec:
    recipe_used = recipe("reference", epochs=1, batch_size=BATCH_SIZE, precision="fp32", **changes)
    return RunSpec(model=model_spec("he-resnet", 8, width=4), recipe=recipe_used, seed=3)


def weights(state: TrainingState) -> list[Tensor]:
    return [tensor.detach().cpu().clone() for tensor in state.model.state_dict().values()]


@pytest.mark.parametrize("changes", [{}, {"augment": False}, {"momentum": 0.0}, {"checkpoint_activations": True}])
def test_a_replayed_epoch_equals_one_launched_step_by_step(changes: dict[str, object]):
    """The same batches in the same order at the same rates, including the partial one."""
    spec, data = a_spec(**changes), random_data()
    draws = EpochDraws.draw(spec.seed, 0, NUM_TRAIN)
    eager, alone = (start_training(spec, torch.device("cpu"), dtype=torch.float32) for _ in range(2))
    one_by_one = EagerSteps(eager, data, spec)
    one_by_one.begin_epoch(draws, RATES, done=0)
    device_steps = DeviceSteps(alone, data, spec)
    device_steps.buffers.fill(draws, RATES, 0)
    for index in range(len(RATES)):
        one_by_one.take(index)
        device_steps.step(min(BATCH_SIZE, NUM_TRAIN - index * BATCH_SIZE))

    assert device_steps.buffers.index.tolist() == [len(RATES)]
    for found, expected in zip(weights(alone), weights(eager), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert alone.sums.read()[0] == pytest.approx(eager.sums.read()[0], rel=1e-5)


def test_an_evaluation_on_the_device_alone_measures_the_same():
    """Every test image once, including the partial last batch."""
    spec, data = a_spec(), random_data()
    state = start_training(spec, torch.device("cpu"))
    device_steps = DeviceSteps(state, data, spec)
    state.model.eval()
    for size in (20, 20, 10):
        device_steps.test(size)
    loss, wrong = device_steps.test_sums.read()

    assert (loss / 50, 100 * wrong / 50) == pytest.approx(evaluate(state.model, data))


def test_dry_steps_leave_no_trace():
    """Weights, running statistics, momentum, sums and position in the epoch are bit-identical afterwards."""
    spec, data = a_spec(), random_data()
    state = start_training(spec, torch.device("cpu"))
    device_steps = DeviceSteps(state, data, spec)
    device_steps.buffers.fill(EpochDraws.draw(3, 0, NUM_TRAIN), RATES, 2)
    before = [tensor.detach().clone() for tensor in state.tensors()]
    with device_steps.leaving_no_trace():
        for _ in range(3):
            device_steps.step(BATCH_SIZE)
            device_steps.test(10)
        assert not all(map(torch.equal, before, state.tensors()))

    assert all(map(torch.equal, before, state.tensors()))
    assert len(before) > 2 * len(list(state.model.parameters()))
    assert device_steps.buffers.index.tolist() == [2]
    assert device_steps.test_sums.read() == (0.0, 0)


@pytest.mark.parametrize(
    ("num_images", "size", "expected"),
    [(50_000, 128, (128, 80)), (256, 128, (128,)), (80, 1000, (80,)), (2000, 1000, (1000,))],
)
def test_a_set_is_cut_into_full_batches_and_a_remainder(num_images: int, size: int, expected: tuple[int, ...]):
    """One graph for each size that occurs."""
    assert batch_sizes(num_images, size) == expected


def on_gpu(spec: RunSpec, *, recorded: bool) -> tuple[TrainingState, tuple[float, float] | None]:
    """Train an epoch on the GPU and evaluate."""
    device = torch.device("cuda")
    state = start_training(spec, device)
    numerics.configure(device, state.precision, deterministic=spec.recipe.deterministic)
    data = random_data("cuda")
    make = CapturedSteps.record if recorded else EagerSteps
    steps = make(state, data, spec)
    steps.begin_epoch(EpochDraws.draw(spec.seed, 0, NUM_TRAIN), RATES, done=0)
    for index in range(len(RATES)):
        steps.take(index)
    return state, steps.evaluate()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_recorded_steps_compute_what_launched_ones_compute(precision: str):
    """In every precision, with the same images counted and the same evaluation."""
    spec = msgspec.structs.replace(a_spec(), recipe=msgspec.structs.replace(a_spec().recipe, precision=precision))
    launched, expected = on_gpu(spec, recorded=False)
    recorded, found = on_gpu(spec, recorded=True)

    assert recorded.sums.num_images == launched.sums.num_images == NUM_TRAIN
    rounding = 1e-3 if precision == "fp32" else 5e-2
    assert recorded.sums.read()[0] == pytest.approx(launched.sums.read()[0], rel=rounding)
    assert found == pytest.approx(expected, rel=10 * rounding)


@pytest.mark.gpu
@needs_gpu
def test_deterministic_steps_repeat_themselves_to_the_last_bit():
    """Repeating an epoch gives the same weights."""
    spec = msgspec.structs.replace(a_spec(), recipe=msgspec.structs.replace(a_spec().recipe, deterministic=True))
    first, second = (on_gpu(spec, recorded=True)[0] for _ in range(2))

    assert all(map(torch.equal, weights(first), weights(second)))


@pytest.mark.gpu
@needs_gpu
def test_recording_leaves_no_trace_and_replaying_does_not_synchronise():
    """Otherwise a resumed run would differ, or the GPU would wait for the host."""
    spec, data = a_spec(), random_data("cuda")
    state = start_training(spec, torch.device("cuda"))
    before = weights(state)
    steps = steps_for(state, data, spec, report=pytest.fail)
    assert isinstance(steps, CapturedSteps)
    assert all(map(torch.equal, before, weights(state)))
    steps.begin_epoch(EpochDraws.draw(spec.seed, 0, NUM_TRAIN), RATES, done=0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for index in range(4):
            steps.take(index)
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert state.precision is Precision.FP32
    assert not all(map(torch.equal, before, weights(state)))
