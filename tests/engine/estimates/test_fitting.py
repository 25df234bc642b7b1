"""Runs that do not fit are refused with figures and a remedy; remedies are ordered by their cost."""

from __future__ import annotations

import msgspec
import pytest
import torch

from engine.base.errors import UsageError
from engine.estimates import fitting
from engine.estimates.fitting import Remedy, check_memory, judge, made_to_fit, remedies, suggestion
from engine.estimates.memory import training_memory
from engine.spec.devices import Device
from engine.spec.precision import Precision, of_gpu
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from engine.training import failures
from engine.training.device import limit_memory
from models.catalog import model_spec

SIZES = {"num_train": 50_000, "num_test": 10_000}
GIB = 1 << 30
H100 = Device("cuda:0", "GPU-a", (9, 0), 80 * GIB)
P100 = Device("cuda:1", "GPU-b", (6, 0), 16 * GIB)
SMALL = Device("cuda:2", "GPU-c", (8, 6), 6 * GIB)
SILENT = Device("cuda:3", "GPU-d")
CPU = Device("cpu", "")


def bottleneck(
    depth: int = 101, *, limit: int | None = None, device: str | None = None, **overrides: object
) -> RunSpec:
    return RunSpec(
        model=model_spec("resnet", depth, block="bottleneck"),
        recipe=recipe("reference", **{"precision": "fp32", **overrides}),
        device=device,
        memory_limit_bytes=limit,
    )


def needed(spec: RunSpec, device: Device, remedy: Remedy) -> int:
    return training_memory(remedy.applied_to(spec), device.native, on_gpu=True, **SIZES).total_bytes


def test_remedies_go_from_what_changes_least_to_the_batch():
    """Precision, checkpointing, both, and only then smaller batches."""
    assert [remedy.options for remedy in remedies(bottleneck(batch_size=10), H100.native)] == [
        "--precision bf16",
        "--checkpoint-activations",
        "--precision bf16 --checkpoint-activations",
        "--precision bf16 --checkpoint-activations --batch-size 8",
        "--precision bf16 --checkpoint-activations --batch-size 4",
        "--precision bf16 --checkpoint-activations --batch-size 2",
        "--precision bf16 --checkpoint-activations --batch-size 1",
    ]


def test_settings_in_use_or_unsupported_are_not_offered_as_remedies():
    """A GPU of capability 6 supports only float32; bfloat16 cannot be reduced."""
    assert next(remedies(bottleneck(), P100.native)).options == "--checkpoint-activations"
    assert next(remedies(bottleneck(precision="auto"), H100.native)).options == "--checkpoint-activations"
    checkpointed = bottleneck(precision="bf16", checkpoint_activations=True)
    assert next(remedies(checkpointed, H100.native)).options == "--batch-size 64"
    assert list(remedies(bottleneck(precision="bf16", checkpoint_activations=True, batch_size=1), H100.native)) == []


@pytest.mark.parametrize("which", range(7))
def test_the_first_remedy_that_fits_is_suggested(which: int):
    """With a limit of exactly what it needs, unless an earlier one suffices."""
    spec = bottleneck()
    remedy = list(remedies(spec, H100.native))[which]
    limit = needed(spec, H100, remedy)
    expected = next(one for one in remedies(spec, H100.native) if needed(spec, H100, one) <= limit)
    said = suggestion(spec, H100.native, limit, on_gpu=True, **SIZES)

    assert f"{expected.options} fits (~" in said
    assert ("changes the result" in said) == (expected.batch_size is not None)


def test_if_nothing_fits_the_smallest_need_is_reported():
    """Even a batch of one needs weights, images and libraries."""
    spec = bottleneck(limit=GIB)
    with pytest.raises(UsageError) as refused:
        check_memory("deep", spec, [H100, CPU], **SIZES)
    said = str(refused.value)

    assert said.startswith("deep needs ~")
    assert "the limit is 1.00 GiB (--memory-limit): nothing fits, even --precision bf16" in said
    assert "--batch-size 1 needs ~1." in said


def test_the_limit_is_the_smaller_of_card_and_wish():
    """The error says which one applies."""
    spec = bottleneck(152, device="cuda:2")
    assert "the limit is 6.00 GiB (cuda:2): --precision bf16" in refusal_of(spec, SMALL)
    less = msgspec.structs.replace(spec, memory_limit_bytes=5 * GIB)
    assert "the limit is 5.00 GiB (--memory-limit)" in refusal_of(less, SMALL)
    more = msgspec.structs.replace(spec, memory_limit_bytes=7 * GIB)
    assert "the limit is 6.00 GiB (cuda:2)" in refusal_of(more, SMALL)


def refusal_of(spec: RunSpec, device: Device) -> str:
    with pytest.raises(UsageError) as refused:
        check_memory("deep", spec, [device], **SIZES)
    return str(refused.value)


def test_one_device_with_room_is_enough():
    """The queue waits for that device; the CPU does not count if there is a GPU."""
    verdict = judge(bottleneck(152), [SMALL, H100, CPU], **SIZES)

    assert verdict.fits
    assert verdict.device == H100


def test_a_card_that_keeps_its_memory_back_refuses_nothing():
    """Unless the user sets a limit."""
    assert judge(bottleneck(152), [SILENT], **SIZES).fits
    assert not judge(bottleneck(152, limit=GIB), [SILENT], **SIZES).fits


def test_on_the_cpu_the_machine_is_the_limit(monkeypatch: pytest.MonkeyPatch):
    """All of its memory, whatever else is running."""
    monkeypatch.setattr(fitting, "machine_bytes", lambda: 4 * GIB)
    said = refusal_of(bottleneck(), CPU)

    assert "the limit is 4.00 GiB (this machine): " in said


def test_fit_changes_what_leaves_the_batch_alone():
    """Both together if neither suffices; the batch only if allowed."""
    spec = bottleneck(limit=2 * GIB + GIB // 4)
    fitted, remedy = made_to_fit(spec, [H100], may_change_batch=False, **SIZES)
    assert remedy is not None
    assert remedy.keeps_the_batch
    assert fitted.recipe.batch_size == 128
    assert judge(fitted, [H100], **SIZES).fits
    assert msgspec.structs.replace(fitted, recipe=spec.recipe) == spec

    tight = bottleneck(limit=GIB + GIB // 2)
    assert made_to_fit(tight, [H100], may_change_batch=False, **SIZES) == (tight, None)
    smaller, remedy = made_to_fit(tight, [H100], may_change_batch=True, **SIZES)
    assert remedy is not None
    assert smaller.recipe.batch_size == remedy.batch_size
    assert judge(smaller, [H100], **SIZES).fits


def test_fit_leaves_a_run_alone_that_fits():
    """Nothing changes without need."""
    spec = bottleneck()

    assert made_to_fit(spec, [H100], may_change_batch=True, **SIZES) == (spec, None)


def test_a_worker_that_ran_out_of_memory_says_what_fits(monkeypatch: pytest.MonkeyPatch, home):
    """It repeats the planner's suggestion for its GPU and limit."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 5 * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    spec = bottleneck(limit=6 * GIB)
    failure = torch.OutOfMemoryError("tried to allocate 2.00 GiB\nadvice for programmers")
    said = failures.out_of_memory(spec, home.home, failure, torch.device("cuda", 0))
    expected = suggestion(spec, of_gpu((9, 0)), 6 * GIB, on_gpu=True, **SIZES)

    assert said == (
        f"out of memory on the GPU (6.00 GiB for this run, 1.00 GiB free): {expected} (tried to allocate 2.00 GiB)"
    )


def test_the_narrowest_precision_is_of_the_device():
    """float16 on Volta, which has no bfloat16."""
    volta = of_gpu((7, 0))

    assert next(remedies(bottleneck(), volta)).precision is Precision.FP16


def test_a_worker_holds_torch_to_the_limit_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch):
    """As a fraction of the card, at most all of it; there is no such limit on a CPU."""
    held: list[float] = []
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _device: type("Card", (), {"total_memory": 24 * GIB})
    )
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda fraction, _device: held.append(fraction))
    gpu = torch.device("cuda", 0)
    for device, limit in ((gpu, 6 * GIB), (gpu, 48 * GIB), (gpu, None), (torch.device("cpu"), 6 * GIB)):
        limit_memory(device, limit)

    assert held == [0.25, 1.0]
