"""Early stopping of runs that do not learn: when it applies, its message, and resuming."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.analysis.early_stopping import describe_stop, epochs_to_judge, reason_to_stop
from engine.analysis.learning import ConstantPredictor, window
from engine.runs.journal import AnyEvent, Epoch, JournalWriter, read_events
from engine.spec.recipes import Recipe, recipe
from engine.spec.run import RunSpec, StopRule
from models.catalog import model_spec
from tests.samples import an_epoch

FLAT = 2.31
"""Within 1 % of ln 10."""
STEPS_PER_EPOCH = 391
GUESS = ConstantPredictor.of([5000] * 10, 10)
PATIENCE = 17
"""Window of the reference recipe on CIFAR-10."""


def spec(stop_when: StopRule | None = StopRule.NOT_LEARNING) -> RunSpec:
    return RunSpec(model=model_spec("he-plain", 56), recipe=recipe("reference"), stop_when=stop_when)


def epoch(number: int, loss: float | None) -> Epoch:
    errors = {"train_error_percent": 90.0, "test_error_percent": 90.0}
    step = STEPS_PER_EPOCH * number
    return an_epoch(number, step=step, train_loss=loss, test_loss=loss, seconds=60.0, **errors)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def write(journal: Path, *events: AnyEvent) -> None:
    writer = JournalWriter.open(journal)
    for event in events:
        writer.append(event)
    writer.close()


def test_stops_after_a_window_without_learning():
    """One epoch less might still be a slow start; savings are given in epochs and their median time."""
    rows = {number: epoch(number, FLAT) for number in range(1, PATIENCE + 1)}
    stopped = reason_to_stop(spec(), rows, GUESS)

    assert stopped is not None
    assert describe_stop(stopped, spec()) == (
        "not learning: loss is no better than guessing (ln 10 = 2.303) for 17 epochs; stopped at epoch 17 of 164,"
        " which saves 147 epochs (about 2h27)"
    )
    del rows[1]
    assert reason_to_stop(spec(), rows, GUESS) is None


@pytest.mark.parametrize(
    ("used", "steps_per_epoch", "epochs"),
    [
        (recipe("reference"), 391, 17),
        (recipe("reference", epochs=400), 391, 40),
        (recipe("reference", drops=(0.2, 0.75)), 391, 15),
        (recipe("reference", warmup_rate=0.01, warmup_steps=30 * 391), 391, 30),
        (recipe("reference"), 8, 50),
        (recipe("constant"), 391, 33),
        (recipe("quick"), 391, 15),
        (recipe("reference", schedule="cosine", epochs=200), 391, 21),
        (recipe("reference", epochs=10**9), 391, 10**8),
    ],
)
def test_window_grows_with_the_schedule_and_holds_a_warmup(used: Recipe, steps_per_epoch: int, epochs: int):
    """A fifth of the epochs before the rate falls, at least 15 epochs, 400 updates and the recipe's warm-up."""
    assert window(used, steps_per_epoch=steps_per_epoch) == pytest.approx(epochs, rel=2e-3)


def test_constant_predictor_of_unbalanced_classes():
    """Its loss is the entropy of the frequencies, its error all but the largest class; absent classes add nothing."""
    guess = ConstantPredictor.of([160, 20, 20, 0], 4)

    assert (guess.loss, guess.error_percent) == pytest.approx((0.6390, 20.0), abs=1e-4)
    assert guess.describe() == "guessing by class frequency (loss 0.639, error 20.0 %)"
    assert ConstantPredictor.of(None, 4) == ConstantPredictor.of([0] * 4, 4) == ConstantPredictor(math.log(4), 75.0, 4)


def test_a_single_class_leaves_nothing_to_learn():
    """Its constant predictor is perfect, so that no run is worse for equalling it."""
    rows = {number: epoch(number, 0.0) for number in range(1, 60)}

    assert reason_to_stop(spec(), rows, ConstantPredictor.of([100, *[0] * 9], 10)) is None


def test_never_ends_a_run_that_was_not_asked_to_or_that_learns():
    """Off by default; a loss below guessing resets the count, and so does an error."""
    rows = {number: epoch(number, FLAT) for number in range(1, 40)}

    assert reason_to_stop(spec(None), rows, GUESS) is None
    assert reason_to_stop(spec(), rows, GUESS) is not None
    assert reason_to_stop(spec(), rows | {35: epoch(35, 2.2)}, GUESS) is None
    for last, error in ((39, 89.0), (35, 61.0)):
        assert reason_to_stop(spec(), rows | {last: replace(rows[last], train_error_percent=error)}, GUESS) is None
    noisy = replace(rows[39], train_error_percent=89.7)
    assert reason_to_stop(spec(), rows | {39: noisy}, GUESS) is not None, "two standard deviations of 50,000 guesses"


def test_a_drop_of_the_rate_starts_the_count_anew():
    """A network may start to learn at a lower rate, so that a run resumed shortly before gets a whole window after."""
    rows = {number: epoch(number, FLAT) for number in range(70, 82 + PATIENCE)}

    assert reason_to_stop(spec(), rows, GUESS) is None
    last = 82 + PATIENCE
    assert reason_to_stop(spec(), rows | {last: epoch(last, FLAT)}, GUESS) is not None


def test_judgement_is_the_same_from_the_journal(journal: Path):
    """A resumed worker counts its predecessor's epochs, except those trained again."""
    write(journal, *(epoch(number, FLAT) for number in range(1, 13)), epoch(3, 1.0))

    judged = epochs_to_judge(read_events(journal), 9)
    assert sorted(judged) == list(range(1, 10))
    assert judged[3].train_loss == 1.0, "an epoch that was trained again counts as measured last"


def test_resumed_run_starts_with_full_patience(journal: Path):
    """Otherwise it would stop again after the next epoch."""
    rows = {number: epoch(number, FLAT) for number in range(1, PATIENCE + 1)}
    stopped = reason_to_stop(spec(), rows, GUESS)
    assert stopped is not None
    last = 2 * PATIENCE
    write(journal, *rows.values(), stopped, *(epoch(number, FLAT) for number in range(PATIENCE + 1, last)))

    judged = epochs_to_judge(read_events(journal), last - 1)

    assert sorted(judged) == list(range(PATIENCE + 1, last))
    assert reason_to_stop(spec(), judged, GUESS) is None
    assert reason_to_stop(spec(), {**judged, last: epoch(last, FLAT)}, GUESS) is not None
