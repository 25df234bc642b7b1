"""Claims over looks: when a look happens, what it may spend, and that error rates hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.analysis.paired_test import Interval, Measured, Sign
from engine.analysis.sequential_test import Looks, Share, alpha_of_look, batch_ends, look_at
from tests.benchmarks.claims import NUM_SEEDS, TRUTHS, WAYS, Seen, anytime_critical, critical, false_claims, power
from tests.samples import an_epoch

FIRST, SECOND = Share(1, 100.0, 0.0125), Share(2, 200.0, 0.003125)


def runs(*errors: float | None, at: float = 100.0, first_seed: int = 0, **changes: bool) -> dict[int, Measured]:
    """Create runs of one epoch with these training errors; None is pending."""
    return {
        seed: Measured(
            [] if error is None else [an_epoch(1, train_error_percent=error, at=at + 50)],
            is_done=error is not None,
            is_pending=error is None,
            created_at=at,
        )
        for seed, error in enumerate(errors, first_seed)
    }


def looked(deep: dict[int, Measured], shallow: dict[int, Measured], *shares: Share) -> Looks:
    return look_at(deep, shallow, "train_error_percent", shares or (FIRST, SECOND), num_claims=2, next_alpha=0.003)


@pytest.mark.parametrize(
    ("differences", "sign"),
    [
        ((30.0,), Sign.UNDECIDED),
        ((2.0, 2.2), Sign.UNDECIDED),  # t = 21; two seeds and two claims ask for 50.9
        ((10.0, 12.0, 14.0), Sign.HIGHER),  # t = 10.4; three seeds ask for 8.86
        ((-10.0, -12.0, -14.0), Sign.LOWER),
        ((10.0, 12.0, 15.0), Sign.UNDECIDED),  # t = 8.5
        ((0.0, 0.0, 0.0), Sign.UNDECIDED),
    ],
)
def test_what_may_be_claimed_at_the_first_look(differences: tuple[float, ...], sign: Sign):
    """A gap many times its spread, in either direction; the interval excludes zero exactly then."""
    found = looked(runs(*(50 + one for one in differences)), runs(*(50.0 for _ in differences)))

    assert found.sign is sign
    assert len(found.looks) == (len(differences) > 1)
    interval = found.interval
    if interval is not None:
        assert (interval.low > 0, interval.high < 0) == (sign is Sign.HIGHER, sign is Sign.LOWER)


def test_a_look_happens_when_its_batch_is_complete():
    """Until then nothing is claimed, whoever looks; a diverged run has ended, too."""
    shallow = runs(50.0, 50.0, 50.0, 50.0)
    pending = looked(runs(60.0, 62.0, 64.0, None), shallow)
    assert (pending.looks, pending.num_pending, pending.sign) == ((), 1, Sign.UNDECIDED)

    diverged = runs(60.0, 62.0, 64.0) | {3: Measured([], is_done=False, created_at=100.0)}
    assert looked(diverged, shallow).sign is Sign.HIGHER


def test_a_claim_stands_when_later_seeds_are_added():
    """While they train, and when they scatter; the interval is what all looks leave."""
    deep, shallow = runs(60.0, 62.0, 64.0), runs(*[50.0] * 3)
    first = looked(deep, shallow)
    waiting = looked(deep | runs(None, at=200.0, first_seed=3), shallow | runs(50.0, at=200.0, first_seed=3))
    later = looked(deep | runs(80.0, 52.0, at=200.0, first_seed=3), shallow | runs(50.0, 50.0, at=200.0, first_seed=3))

    assert first.sign is waiting.sign is later.sign is Sign.HIGHER
    assert (len(waiting.looks), waiting.num_pending) == (1, 1)
    assert [look.sign for look in later.looks] == [Sign.HIGHER, Sign.UNDECIDED]
    assert first.looks[0].interval == later.looks[0].interval == later.interval
    assert later.looks[1].contrast.num_seeds == 5
    assert later.shown is later.looks[1]


def test_looks_that_contradict_each_other_say_so():
    """Later seeds trained otherwise: the newest look's interval is given."""
    first = runs(60.0, 60.1, 60.2) | runs(*[51.0] * 40, at=200.0, first_seed=3)
    found = looked(first, {seed: runs(50.0, at=one.created_at)[0] for seed, one in first.items()})

    assert found.looks_disagree
    assert found.interval == found.looks[1].interval
    assert (Interval(0, 1) & Interval(2, 3)).is_empty


def test_a_look_without_new_seeds_is_none():
    """A batch of other networks, or of one network alone."""
    deep, shallow = runs(60.0, 62.0, 64.0), runs(*[50.0] * 3)

    assert len(looked(deep | runs(60.0, at=200.0, first_seed=9), shallow).looks) == 1


def test_a_claim_of_another_epoch_keeps_its_numbers():
    """A later seed that stopped early shortens the comparison; the claim was about the full length."""
    two = [an_epoch(epoch, train_error_percent=60.0 + 0.1 * epoch) for epoch in (1, 2)]
    deep = {seed: Measured(two, is_done=True, created_at=100.0) for seed in range(3)}
    shallow = {
        seed: Measured(
            [an_epoch(epoch, train_error_percent=50.0 + seed) for epoch in (1, 2)], is_done=True, created_at=100.0
        )
        for seed in range(3)
    }
    deep |= runs(90.0, at=200.0, first_seed=3)
    shallow |= runs(90.0, at=200.0, first_seed=3)
    found = looked(deep, shallow)

    assert [look.contrast.epoch for look in found.looks] == [2, 1]
    assert found.shown is found.looks[0]
    assert found.interval == found.looks[0].interval


def test_batches_are_submissions():
    """Older versions stamped every run; one that is made before any result is part of the first."""

    def made(at: float, *, result_at: float | None = None) -> Measured:
        return Measured([] if result_at is None else [an_epoch(1, at=result_at)], is_done=True, created_at=at)

    assert batch_ends([made(0.0, result_at=5.0), made(0.3), made(9.0)]) == [9.0]
    assert batch_ends([made(0.0, result_at=500.0), made(100.0), made(600.0)]) == [100.0, 600.0]
    assert batch_ends([made(0.0, result_at=50.0), made(100.0), made(100.0)]) == [0.0, 100.0]
    assert batch_ends([]) == []


def test_all_looks_together_spend_less_than_five_percent():
    """Two thirds of it, to leave room for sizes of batches that are chosen by the results."""
    assert [alpha_of_look(look) for look in (1, 2, 3)] == pytest.approx([0.025, 0.00625, 0.0015625])
    assert sum(map(alpha_of_look, range(1, 99))) == pytest.approx(0.1 / 3)


def test_seeds_to_add_is_an_estimate_with_a_range():
    """Three times the spread needs more than three seeds and few more; noise is not worth a number."""
    some = looked(runs(57.0, 60.0, 63.0), runs(50.0, 50.0, 50.0)).seeds_to_add()
    noise = looked(runs(50.1, 60.0, 40.0), runs(50.0, 50.0, 50.0))

    assert some is not None
    estimate, least, most = some
    assert least is not None
    assert 1 <= least <= estimate <= (most or math.inf)
    assert (estimate, most) == (2, 10)
    assert noise.seeds_to_add() is None
    assert looked(runs(60.0, 62.0, 64.0), runs(50.0, 50.0, 50.0)).seeds_to_add() is None, "decided"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("truth", TRUTHS, ids=["one claim", "three claims", "one of three true"])
def test_false_claims_are_rarer_than_five_percent(way: str, truth: tuple[float, ...]):
    """In any of 20,000 simulated experiments each, however seeds are added; see the benchmark for all figures."""
    trials, rng = 20_000, np.random.default_rng(7)
    for first in NUM_SEEDS:
        rate = false_claims("sequential", way, first, truth, rng, trials)
        assert 0.005 < rate <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_what_is_simulated_is_what_is_tested():
    """Claims of the simulation and of `look_at`, on the same differences: two looks, two claims."""
    rng = np.random.default_rng(3)
    num_claims = 0
    for _ in range(300):
        x = rng.standard_normal((5, 1)) + 6.0
        seen = [Seen(np.array([[n]]), x[:n].sum(0)[None], ((x[:n] - x[:n].mean()) ** 2).sum(0)[None]) for n in (3, 5)]
        simulated = [
            bool(np.abs(one.t) > critical("sequential", one.n, look, 2, 3)) for look, one in enumerate(seen, 1)
        ]
        errors = [50 + float(one) for one in x[:, 0]]
        found = looked(
            runs(*errors[:3]) | runs(*errors[3:], at=200.0, first_seed=3),
            runs(*[50.0] * 3) | runs(*[50.0] * 2, at=200.0, first_seed=3),
        )
        assert [look.sign is not Sign.UNDECIDED for look in found.looks] == simulated
        num_claims += any(simulated)
    assert 50 < num_claims < 300


def test_a_test_in_the_direction_observed_at_every_look_is_wrong_far_more_often():
    """What the rule replaces, in the same simulation."""
    assert false_claims("one-sided", "batches", 3, (0.0,), np.random.default_rng(7), 10_000) > 0.15


def test_power_at_three_seeds():
    """A gap of ten standard deviations is found nearly always, one of two hardly ever, and sooner than at any time."""
    rng = np.random.default_rng(7)
    large, small, anytime = (
        power(rule, 3, gap, 2, rng, 10_000) for rule, gap in (("sequential", 10), ("sequential", 2), ("anytime", 10))
    )

    assert large > 0.95
    assert small < 0.2
    assert anytime < large
    assert anytime_critical(3, 0.025, 3) == pytest.approx(10.84, abs=0.01)
