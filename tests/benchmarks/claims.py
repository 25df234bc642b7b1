"""False claims and power of rules for claims, by simulation: `uv run python -m tests.benchmarks.claims [--json]`.

Differences between seeds are normal with a standard deviation of one. Three rules:

- `sequential`: the rule of `engine.analysis.sequential_test`: two-sided t-tests at complete batches, alpha spending
  over looks (Lan and DeMets 1983), Bonferroni over claims. Chosen, because of the two rules that hold 5 % it asks for
  the smaller gap at few seeds.
- `anytime`: a confidence sequence for the t statistic with the flat mixture of Lai 1976 ("On confidence sequences",
  Annals of Statistics 4; Wang and Ramdas 2023, "Anytime-valid t-tests and confidence sequences for Gaussian means with
  unknown variance", arXiv:2310.03722). It begins at the first batch and may be looked at after every seed.
- `halving`: as `sequential`, but each look spends half of the one before, 5 % in all.
- `one-sided`: a 5 % t-test in the direction observed, for every claim at every look. Does not hold 5 %.

False claims are familywise: the percentage of experiments with any wrong claim. Seeds are added twice, or up to the
eighth look:

- `batches`: as many as at first.
- `each seed`: one at a time, until there are three times as many as at first, with a look after each.
- `chosen`: as many as make a claim most probable after the results so far: the worst that anyone does who adds batches.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr

from engine.analysis.paired_test import quantile
from engine.analysis.sequential_test import ALPHA, alpha_of_look

TRIALS = 100_000
NUM_SEEDS = (2, 3, 5, 10)
GAPS = (2.0, 5.0, 10.0, 30.0)
"""True differences, in standard deviations between seeds."""
RULES = ("sequential", "anytime", "one-sided")
WAYS = ("batches", "each seed", "chosen")
SIZES = (1, 2, 3, 5, 8, 12, 20, 40, 100, 300)
"""Numbers of seeds that may be chosen."""
TRUTHS = ((0.0,), (0.0, 0.0, 0.0), (5.0, 0.0, 0.0))
"""True differences of the claims of an experiment."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """Sufficient statistics of the differences so far: number of seeds by trial; sum and squares by trial and claim."""

    n: Integers
    total: Floats
    within: Floats
    """Sum of squares about the mean."""

    @property
    def t(self) -> Floats:
        """Student's t of every claim, with its sign."""
        found: Floats = self.total / np.sqrt(self.n * self.within / (self.n - 1))
        return found

    def more(self, rng: np.random.Generator, sizes: Integers, truth: Floats) -> Seen:
        """Add seeds to every trial, as many as its entry of `sizes`."""
        shape = (len(sizes), len(truth))
        total = sizes * truth + np.sqrt(sizes) * rng.standard_normal(shape)
        within = 2 * rng.standard_gamma(np.broadcast_to((sizes - 1) / 2, shape))
        n = self.n + sizes
        between = n * sizes * self.n * (self.total / np.maximum(self.n, 1) - total / sizes) ** 2 / n**2
        return Seen(n, self.total + total, self.within + within + between)


def critical(rule: str, n: Integers, look: int, num_claims: int, first: int) -> Floats:
    """|t| that a claim must exceed, for every number of seeds in `n`."""
    spent = {"sequential": alpha_of_look(look), "halving": ALPHA / 2**look}
    alpha = spent[rule] / num_claims if rule in spent else 2 * ALPHA
    values = {
        number: anytime_critical(number, ALPHA / num_claims, first) if rule == "anytime" else quantile(number, alpha)
        for number in map(int, np.unique(n))
    }
    return np.array([values.get(number, math.inf) for number in range(int(n.max()) + 1)])[n]


def anytime_critical(n: int, alpha: float, first: int) -> float:
    """|t| at which Lai's sequence that began at `first` seeds excludes zero after n seeds.

    The mixture over all effects is M_n = sqrt(2 pi / n) (1 + t² / (n - 1))^(n / 2).
    """
    threshold = (1 + lai_crossing(first, alpha) ** 2 / (first - 1)) ** first / first
    return math.sqrt((n - 1) * ((threshold * n) ** (1 / n) - 1))


def lai_crossing(first: int, alpha: float) -> float:
    """Solve P(|T| > c) + 2 c f(c) = alpha, for T with first - 1 degrees of freedom and density f."""
    df = first - 1
    scale = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)
    low, high = 1.0, 1e6
    for _ in range(100):
        c = math.sqrt(low * high)
        spent = 2 * float(stdtr(df, -c)) + 2 * c * scale * (1 + c * c / df) ** (-(df + 1) / 2)
        low, high = (c, high) if spent > alpha else (low, c)
    return high


def worst_sizes(rule: str, seen: Seen, look: int, first: int) -> Integers:
    """Choose for every trial how many seeds make a claim most probable at the next look, knowing the true spread."""
    chances = []
    for size in SIZES:
        n = seen.n + size
        needed = critical(rule, n, look, seen.total.shape[1], first) * np.sqrt(n * (seen.within + size) / (n - 1))
        chances.append(ndtr((np.abs(seen.total) - needed) / math.sqrt(size)).max(axis=1))
    return np.array(SIZES)[np.argmax(chances, axis=0)][:, None]


def false_claims(
    rule: str,
    way: str,
    first: int,
    truth: Sequence[float],
    rng: np.random.Generator,
    trials: int,
    *,
    num_looks: int = 3,
) -> float:
    """Simulate experiments; return the share with a claim about something without a true difference."""
    means = np.array(truth)
    nothing = Seen(np.zeros((trials, 1), np.int64), np.zeros((trials, len(truth))), np.zeros((trials, len(truth))))
    seen = nothing.more(rng, np.full((trials, 1), first), means)
    is_wrong = np.zeros(trials, bool)
    num_looks = 1 + 2 * first if way == "each seed" else num_looks
    for look in range(1, num_looks + 1):
        if look > 1:
            if way == "chosen":
                sizes = worst_sizes(rule, seen, look, first)
            else:
                sizes = np.full((trials, 1), 1 if way == "each seed" else first)
            seen = seen.more(rng, sizes, means)
        claimed = np.abs(seen.t) > critical(rule, seen.n, look, len(truth), first)
        is_wrong |= claimed[:, means == 0].any(axis=1)
    return float(is_wrong.mean())


def power(rule: str, first: int, gap: float, num_claims: int, rng: np.random.Generator, trials: int) -> float:
    """Simulate the first look; return the share of experiments that claim a true difference."""
    nothing = Seen(np.zeros((trials, 1), np.int64), np.zeros((trials, 1)), np.zeros((trials, 1)))
    seen = nothing.more(rng, np.full((trials, 1), first), np.array([gap]))
    return float((seen.t > critical(rule, seen.n, 1, num_claims, first)).mean())


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rng, began = np.random.default_rng(0), time.perf_counter()
    errors = [
        {"rule": rule, "way": way, "truth": truth, "by_seeds": {
            first: false_claims(rule, way, first, truth, rng, options.trials) for first in NUM_SEEDS
        }}
        for rule in RULES for way in WAYS for truth in TRUTHS
    ]  # fmt: skip
    errors += [
        {"rule": rule, "way": "chosen, 8 looks", "truth": TRUTHS[0], "by_seeds": {
            first: false_claims(rule, "chosen", first, TRUTHS[0], rng, options.trials, num_looks=8)
            for first in NUM_SEEDS
        }}
        for rule in ("sequential", "halving")
    ]  # fmt: skip
    powers = [
        {"rule": rule, "num_claims": num_claims, "gap": gap, "by_seeds": {
            first: power(rule, first, gap, num_claims, rng, options.trials) for first in NUM_SEEDS
        }}
        for rule in RULES for num_claims in (1, 2, 3) for gap in GAPS
    ]  # fmt: skip
    seconds = time.perf_counter() - began
    if options.json:
        print(json.dumps({"trials": options.trials, "seconds": seconds, "errors": errors, "powers": powers}, indent=2))
        return
    print(f"{options.trials:,} trials a cell, {seconds:.0f} s; all in percent\n")
    seeds = "".join(f"{f'n={first}':>8}" for first in NUM_SEEDS)
    print(f"{'false claims':<12}{'seeds added':<18}{'claims':<16}{seeds}")
    for row in errors:
        claims = f"{len(row['truth'])}" + (", one true" if any(row["truth"]) else "")
        print(f"{row['rule']:<12}{row['way']:<18}{claims:<16}" + cells(row["by_seeds"]))
    print(f"\n{'power':<12}{'claims':<12}{'gap':<16}{seeds}")
    for row in powers:
        print(f"{row['rule']:<12}{row['num_claims']:<12}{row['gap']:<16g}" + cells(row["by_seeds"]))
    print(f"\n{'|t| needed':<12}{'claims':<28}{seeds}")
    for rule in RULES:
        for num_claims in (1, 2, 3):
            needed = [float(critical(rule, np.array([first]), 1, num_claims, first)[0]) for first in NUM_SEEDS]
            print(f"{rule:<12}{num_claims:<28}" + "".join(f"{one:>8.2f}" for one in needed))


def cells(by_seeds: dict[int, float]) -> str:
    """Format percentages in columns."""
    return "".join(f"{100 * one:>8.2f}" for one in by_seeds.values())


if __name__ == "__main__":
    main()
