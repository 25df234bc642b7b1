"""Two networks held against each other over the same seeds, at the same epoch; torch-free, pure functions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine.runs.run import EpochRow

SIGNIFICANCE = 0.05
"""How often a difference that is none would be claimed."""
T_QUANTILES = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)
"""Of Student's t, one-sided at SIGNIFICANCE, by degrees of freedom from 1; beyond the last, the last, which claims
less."""


class Sign(StrEnum):
    """What differences over seeds allow to be said."""

    HIGHER = "higher"
    LOWER = "lower"
    UNDECIDED = "undecided"
    """The seeds are too few, or differ among themselves by too much, for the test to tell."""
    ONE_SEED = "one seed"
    """There is no spread to hold the difference against, so nothing is claimed."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one seed of a network has shown."""

    epochs: Sequence[EpochRow]
    is_done: bool
    """Whether there will be no further epoch of which the result is to be waited for."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """How much higher an error of one network is than that of another: differences of pairs with the same seed."""

    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    """In percentage points, a seed each."""
    epoch: int
    """At which both were measured."""
    is_final: bool
    """Whether every run in it is done, and this is the last epoch that all of them have."""

    @property
    def num_seeds(self) -> int:
        return len(self.seeds)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.differences)

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None of one seed."""
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
        """What may be claimed, by a paired one-sided t-test in the direction that was found.

        Source: Student 1908, "The probable error of a mean", with the differences of pairs as the sample.
        """
        if self.t is None:
            return Sign.ONE_SEED
        quantile = T_QUANTILES[min(self.num_seeds - 1, len(T_QUANTILES)) - 1]
        if abs(self.t) <= quantile:
            return Sign.UNDECIDED
        return Sign.HIGHER if self.mean > 0 else Sign.LOWER


def contrast(higher: Mapping[int, Measured], lower: Mapping[int, Measured], metric: str) -> Contrast | None:
    """What one network's error exceeds another's by, over the seeds that both have, all at one epoch.

    Pairs of which both runs are done decide as soon as there is one; before, all pairs as far as the slowest has come.

    Args:
        higher: From whose error is subtracted, by seed.
        lower: Whose error is subtracted, by seed.
        metric: A field of EpochRow, in percent.

    Returns:
        None where no seed of both has an epoch in which the metric was finite.
    """
    pairs = {seed: (higher[seed], lower[seed]) for seed in sorted(higher.keys() & lower.keys())}
    pairs = {seed: pair for seed, pair in pairs.items() if all(one.epochs for one in pair)}
    done = {seed: pair for seed, pair in pairs.items() if all(one.is_done for one in pair)}
    chosen = done or pairs
    if not chosen:
        return None
    epoch = min(one.epochs[-1].epoch for pair in chosen.values() for one in pair)
    found = {seed: difference(first, second, epoch, metric) for seed, (first, second) in chosen.items()}
    kept = {seed: value for seed, value in found.items() if value is not None}
    if not kept:
        return None
    return Contrast(tuple(kept), tuple(kept.values()), epoch, is_final=bool(done))


def difference(first: Measured, second: Measured, epoch: int, metric: str) -> float | None:
    """A metric of the first minus that of the second after an epoch; None where one of them was not finite."""
    values = [at_epoch(one.epochs, epoch, metric) for one in (first, second)]
    return None if values[0] is None or values[1] is None else values[0] - values[1]


def at_epoch(epochs: Sequence[EpochRow], epoch: int, metric: str) -> float | None:
    """A metric of one epoch; None where it was not measured or not finite."""
    value: float | None = next((getattr(row, metric) for row in reversed(epochs) if row.epoch == epoch), None)
    return value


def contrasts_by_epoch(
    higher: Mapping[int, Sequence[EpochRow]], lower: Mapping[int, Sequence[EpochRow]], metric: str
) -> list[Contrast]:
    """The same difference after every epoch that a pair of seeds has behind it, oldest first.

    Args:
        higher: From whose error is subtracted, by seed.
        lower: Whose error is subtracted, by seed.
        metric: A field of EpochRow, in percent.
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
