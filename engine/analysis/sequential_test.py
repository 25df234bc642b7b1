"""Claims that stay valid while seeds are added: a group-sequential, two-sided paired t-test.

A comparison makes few claims, which are fixed beforehand. Any of them is wrong in at most 5 % of experiments, however
often seeds are added and however many:

- Look k at the data spends 0.1 / 4**k of that: 2.5 %, 0.625 %, 0.16 %, …, 3.3 % in all (alpha spending: Lan and DeMets
  1983, "Discrete sequential boundaries for clinical trials"). The rest covers choosing the number of added seeds by the
  results so far, which can double the error of a later look (Proschan and Hunsberger 1995, "Designed extension of
  studies based on conditional power"). Shares of 0.05 / 2**k would leave no room for that: 5.2 % in the simulation.
- Within a look, each of m claims gets an equal share (Bonferroni). Holm's procedure claims more, but has no intervals
  that agree with its claims.
- A look is a batch of seeds that is complete. It uses every pair of seeds of this batch and of earlier ones, and is
  computed from the final results alone, so it does not matter who looked when.
- A claim made at any look stands, and its interval is the intersection of the intervals of all looks.

Batches are submissions. A submission made before any earlier run of the comparison had completed an epoch belongs to
the same batch, because no result can have led to it. An imported run keeps the time of its submission. A retried or
resumed run stays in its batch, whose look then waits for it again. A seed that only one network has belongs to the
batch in which the other network gets it.

`tests/benchmarks/claims.py` confirms the error rates by simulation, beside the alternatives.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.analysis.paired_test import Contrast, Interval, Measured, Sign, contrast, quantile

ALPHA = 0.05
"""Probability that any claim of a comparison is wrong, at most."""
SECONDS_OF_A_SUBMISSION = 10.0
"""Runs submitted within this time of each other are one batch: earlier versions stamped each run of a submission."""
MOST_SEEDS_TO_ADD = 30
"""More seeds than this are never suggested."""
STD_ALPHA = 0.2
"""The range of an estimated number of seeds comes from an 80 % interval of the standard deviation."""


def alpha_of_look(look: int) -> float:
    """Probability of any wrong claim that a look spends, for looks 1, 2, …"""
    return 0.1 * 0.25**look


@dataclass(frozen=True, slots=True)
class Share:
    """What a claim may spend at a look."""

    look: int
    until: float
    """When the last run of the look's batch was submitted."""
    alpha: float
    """Probability of a wrong claim: the look's, divided among all claims."""


@dataclass(frozen=True, slots=True)
class Look:
    """Test of one claim on all seeds up to a complete batch."""

    share: Share
    contrast: Contrast
    interval: Interval

    @property
    def sign(self) -> Sign:
        if self.interval.low > 0:
            return Sign.HIGHER
        return Sign.LOWER if self.interval.high < 0 else Sign.UNDECIDED


@dataclass(frozen=True, slots=True)
class Looks:
    """Result of all looks at one claim so far."""

    looks: tuple[Look, ...]
    """Looks that have happened, oldest first; each has two seeds or more."""
    num_claims: int
    """Claims of the comparison, which share the error of each look."""
    next_alpha: float
    """What this claim may spend at the next look."""
    num_pending: int
    """Seeds whose runs have not ended in both networks; 0 if every look has happened."""

    @property
    def deciding(self) -> Look | None:
        """First look that decided the claim; None while it is undecided."""
        return next((look for look in self.looks if look.sign is not Sign.UNDECIDED), None)

    @property
    def sign(self) -> Sign:
        """What may be claimed; a claim of an earlier look stands."""
        return Sign.UNDECIDED if self.deciding is None else self.deciding.sign

    @property
    def shown(self) -> Look | None:
        """Look whose numbers are shown: the newest, unless it measured another epoch than the one that decided."""
        if not self.looks:
            return None
        newest, deciding = self.looks[-1], self.deciding
        if deciding is None or newest.contrast.epoch == deciding.contrast.epoch:
            return newest
        return deciding

    @property
    def interval(self) -> Interval | None:
        """Interval that agrees with the claim: the intersection over all looks at the epoch shown; None before a look.

        If the looks contradict each other, which happens in less than 5 % of experiments unless the seeds of a later
        batch were trained otherwise, the newest look's interval is given and `looks_disagree` is true.
        """
        if (shown := self.shown) is None:
            return None
        met = self._intersection(shown)
        return shown.interval if met.is_empty else met

    @property
    def looks_disagree(self) -> bool:
        """Whether the intervals of the looks have nothing in common."""
        return (shown := self.shown) is not None and self._intersection(shown).is_empty

    def _intersection(self, shown: Look) -> Interval:
        met = Interval(-math.inf, math.inf)
        for look in self.looks:
            if look.contrast.epoch == shown.contrast.epoch:
                met &= look.interval
        return met

    def seeds_to_add(self) -> tuple[int, int | None, int | None] | None:
        """Estimate how many more seeds would decide the claim at the next look, and the range of that estimate.

        Assumes that the mean difference stays as it is. The range is what the uncertainty of the standard deviation
        leaves; that of the mean comes on top of it.

        Returns:
            The estimate, its lower and its upper end, where None is more than `MOST_SEEDS_TO_ADD`; None if the claim is
            decided, seeds are pending, or more seeds than that would be needed.
        """
        if self.num_pending or not self.looks or self.sign is not Sign.UNDECIDED:
            return None
        found = self.looks[-1].contrast
        error = found.standard_error
        if not error or not found.mean:
            return None
        from scipy.special import chdtri

        n, alpha = found.num_seeds, self.next_alpha
        size, df = abs(found.mean) / (error * math.sqrt(n)), n - 1
        # Quantiles of chi-squared; chdtri takes the probability of the upper tail.
        shrunk, grown = (math.sqrt(df / float(chdtri(df, tail))) for tail in (STD_ALPHA / 2, 1 - STD_ALPHA / 2))
        estimate = enough(size, n, alpha)
        return None if estimate is None else (estimate, enough(size / shrunk, n, alpha), enough(size / grown, n, alpha))


def enough(size: float, num_seeds: int, alpha: float) -> int | None:
    """Find how many seeds to add until a mean of so many standard deviations is significant; None if too many."""
    for added in range(1, MOST_SEEDS_TO_ADD + 1):
        if size * math.sqrt(num_seeds + added) >= quantile(num_seeds + added, alpha):
            return added
    return None


def look_at(
    higher: Mapping[int, Measured],
    lower: Mapping[int, Measured],
    metric: str,
    shares: Sequence[Share],
    *,
    num_claims: int = 1,
    next_alpha: float = ALPHA,
    unit: float = 0.0,
) -> Looks:
    """Test a claim at every look that has happened.

    Args:
        higher: Runs whose error is the minuend, by seed.
        lower: Runs whose error is subtracted, by seed.
        metric: A field of Epoch, in percent.
        shares: Looks at this claim, oldest first.
        num_claims: Number of claims that the comparison makes.
        next_alpha: What the claim may spend at the look after these.
        unit: Smallest difference that can be measured, in percentage points.
    """
    everything = [*higher.values(), *lower.values()]
    looks: list[Look] = []
    for share in shares:
        if any(one.is_pending for one in everything if one.created_at <= share.until):
            break
        found = contrast(done_until(higher, share.until), done_until(lower, share.until), metric, unit=unit)
        interval = None if found is None else found.interval(share.alpha)
        # A look without another pair of seeds has nothing to test.
        if found is not None and interval is not None and not (looks and looks[-1].contrast.seeds == found.seeds):
            looks.append(Look(share, found, interval))
    pending = {seed for runs in (higher, lower) for seed, one in runs.items() if one.is_pending}
    return Looks(tuple(looks), num_claims, next_alpha, len(pending))


def done_until(runs: Mapping[int, Measured], until: float) -> dict[int, Measured]:
    """Return the runs with a result that were submitted up to a moment."""
    return {seed: one for seed, one in runs.items() if one.is_done and one.created_at <= until}


def batch_ends(runs: Iterable[Measured]) -> list[float]:
    """Find when the last run of each batch was submitted, oldest first."""
    ends: list[float] = []
    first_result = math.inf
    for run in sorted(runs, key=lambda one: one.created_at):
        if not ends or (run.created_at - ends[-1] > SECONDS_OF_A_SUBMISSION and first_result <= run.created_at):
            ends.append(run.created_at)
        ends[-1] = run.created_at
        if run.epochs:
            first_result = min(first_result, run.epochs[0].at)
    return ends
