"""Memory estimates against CUDA's allocator, and bottlenecks within a 6 GiB card."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch

from engine.estimates.memory import evaluation_batch_size, training_memory
from engine.spec.precision import Precision, of_gpu
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from engine.training import numerics
from engine.training.augmentation import EpochDraws
from engine.training.step import evaluate, start_training, train_step, training_batch
from models.catalog import model_spec
from tests.memory_trace import unlearnt_data

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]

NUM_TRAIN, NUM_TEST = 50_000, 10_000
SEARCHING_STEPS = 3
SIX_GIB = 6 << 30


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    """Free the card's memory before a test and restore settings after it."""
    conv, matmul = torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision
    benchmark = torch.backends.cudnn.benchmark
    gc.collect()
    torch.cuda.empty_cache()
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.backends.cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision = conv, matmul
    torch.backends.cudnn.benchmark = benchmark


def native() -> tuple[Precision, ...]:
    return of_gpu(torch.cuda.get_device_capability())


def peak_of_a_run(spec: RunSpec) -> int:
    """Return peak allocated memory in steps and an evaluation, after the search for algorithms."""
    device = torch.device("cuda", 0)
    before = torch.cuda.memory_allocated()
    data = unlearnt_data(NUM_TRAIN, NUM_TEST, device)
    state = start_training(spec, device)
    numerics.configure(device, state.precision, deterministic=False)
    draws = EpochDraws.draw(0, 0, NUM_TRAIN).to(device)
    for step in range(SEARCHING_STEPS + 3):
        if step == SEARCHING_STEPS:
            torch.cuda.reset_peak_memory_stats()
        batch = training_batch(data, draws, step * spec.recipe.batch_size, spec.recipe)
        train_step(state, batch, learning_rate=0.01)
    evaluate(state.model, data, batch_size=evaluation_batch_size(spec, state.precision), precision=state.precision)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize(
    ("architecture", "depth", "block"),
    [
        ("resnet", 20, None),
        ("plain", 56, None),
        ("preact", 50, None),
        ("resnet", 110, "bottleneck"),
        ("he-resnet", 110, None),
    ],
)
def test_the_estimate_is_what_is_allocated(
    architecture: str, depth: int, block: str | None, precision: str, checkpointed: bool
):
    """Within 10 %, excluding the driver's context, which torch does not count."""
    if Precision(precision) not in native():
        pytest.skip(f"this GPU does not do {precision} natively")
    spec = RunSpec(
        model=model_spec(architecture, depth, block=block),
        recipe=recipe("reference", precision=precision, checkpoint_activations=checkpointed),
    )
    estimate = training_memory(spec, native(), on_gpu=True, num_train=NUM_TRAIN, num_test=NUM_TEST)

    assert estimate.allocated_bytes == pytest.approx(peak_of_a_run(spec), rel=0.1)


@pytest.mark.parametrize("depth", [101, 110])
@pytest.mark.parametrize(("precision", "checkpointed"), [("fp32", True), ("auto", False), ("auto", True)])
def test_deep_bottlenecks_train_on_a_six_gib_card(depth: int, precision: str, checkpointed: bool):
    """At full width and batch 128 with the allocator limited to 6 GiB; the report's networks did not fit."""
    spec = RunSpec(
        model=model_spec("resnet", depth, block="bottleneck"),
        recipe=recipe("reference", precision=precision, checkpoint_activations=checkpointed),
    )
    estimate = training_memory(spec, native(), on_gpu=True, num_train=NUM_TRAIN, num_test=NUM_TEST)
    if estimate.total_bytes > SIX_GIB:
        pytest.skip("needs a GPU with 2-byte numbers")
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, SIX_GIB / total))

    assert peak_of_a_run(spec) < SIX_GIB
