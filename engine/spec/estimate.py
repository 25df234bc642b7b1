"""Expected duration of a run, with its error and its source."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from engine.base.decoding import Count, Real


class Source(StrEnum):
    """Basis of an estimate."""

    HISTORY = "history"
    """Past runs of the same network, trained the same way."""
    PROBE = "probe"
    """A few measured steps of the network itself."""
    SCALED = "scaled"
    """Past runs of the network closest in multiply-accumulates, scaled in proportion to them."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Expected duration of a run."""

    seconds_per_epoch: Real
    """Time for training, evaluation and checkpoints."""
    total_seconds: Real
    error_percent: Real
    """Bound on the error, in percent of the true duration, that four of five estimates meet."""
    source: Source
    num_runs: Count = 0
    """Past runs the estimate is based on; 0 for a probe."""
    network: str | None = None
    """Network whose speed was scaled; None if it is the run's own network."""
