"""Paired comparison of two networks over the same seeds at the same epoch. Pure functions, no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from engine.runs.journal import Epoch


class Sign(StrEnum):
    """Conclusion from differences over seeds."""

    HIGHER = "higher"
    LOWER = "lower"
    UNDECIDED = "undecided"
    """Nothing is claimed: too few seeds, too much variation, seeds pending, or a contrast that is no claim."""
    ONE_SEED = "one seed"
    """With a single seed there is no spread to test against."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Results of one seed of a network."""

    epochs: Sequence[Epoch]
    is_done: bool
    """Whether the run ended with a result and will have no further epochs."""
    is_pending: bool = False
    """Whether the run has not ended yet."""
    created_at: float = 0.0
    """When the run was submitted, in seconds since 1970; seeds submitted together are one batch."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Confidence interval of a mean difference, in percentage points."""

    low: float
    high: float

    def __and__(self, other: Interval) -> Interval:
        """Intersect two intervals; the result is empty where `low` exceeds `high`."""
        return Interval(max(self.low, other.low), min(self.high, other.high))

    @property
    def is_empty(self) -> bool:
        return self.low > self.high


@dataclass(frozen=True, slots=True)
class Contrast:
    """Differences in error between two networks, paired by seed."""

    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    """Percentage points, one per seed."""
    epoch: int
    """Epoch at which both were measured."""
    is_final: bool
    """Whether no run of either network is pending and this is the last common epoch."""
    unit: float = 0.0
    """Smallest difference that can be measured: 100 / number of images; seeds cannot agree better than to that."""

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
    def standard_error(self) -> float | None:
        """Standard error of the mean, at least that of rounding to a unit; None for a single seed."""
        if self.std is None:
            return None
        return max(self.std, self.unit / math.sqrt(12)) / math.sqrt(self.num_seeds)

    @property
    def t(self) -> float | None:
        """The mean over its standard error; infinite where all seeds differ by the same; None of one seed."""
        if (error := self.standard_error) is None:
            return None
        if error == 0:
            return math.copysign(math.inf, self.mean) if self.mean else 0.0
        return self.mean / error

    def interval(self, alpha: float) -> Interval | None:
        """Student's confidence interval of the mean at level 1 - alpha; None of one seed.

        Source: Student 1908, "The probable error of a mean", applied to the paired differences.
        """
        if (error := self.standard_error) is None:
            return None
        half = quantile(self.num_seeds, alpha) * error
        return Interval(self.mean - half, self.mean + half)


def quantile(num_seeds: int, alpha: float) -> float:
    """Two-sided quantile of Student's t for a number of differences: |t| exceeds it with probability alpha."""
    # scipy takes a while to load, which commands that test nothing need not wait for.
    from scipy.special import stdtrit

    return -float(stdtrit(num_seeds - 1, alpha / 2))


def contrast(
    higher: Mapping[int, Measured], lower: Mapping[int, Measured], metric: str, *, unit: float = 0.0
) -> Contrast | None:
    """Compute the paired differences in error between two networks at their last common epoch.

    Uses only pairs with both runs done if there are any, else all pairs up to the slowest run's epoch.

    Args:
        higher: Runs whose error is the minuend, by seed.
        lower: Runs whose error is subtracted, by seed.
        metric: A field of Epoch, in percent.
        unit: Smallest difference that can be measured, in percentage points.

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
    if not (found := contrasts_by_epoch(firsts, seconds, metric)):
        return None
    is_pending = any(one.is_pending for runs in (higher, lower) for one in runs.values())
    return replace(found[0], is_final=bool(done) and not is_pending, unit=unit)


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
