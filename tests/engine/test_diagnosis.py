"""What is said of a run, on journals of runs that were really trained."""

from __future__ import annotations

from dataclasses import dataclass

from engine.diagnosis import (
    diverged,
    flat_epochs,
    not_learning,
    overfitting,
    plateau,
)
from tests.recorded_runs import first_epochs, recorded_runs


@dataclass(frozen=True, slots=True)
class Gradient:
    """What the rule reads of a layer."""

    epoch: int
    position: int
    gradient_norm: float | None


def test_overfitting_of_a_recorded_run():
    """A network of width 16 on 500 photographs, to a training error of 0 while its test loss rises from 1.7 to 2.5."""
    (rows,) = recorded_runs("overfitting").values()
    found = overfitting(rows)

    assert found is not None
    assert found.evidence == (
        "test loss 44 % above its lowest (epoch 10) while the training loss fell from 1.43 to 0.00584"
    )
    assert overfitting(first_epochs(rows, 14)) is None, "its test loss still came near its lowest"
    assert not_learning(rows, 10) is None
    assert plateau(rows) is None


def test_recorded_quickstart_is_told_apart():
    """Of four networks plain-44 alone stayed at the loss of guessing, for four epochs, then crept away from it."""
    flat = {
        name: flat_epochs([row.train_loss for row in rows[:4]], 10)
        for name, rows in recorded_runs("quickstart").items()
    }

    assert flat == {"he-plain8-w8-s0": 0, "he-plain44-w8-s0": 4, "he-resnet8-w8-s0": 0, "he-resnet44-w8-s0": 0}


def test_diverged_run_says_in_which_epoch():
    """A worker stops before it measures the epoch, so that it is the one behind the last that stands there."""
    (rows,) = recorded_runs("diverged").values()

    assert diverged(rows).evidence == "the loss was not finite in epoch 1"
