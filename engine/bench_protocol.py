"""What `depthscope bench` and its loops say to each other: JSON lines over pipes. Imports no torch."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from engine.spec.precision import Precision
from engine.spec.run import RunSpec


class Loop(StrEnum):
    """What is timed; each in a process of its own, so that neither lends the other its settings or memory."""

    DEPTHSCOPE = "depthscope"
    TEXTBOOK = "textbook"
    MATMUL = "matmul"
    """Products of large matrices alone: what the device can do at the best."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """The first line to a loop."""

    loop: Loop
    spec: RunSpec
    num_images: int
    """Random images to train on."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The first line from a loop, behind its first step."""

    device_name: str
    precision: Precision
    """What it computes in."""
    torch: str
    torchvision: str
    cuda: str | None
    """The CUDA version that torch was built for; None of a CPU build."""
    num_threads: int
    seconds_to_first_step: float
    """From the start of the process."""
    notices: tuple[str, ...] = ()


class Measured(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The answer to each further line, which says for how many seconds to go on."""

    amount: float
    """Images trained on, or multiply-accumulates of a product of matrices."""
    seconds: float
    peak_memory_bytes: int
    """Of the GPU, as its allocator counts it; of the process where the device is the CPU, its loader's left out."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The answer where it cannot go on."""

    error: str


Answer = Ready | Measured | Failed
