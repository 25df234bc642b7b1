"""Paired comparison over seeds: the epoch compared, and permitted claims."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from engine.analysis.paired_test import Contrast, Measured, contrast, contrasts_by_epoch, quantile
from engine.runs.journal import Epoch
from tests.recorded_runs import recorded_runs
from tests.samples import an_epoch


def rows(errors: Sequence[float | None]) -> list[Epoch]:
    """Create a run with these training errors, one per epoch."""
    return [
        an_epoch(epoch, train_error_percent=error, test_error_percent=error) for epoch, error in enumerate(errors, 1)
    ]


def measured(*runs: Sequence[float | None], is_done: bool = True) -> dict[int, Measured]:
    return {seed: Measured(rows(errors), is_done) for seed, errors in enumerate(runs)}


def test_mean_and_spread_are_of_differences_by_seed():
    """10, 12 and 14 points by seed are 12 ± 2, however much the seeds differ."""
    found = contrast(measured([20.0], [42.0], [64.0]), measured([10.0], [30.0], [50.0]), "train_error_percent")

    assert found is not None
    assert (found.differences, found.mean, found.std, found.num_seeds) == ((10.0, 12.0, 14.0), 12.0, 2.0, 3)


@pytest.mark.parametrize(
    ("num_seeds", "alpha", "expected"),
    [(2, 0.1, 6.313752), (3, 0.0125, 8.860200), (12, 0.05, 2.200985), (101, 0.05, 1.983972)],
)
def test_quantiles_are_exact_at_every_n(num_seeds: int, alpha: float, expected: float):
    """Values of published tables, also for more seeds than any table of ours had."""
    assert quantile(num_seeds, alpha) == pytest.approx(expected, abs=1e-6)


def test_the_interval_is_the_means_plus_minus_its_quantile():
    """4 ± 2 over three seeds at 5 %: 4.303 standard errors of 2 / sqrt(3) on both sides."""
    found = Contrast(seeds=(0, 1, 2), differences=(2.0, 4.0, 6.0), epoch=1, is_final=True).interval(0.05)

    assert found is not None
    assert (found.low, found.high) == (pytest.approx(4 - 4.9683, abs=1e-4), pytest.approx(4 + 4.9683, abs=1e-4))
    assert Contrast(seeds=(0,), differences=(2.0,), epoch=1, is_final=True).interval(0.05) is None


def test_equal_differences_are_no_closer_than_one_image():
    """Two seeds that agree to the last image may do so by chance; their spread is at least that of rounding."""
    exact = Contrast(seeds=(0, 1), differences=(0.2, 0.2), epoch=1, is_final=True)
    rounded = Contrast(seeds=(0, 1), differences=(0.2, 0.2), epoch=1, is_final=True, unit=0.2)

    assert (exact.t, rounded.t) == (math.inf, pytest.approx(math.sqrt(24)))


def test_runs_are_compared_at_the_same_epoch():
    """The deeper one stopped after two epochs; the other's later progress says nothing about depth."""
    found = contrast(measured([90.0, 90.0]), measured([80.0, 60.0, 20.0]), "train_error_percent")

    assert found is not None
    assert (found.epoch, found.differences, found.is_final) == (2, (30.0,), True)


def test_pairs_that_are_done_decide_before_all_are():
    """With two seeds done and a third just started, the third is left out rather than the others shortened."""
    deep = measured([90.0, 50.0], [90.0, 54.0])
    deep[2] = Measured(rows([89.0]), is_done=False)
    shallow = measured([70.0, 20.0], [70.0, 22.0], [70.0, 21.0])

    found = contrast(deep, shallow, "train_error_percent")

    assert found is not None
    assert (found.seeds, found.epoch, found.differences) == ((0, 1), 2, (30.0, 32.0))
    assert found.is_final
    deep[2] = Measured(rows([89.0]), is_done=False, is_pending=True)
    later = contrast(deep, shallow, "train_error_percent")
    assert later is not None
    assert not later.is_final, "a seed is pending"


def test_seeds_without_a_partner_or_a_number_are_left_out():
    """A seed of only one network, one without an epoch yet, and one with a non-finite error."""
    deep = measured([50.0], [50.0], [None])
    deep[7] = Measured(rows([50.0]), is_done=True)
    shallow = measured([40.0], [], [40.0])

    found = contrast(deep, shallow, "train_error_percent")

    assert found is not None
    assert found.seeds == (0,)
    assert contrast(measured([None]), measured([40.0]), "train_error_percent") is None
    assert contrast({}, measured([40.0]), "train_error_percent") is None


def test_gap_by_epoch_has_the_seeds_of_each_epoch():
    """It grows as runs progress: two seeds in the first epoch, one in the second."""
    found = contrasts_by_epoch(
        {0: rows([50.0, 40.0]), 1: rows([54.0])}, {0: rows([40.0, 20.0]), 1: rows([40.0, 30.0])}, "test_error_percent"
    )

    assert [(one.epoch, one.mean, one.num_seeds) for one in found] == [(1, 12.0, 2), (2, 20.0, 1)]
    assert found[0].std == pytest.approx(math.sqrt(8))


def test_degradation_of_recorded_runs():
    """Plain-44 against plain-8 over three seeds: higher training error at the same epoch, as in He et al."""
    runs = recorded_runs("depths")
    deep, shallow = (
        {seed: Measured(runs[f"{name}-w4-s{seed}"], is_done=True) for seed in range(3)}
        for name in ("he-plain44", "he-plain8")
    )
    found = contrast(deep, shallow, "train_error_percent")

    assert found is not None
    assert found.differences == pytest.approx((11.0, 14.8, 12.8))
    assert found.t == pytest.approx(11.7, abs=0.05)
    alone = contrast({0: deep[0]}, shallow, "train_error_percent")
    assert alone is not None
    assert alone.t is None
