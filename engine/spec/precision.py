"""In which numbers a network is computed, and which of them a device does natively. Imports no torch."""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from models.catalog import THREE_STAGE, ModelSpec


class Precision(StrEnum):
    """Numbers of the forward and backward passes; weights, momentum, normalisation statistics and loss stay float32."""

    AUTO = "auto"
    """The fastest that the device does natively and that trains to the same error: bf16, else fp16, else fp32."""
    FP32 = "fp32"
    """What the sources compute."""
    TF32 = "tf32"
    """float32 whose factors are rounded to 10 bits of mantissa inside matrix products; NVIDIA, capability 8 and up."""
    BF16 = "bf16"
    """bfloat16 convolutions and products by torch's autocast."""
    FP16 = "fp16"
    """float16 by torch's autocast, the loss scaled so that small gradients do not vanish; NVIDIA alone."""


BYTES_OF_ACTIVATION = {Precision.FP32: 4, Precision.TF32: 4, Precision.BF16: 2, Precision.FP16: 2}

CPU_WITH_BF16 = (Precision.BF16, Precision.FP32)

AMPERE = (8, 0)
VOLTA = (7, 0)


def of_gpu(capability: tuple[int, int]) -> tuple[Precision, ...]:
    """What a GPU of a CUDA compute capability does natively, the preferred first."""
    if capability >= AMPERE:
        return (Precision.BF16, Precision.FP16, Precision.TF32, Precision.FP32)
    if capability >= VOLTA:
        return (Precision.FP16, Precision.FP32)
    return (Precision.FP32,)


@functools.cache
def of_cpu() -> tuple[Precision, ...]:
    """What this machine's processor does natively, the preferred first."""
    return CPU_WITH_BF16 if cpu_flags() & NATIVE_BF16_FLAGS else (Precision.FP32,)


SAFE_CHANNELS = 16
"""Input channels from which oneDNN's channels-last backward of a strided 1×1 convolution is sound (torch 2.15)."""


def native_for(model: ModelSpec, native: Sequence[Precision]) -> tuple[Precision, ...]:
    """What a device computes a network in, the preferred first.

    On a CPU, the channels-last backward of a narrow strided 1×1 convolution corrupts the heap where the number of
    threads does not divide the batch size. Four-stage networks that narrow therefore prefer float32, whose layout is
    contiguous; three-stage networks have no such convolution.

    Args:
        model: The network.
        native: What the device does natively, the preferred first.
    """
    on_cpu = tuple(native) == CPU_WITH_BF16
    if on_cpu and model.architecture not in THREE_STAGE and model.width < SAFE_CHANNELS:
        return tuple(reversed(CPU_WITH_BF16))
    return tuple(native)


NATIVE_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16", "FEAT_BF16"})


def cpu_flags() -> frozenset[str]:
    """Features of the processor as the kernel names them; none where it does not tell."""
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
    """The precision that a run is computed in.

    Args:
        asked: Of the recipe.
        native: What the device does natively, the preferred first.
        device: Its name, for the message.

    Raises:
        ValueError: the device does not do it natively; the text says what it does.
    """
    if asked is Precision.AUTO:
        return native[0]
    if asked not in native:
        raise ValueError(
            f"precision {asked} is not native to {device}: it does {', '.join(sorted(native))}; auto takes {native[0]}"
        )
    return asked
