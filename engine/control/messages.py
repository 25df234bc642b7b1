"""What commands and the programs they start say to each other: one JSON object a line."""

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


Channels = tuple[float, float, float]


class EvaluationTask(msgspec.Struct, frozen=True, kw_only=True):
    """Whose error is measured on what."""

    home: str
    weights: str
    """A file of torch.save."""
    spec: RunSpec
    """Its network, its dataset and its precision; the rest of it is no concern of an evaluation."""
    mean: Channels | None = None
    """What each channel is shifted by, of values in 0..1; None takes the dataset's."""
    std: Channels | None = None
    centred: bool = False
    """Whether shortcuts without parameters put new channels on both sides of the old ones, rather than behind them."""


class Evaluated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What was measured, and under which conditions."""

    test_loss: float | None
    """None where it is not finite."""
    test_error_percent: float
    num_images: int
    num_tensors: int
    by_name: bool
    """Whether tensors were found by their names, rather than by their positions."""
    mean: Channels
    std: Channels
    data_sha256: str
    synthetic: bool
    precision: Precision
    device_name: str
    torch: str
    seconds: float
    """Of the evaluation alone."""


class NotEvaluated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Why nothing was measured."""

    text: str
    usage: bool
    """Whether what was asked for is wrong, rather than the machine unable."""


EvaluationAnswer = Evaluated | NotEvaluated
