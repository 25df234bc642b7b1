"""Paired comparison of two networks over the same seeds at the same epoch. Pure functions, no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from engine.runs.journal import Epoch

T_QUANTILES = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)
"""One-sided 5 % quantiles of Student's t, for 1, 2, … degrees of freedom; beyond the table the last is
used, which is conservative."""


class Sign(StrEnum):
    """Conclusion from differences over seeds."""

    HIGHER = "higher"
    LOWER = "lower"
    UNDECIDED = "undecided"
    """Too few seeds, or too much variation between them, for the test to decide."""
    ONE_SEED = "one seed"
    """With a single seed there is no spread to test against."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Results of one seed of a network."""

    epochs: Sequence[Epoch]
    is_done: bool
    """Whether the run will have no further epochs."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Differences in error between two networks, paired by seed."""

    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    """Percentage points, one per seed."""
    epoch: int
    """Epoch at which both were measured."""
    is_final: bool
    """Whether all its runs are done and this is their last common epoch."""

    @property
    def num_seeds(self) -> int:
        return len(self.seeds)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.differences)

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None for a single seed."""
        return statistics.stdev(self.differences) if len(self.differences) > 1 else None

    @property
    def t(self) -> float | None:
        """The mean over its standard error; infinite where all seeds differ by the same; None of one seed."""
        if self.std is None:
            return None
        if self.std == 0:
            return math.copysign(math.inf, self.mean) if self.mean else 0.0
        return self.mean / (self.std / math.sqrt(self.num_seeds))

    @property
    def sign(self) -> Sign:
        """Result of a paired one-sided t-test in the observed direction.

        Source: Student 1908, "The probable error of a mean", applied to the paired differences.
        """
        if self.t is None:
            return Sign.ONE_SEED
        quantile = T_QUANTILES[min(self.num_seeds - 1, len(T_QUANTILES)) - 1]
        if abs(self.t) <= quantile:
            return Sign.UNDECIDED
        return Sign.HIGHER if self.mean > 0 else Sign.LOWER


def contrast(higher: Mapping[int, Measured], lower: Mapping[int, Measured], metric: str) -> Contrast | None:
    """Compute the paired differences in error between two networks at their last common epoch.

    Uses only pairs with both runs done if there are any, else all pairs up to the slowest run's epoch.

    Args:
        higher: Runs whose error is the minuend, by seed.
        lower: Runs whose error is subtracted, by seed.
        metric: A field of Epoch, in percent.

    Returns:
        The differences; None without a common seed that has a finite value for both.
    """
    pairs = {seed: (higher[seed], lower[seed]) for seed in sorted(higher.keys() & lower.keys())}
    pairs = {seed: pair for seed, pair in pairs.items() if all(one.epochs for one in pair)}
    done = {seed: pair for seed, pair in pairs.items() if all(one.is_done for one in pair)}
    chosen = done or pairs
    if not chosen:
        return None
    epoch = min(one.epochs[-1].epoch for pair in chosen.values() for one in pair)
    firsts, seconds = (
        {seed: [row for row in pair[side].epochs if row.epoch == epoch] for seed, pair in chosen.items()}
        for side in (0, 1)
    )
    found = contrasts_by_epoch(firsts, seconds, metric)
    return replace(found[0], is_final=bool(done)) if found else None


def contrasts_by_epoch(
    higher: Mapping[int, Sequence[Epoch]], lower: Mapping[int, Sequence[Epoch]], metric: str
) -> list[Contrast]:
    """Compute the paired differences at every epoch that both runs of a pair have, oldest first.

    Args:
        higher: Runs whose error is the minuend, by seed.
        lower: Runs whose error is subtracted, by seed.
        metric: A field of Epoch, in percent.
    """
    by_epoch: dict[int, dict[int, float]] = {}
    for seed in sorted(higher.keys() & lower.keys()):
        subtracted = {row.epoch: getattr(row, metric) for row in lower[seed]}
        for row in higher[seed]:
            value, other = getattr(row, metric), subtracted.get(row.epoch)
            if value is not None and other is not None:
                by_epoch.setdefault(row.epoch, {})[seed] = value - other
    return [
        Contrast(tuple(found), tuple(found.values()), epoch, is_final=False)
        for epoch, found in sorted(by_epoch.items())
    ]
