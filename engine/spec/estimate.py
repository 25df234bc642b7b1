"""What a run is expected to take, and where that is known from."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Source(StrEnum):
    """Where an estimate is from."""

    HISTORY = "history"
    """Past runs of the same network, trained in the same way."""
    PROBE = "probe"
    """A few steps of the network itself."""
    SCALED = "scaled"
    """Past runs of the network with the most similar number of multiply-accumulates, in proportion to them."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is expected to take."""

    seconds_per_epoch: float
    """Training, evaluation and checkpoints."""
    total_seconds: float
    error_percent: float
    """Four of five such estimates are off by less, of the truth."""
    source: Source
    num_runs: int = 0
    """Past runs that it is from; 0 of a probe."""
    network: str | None = None
    """Whose pace was scaled; None where it is the run's own."""
