"""Time estimates: from the same network if trained before, else from a probe, else scaled."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.base.paths import Home
from engine.estimates.duration import Pace, Paces, Truth, epoch_seconds, errors_by_source, upper
from engine.index.queries import Reader
from engine.spec.estimate import Source
from engine.spec.precision import Precision
from engine.spec.run import DataSpec
from tests.samples import a_pace, fill_small, sample_spec

SIZES = {"num_train": 50_000, "num_test": 10_000}


def pace(architecture: str = "he-resnet", depth: int = 20, *, step: float = 0.1, torch: str = "2.15") -> Pace:
    """Create a pace with a given step time."""
    return a_pace(
        sample_spec(architecture, depth),
        seconds_per_step=step,
        torch=torch,
        seconds_per_checkpoint=0.5,
        seconds_to_begin=2.0,
        spread=0.01,
    )


def seconds(paces: Paces, depth: int = 20, architecture: str = "he-resnet") -> float:
    estimate = paces.estimate(sample_spec(architecture, depth), Precision.FP32, **SIZES)
    assert estimate is not None
    return estimate.total_seconds


def test_an_epoch_is_its_updates_its_evaluation_and_its_checkpoints():
    """One checkpoint at its end and one per full minute of training."""
    steps = 50_000 / 128

    assert epoch_seconds(pace(), 50_000, 10_000) == pytest.approx(0.1 * steps + 1.0 + 0.5)
    assert epoch_seconds(pace(step=0.5), 50_000, 10_000) == pytest.approx(0.5 * steps + 1.0 + 4 * 0.5)


def test_a_run_is_its_epochs_and_what_the_first_step_takes_longer():
    """164 epochs, as in the reference recipe."""
    assert seconds(Paces(past=[pace()])) == pytest.approx(2 + 164 * (0.1 * 50_000 / 128 + 1.5))


def test_a_validation_set_takes_the_test_sets_place_until_the_end():
    """Fewer training images, fewer evaluated after each epoch, and the test set once."""
    spec = msgspec.structs.replace(sample_spec("he-resnet", 20), data=DataSpec(validation_images=5_000))
    estimate = Paces(past=[pace()]).estimate(spec, Precision.FP32, **SIZES)

    assert estimate is not None
    assert estimate.seconds_per_epoch == pytest.approx(0.1 * 45_000 / 128 + 0.5 + 0.5)
    assert estimate.total_seconds == pytest.approx(2 + 164 * estimate.seconds_per_epoch + 1.0)


def test_past_runs_take_precedence_over_probes_and_probes_over_other_networks():
    """The most thorough measurement takes precedence."""
    spec, other = sample_spec("he-resnet", 20), pace(depth=32)
    everything = Paces(past=[pace(step=0.1), other], probes=[pace(step=0.2)])
    sources = [
        known.estimate(spec, Precision.FP32, **SIZES)
        for known in (everything, Paces(past=[other], probes=[pace(step=0.2)]), Paces(past=[other]), Paces())
    ]

    assert [estimate and estimate.source for estimate in sources] == [
        Source.HISTORY,
        Source.PROBE,
        Source.SCALED,
        None,
    ]
    assert [estimate and estimate.num_runs for estimate in sources] == [1, 0, 1, None]
    assert sources[2] is not None
    assert sources[2].network == "he-resnet32"


def test_estimates_use_the_median_of_runs_and_report_their_spread():
    """One run slowed by a video call does not affect the estimate."""
    known = Paces(past=[pace(step=0.1), pace(step=0.1), pace(step=0.9)])
    spread = known.estimate(sample_spec("he-resnet", 20), Precision.FP32, **SIZES)

    assert seconds(known) == seconds(Paces(past=[pace(step=0.1)]))
    assert spread is not None
    assert spread.error_percent > 100


def test_runs_with_the_torch_of_now_come_before_runs_with_another():
    """A new release may be faster; until a run has used it, older runs count."""
    old, new = pace(step=0.2, torch="2.14"), pace(step=0.1)

    assert seconds(Paces(past=[old, old, new], torch="2.15")) == seconds(Paces(past=[new]))
    assert seconds(Paces(past=[old], torch="2.15")) == seconds(Paces(past=[old]))


def test_time_of_a_deeper_network_is_longer_in_proportion_to_its_work():
    """he-resnet110 has six times the multiply-accumulates of he-resnet20."""
    known = Paces(past=[pace()])

    assert 4 < seconds(known, depth=110) / seconds(known, depth=20) < 7


def test_estimates_scale_the_most_similar_network_preferring_the_same_architecture():
    """Twice the depth is closer than six times; plain networks are scaled from plain ones."""
    known = Paces(past=[pace(depth=110, step=9.0), pace(depth=20), pace("he-plain", 20, step=0.05)])

    assert seconds(known, 32) == seconds(Paces(past=[pace(depth=20)]), 32)
    assert seconds(known, 32, "he-plain") == seconds(Paces(past=[pace("he-plain", 20, step=0.05)]), 32, "he-plain")


def test_another_precision_says_nothing():
    """bf16 may be twice as fast, or slower."""
    assert Paces(past=[pace()]).estimate(sample_spec("he-resnet", 32), Precision.BF16, **SIZES) is None


def test_uncertainty_of_scaling_is_the_error_of_scaling_between_known_networks():
    """Two networks whose times deviate from their work by a factor of two."""
    fair = Paces(past=[pace(depth=20, step=0.1), pace(depth=110, step=0.1 * 6.2)])
    unfair = Paces(past=[pace(depth=20, step=0.1), pace(depth=110, step=0.1 * 3.1)])

    def error(known: Paces) -> float:
        estimate = known.estimate(sample_spec("he-resnet", 56), Precision.FP32, **SIZES)
        assert estimate is not None
        return estimate.error_percent

    assert error(fair) < 5
    assert error(unfair) > 40
    # Equal work with and without shortcuts: their agreement says nothing about depth 56.
    assert error(Paces(past=[pace(), pace("he-plain")])) == 50


def test_truths_replace_the_first_guess_of_how_far_off_an_estimate_is():
    """After three probes were off by 3, 4 and 30 %, the next is stated as within 30 %."""
    known = Paces(probes=[pace()], errors={Source.PROBE: [0.03, 0.30, 0.04]})
    estimate = known.estimate(sample_spec("he-resnet", 20), Precision.FP32, **SIZES)

    assert estimate is not None
    assert estimate.error_percent == pytest.approx(30)


@pytest.mark.parametrize(
    ("errors", "expected"), [([0.5], 0.5), ([1, 2, 3, 4], 4), ([5, 4, 3, 2, 1], 4), (list(range(1, 11)), 8)]
)
def test_four_of_five_errors_are_within_the_bound(errors: list[float], expected: float):
    """Of fewer than five, all are."""
    assert upper(errors) == expected


def test_an_error_is_relative_to_the_truth():
    """Half the time and twice the time are different relative errors."""
    estimate = Paces(past=[pace()]).estimate(sample_spec("he-resnet", 20), Precision.FP32, **SIZES)
    assert estimate is not None
    expected = msgspec.structs.replace(estimate, total_seconds=100.0)
    truths = [Truth(run="a", estimate=expected, seconds=200.0), Truth(run="b", estimate=expected, seconds=50.0)]

    assert errors_by_source(truths) == {Source.HISTORY: [0.5, 1.0]}


def test_the_pace_of_past_runs_is_read_from_the_index(tmp_path: Path):
    """51 seconds per epoch, about 50 of them training: the estimate reproduces the measurement."""
    home = Home(tmp_path / "home").create()
    fill_small(home)
    with Reader(home.database) as reader:
        paces = [found for found in reader.paces() if found.workload.model.depth == 20]
    estimate = Paces(past=paces).estimate(sample_spec("he-plain", 20), Precision.FP32, **SIZES)

    assert {found.device_name for found in paces} == {"a processor"}
    assert estimate is not None
    assert estimate.seconds_per_epoch == pytest.approx(51.0)
    assert estimate.source is Source.HISTORY
