"""Numeric precisions, memory layouts, and which precisions a device supports natively. Does not import torch."""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path


class Precision(StrEnum):
    """Precision of forward and backward passes; weights, momentum, batch-norm statistics and loss stay float32."""

    AUTO = "auto"
    """Fastest native precision that trains to the same error: bf16, else fp16, else fp32."""
    FP32 = "fp32"
    """Precision of the published results."""
    TF32 = "tf32"
    """float32 with factors of matrix products rounded to 10 mantissa bits; NVIDIA, capability 8 and up."""
    BF16 = "bf16"
    """bfloat16 convolutions and matrix products through torch's autocast."""
    FP16 = "fp16"
    """float16 through torch's autocast, with loss scaling so that small gradients do not vanish; NVIDIA only."""


class Layout(StrEnum):
    """Memory layout of images and weights; `engine.training.layout` chooses it."""

    CONTIGUOUS = "contiguous"
    """Rows of one channel behind each other, as in a textbook loop."""
    CHANNELS_LAST = "channels-last"
    """All channels of a pixel behind each other."""
    CHANNELS_LAST_SLICED = "channels-last-sliced"
    """The same, but narrow projections slice their input instead of striding over it."""


BYTES_OF_ACTIVATION = {Precision.FP32: 4, Precision.TF32: 4, Precision.BF16: 2, Precision.FP16: 2}

CPU_WITH_BF16 = (Precision.BF16, Precision.FP32)

AMPERE = (8, 0)
VOLTA = (7, 0)


def of_gpu(capability: tuple[int, int]) -> tuple[Precision, ...]:
    """Return the native precisions of a GPU with a CUDA compute capability, preferred first."""
    if capability >= AMPERE:
        return (Precision.BF16, Precision.FP16, Precision.TF32, Precision.FP32)
    if capability >= VOLTA:
        return (Precision.FP16, Precision.FP32)
    return (Precision.FP32,)


@functools.cache
def of_cpu() -> tuple[Precision, ...]:
    """Return the native precisions of this machine's CPU, preferred first."""
    return CPU_WITH_BF16 if cpu_flags() & NATIVE_BF16_FLAGS else (Precision.FP32,)


NATIVE_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "FEAT_BF16"})


def cpu_flags() -> frozenset[str]:
    """Return the CPU's feature flags as named by the kernel; empty if it does not report them."""
    if platform.system() == "Darwin":
        asked = subprocess.run(["sysctl", "-n", "hw.optional.arm.FEAT_BF16"], capture_output=True, text=True)
        return frozenset({"FEAT_BF16"} if asked.stdout.strip() == "1" else ())
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    # x86 writes `flags`, ARM `Features`.
    words = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(words, "").split())


def resolve(asked: Precision, native: Sequence[Precision], device: str) -> Precision:
    """Resolve a requested precision to the one a run uses on a device with these native ones, preferred first.

    Raises:
        ValueError: the device does not support it natively.
    """
    if asked is Precision.AUTO:
        return native[0]
    if asked not in native:
        raise ValueError(
            f"precision {asked} is not native to {device}: it does {', '.join(sorted(native))}; auto takes {native[0]}"
        )
    return asked
