"""Paired comparison over seeds: the epoch compared, and permitted claims."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from engine.analysis.paired_test import Measured, Sign, contrast, contrasts_by_epoch
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
    assert found.sign is Sign.HIGHER


@pytest.mark.parametrize(
    ("differences", "sign"),
    [
        ([30.0], Sign.ONE_SEED),
        ([1.0, 3.0], Sign.UNDECIDED),  # mean 2, t = 2; significance needs 6.3
        ([2.0, 2.2], Sign.HIGHER),
        ([-2.0, -2.2, -1.9], Sign.LOWER),
        ([0.0, 0.0, 0.0], Sign.UNDECIDED),
        ([1.0, -1.0, 4.0], Sign.UNDECIDED),
    ],
)
def test_what_may_be_claimed(differences: list[float], sign: Sign):
    """Only what the seeds agree on, by a paired t-test at 5 %; one seed decides nothing."""
    deep, shallow = measured(*([50 + one] for one in differences)), measured(*([50.0] for _ in differences))
    found = contrast(deep, shallow, "train_error_percent")

    assert found is not None
    assert found.sign is sign


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
    assert found.sign is Sign.HIGHER
    alone = contrast({0: deep[0]}, shallow, "train_error_percent")
    assert alone is not None
    assert (alone.t, alone.sign) == (None, Sign.ONE_SEED)
