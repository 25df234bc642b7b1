"""What `depthscope eval` and the process that computes for it say to each other: one JSON line each way. No torch."""

from __future__ import annotations

import msgspec

from engine.spec.precision import Precision
from engine.spec.run import RunSpec

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
