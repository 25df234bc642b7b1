"""Native precisions of devices, the choice of `auto`, and refusals."""

from __future__ import annotations

import msgspec
import pytest
import torch

from engine.base.errors import UsageError
from engine.spec import devices, precision
from engine.spec.devices import CPU, Device, check_device
from engine.spec.precision import Precision
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from engine.training.numerics import BACKOFF, FIRST_SCALE, STEPS_BEFORE_GROWTH, LossScale
from models.catalog import model_spec

H100 = Device("cuda:0", "GPU-a", (9, 0), 80 << 30)
V100 = Device("cuda:1", "GPU-b", (7, 0), 16 << 30)
P100 = Device("cuda:2", "GPU-c", (6, 0), 16 << 30)
SILENT = Device("cuda:3", "GPU-d")


def asking_for(name: str, device: str | None = None) -> RunSpec:
    return RunSpec(model=model_spec("he-resnet", 8), recipe=recipe("quick", precision=name), device=device)


@pytest.mark.parametrize(
    ("device", "expected"), [(H100, "bf16"), (V100, "fp16"), (P100, "fp32"), (SILENT, "bf16")], ids=lambda value: None
)
def test_auto_takes_what_a_gpu_does_natively(device: Device, expected: str):
    """bfloat16 from capability 8 on, float16 on 7, float32 before."""
    assert precision.resolve(Precision.AUTO, device.native, device.name) == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512f avx512_bf16", "bf16"), ("fpu amx_bf16", "bf16"), ("fpu avx2 avx512f", "fp32"), ("", "fp32")],
)
def test_auto_takes_bfloat16_on_a_processor_that_has_it(monkeypatch: pytest.MonkeyPatch, flags: str, expected: str):
    """By the CPU features the kernel lists."""
    monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset(flags.split()))
    precision.of_cpu.cache_clear()
    try:
        assert precision.resolve(Precision.AUTO, CPU.native, "cpu") == expected
    finally:
        precision.of_cpu.cache_clear()


@pytest.mark.parametrize(
    ("name", "wanted", "here", "message"),
    [
        ("tf32", None, (CPU,), "precision tf32 is not native to cpu: it does"),
        ("bf16", "cuda:1", (H100, V100, CPU), "precision bf16 is not native to cuda:1: it does fp16, fp32; auto takes"),
        ("tf32", "cpu", (H100, CPU), "precision tf32 is not native to cpu"),
        ("auto", "cuda:7", (H100, CPU), "device must be one of cuda:0, cpu, got cuda:7"),
    ],
)
def test_a_precision_or_device_that_is_not_here_is_refused(
    name: str, wanted: str | None, here: tuple[Device, ...], message: str
):
    """One line with the value and the alternatives."""
    with pytest.raises(UsageError) as refused:
        check_device(asking_for(name, wanted), here)

    assert message in str(refused.value)


def test_one_gpu_that_does_the_precision_is_enough():
    """The queue waits for that GPU."""
    check_device(asking_for("bf16"), (V100, H100, CPU))

    assert [devices.can_compute(device, Precision.BF16) for device in (V100, H100)] == [False, True]


def test_fp32_and_auto_are_never_refused():
    """Every device supports them."""
    for device in (H100, V100, P100, SILENT, CPU):
        for name in ("fp32", "auto"):
            check_device(msgspec.structs.replace(asking_for(name), device=device.name), (device,))


def test_the_loss_scale_halves_at_an_overflow_and_skips_the_update():
    """Like torch.amp.GradScaler, without waiting for the device."""
    scale = LossScale.start(torch.device("cpu"))
    gradient = torch.tensor([2.0 * FIRST_SCALE, -FIRST_SCALE])
    fine = scale.unscale([gradient, None])

    assert (fine.item(), gradient.tolist()) == (0.0, [2.0, -1.0])
    assert scale.unscale([torch.tensor([1.0, float("inf")])]).item() == 1.0
    assert scale.factor.item() == FIRST_SCALE * BACKOFF
    assert scale.good_steps.item() == 0


def test_the_loss_scale_doubles_after_a_long_time_without_overflow():
    """2,000 steps, as in the source; then counting restarts."""
    scale = LossScale.start(torch.device("cpu"))
    scale.good_steps.fill_(STEPS_BEFORE_GROWTH - 2)
    factors = []
    for _ in range(3):
        scale.unscale([torch.ones(2)])
        factors.append(scale.factor.item() / FIRST_SCALE)

    assert factors == [1.0, 2.0, 2.0]
    assert scale.good_steps.item() == 1
