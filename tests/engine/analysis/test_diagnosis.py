"""Diagnoses on recorded journals."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from engine.analysis.diagnosis import (
    Finding,
    Symptom,
    diagnose,
    diverged,
    flat_epochs,
    gradient_flow,
    not_learning,
    overfitting,
    plateau,
    sentence,
)
from engine.index.queries import Reader
from engine.runs.run import RunOutcome
from tests.recorded_runs import first_epochs, recorded_gradients, recorded_home, recorded_runs


def test_overfitting_of_a_recorded_run():
    """Width 16 on 500 photographs: training error falls to 0 while test loss rises from 1.7 to 2.5."""
    (rows,) = recorded_runs("overfitting").values()
    found = overfitting(rows)

    assert found is not None
    assert found.evidence == (
        "test loss 44 % above its lowest (epoch 10) while the training loss fell from 1.43 to 0.00584"
    )
    assert overfitting(first_epochs(rows, 14)) is None, "its test loss still came near its lowest"
    assert not_learning(rows, 10) is None
    assert plateau(rows) is None


def test_only_the_deep_plain_network_of_the_quickstart_is_diagnosed():
    """Of four networks only plain-44 stayed at the loss of guessing for four epochs, then slowly improved."""
    flat = {
        name: flat_epochs([row.train_loss for row in rows[:4]], 10)
        for name, rows in recorded_runs("quickstart").items()
    }

    assert flat == {"he-plain8-w8-s0": 0, "he-plain44-w8-s0": 4, "he-resnet8-w8-s0": 0, "he-resnet44-w8-s0": 0}


def test_diverged_run_says_in_which_epoch():
    """A worker stops before measuring the epoch, so it is the one after the last row."""
    (rows,) = recorded_runs("diverged").values()

    found = diverged(RunOutcome.DIVERGED, rows)
    assert found is not None
    assert found.evidence == "the loss was not finite in epoch 1"
    assert diverged(None, rows) is None


def test_a_run_that_learns_nothing_is_not_called_a_plateau_too(tmp_path: Path):
    """Its loss is flat, too, which adds nothing; a non-finite loss overrides everything else."""
    with Reader(recorded_home(tmp_path / "home", "depths").database) as reader:
        run = next(run for run in reader.runs() if run.name == "he-plain44-w4-s2")
        (*_, last) = reader.epochs(run.id)
    flat = [replace(last, epoch=epoch, train_loss=2.31, train_error_percent=90.0) for epoch in range(1, 13)]

    assert plateau(flat) is not None
    assert [one.symptom for one in diagnose(run, flat)] == [Symptom.NOT_LEARNING]
    broken = [*flat, replace(last, epoch=13, train_loss=None)]
    assert [one.symptom for one in diagnose(run, broken)] == [Symptom.DIVERGED]


def test_plateau_of_a_recorded_run():
    """One channel in the first stage: the loss stayed at 2.0 from epoch 31 to 45, then fell again."""
    (rows,) = recorded_runs("plateau").values()

    assert plateau(first_epochs(rows, 40)) is None, "nine epochs may still be noise"
    found = plateau(first_epochs(rows, 41))
    assert found is not None
    assert found.evidence == "training loss 1.999 has fallen by less than 1 % in 10 epochs, at 77.0 % training error"
    assert plateau(rows) is None
    assert not_learning(first_epochs(rows, 41), 10) is None, "it stands, but below guessing"


def test_a_flat_end_of_a_finished_schedule_is_no_plateau():
    """The recorded run that memorised its images: its loss could hardly fall further."""
    (rows,) = recorded_runs("overfitting").values()
    still = [replace(row, train_loss=0.003) for row in rows]

    assert plateau(still[-20:]) is None


def test_not_learning_of_a_recorded_run():
    """Plain-32 without normalisation: at ln 10 from its second epoch, diagnosed after five such epochs."""
    (rows,) = recorded_runs("not-learning").values()

    assert not_learning(first_epochs(rows, 4), 10) is None
    found = not_learning(rows, 10)
    assert found is not None
    assert found.evidence == "loss is no better than guessing (ln 10 = 2.303) for 10 epochs"
    assert flat_epochs([row.train_loss for row in rows], 100) == 0, "of a hundred classes it would know some"


def test_losses_above_guessing_are_no_learning_either():
    """Recorded plain-44 with normalisation: at least 2.30 for eight epochs, not flat within 1 % but no better."""
    rows = recorded_runs("depths")["he-plain44-w4-s2"]
    found = not_learning(rows, 10)

    assert found is not None
    assert found.evidence == "loss is no better than guessing (ln 10 = 2.303) for 8 epochs"


def test_gradient_of_a_deep_plain_network_explodes_at_initialisation():
    """Recorded plain-56: the stem's is 2700 times the head's, and three epochs later a hundredth of that."""
    (gradients,) = recorded_gradients("exploding").values()
    found = gradient_flow(gradients)

    assert found is not None
    assert (found.symptom, found.epoch) == (Symptom.EXPLODING_GRADIENT, 0)
    assert found.evidence == "stem gradient 3e3 times the head's at initialisation"
    assert gradient_flow([row for row in gradients if row.epoch > 0]) is None


def test_a_vanishing_gradient_is_diagnosed_from_the_newest_epoch():
    """Recorded plain-110: 10^7 times too large at initialisation, 10^6 times too small after fifty updates."""
    (gradients,) = recorded_gradients("vanishing").values()
    found = gradient_flow(gradients)

    assert found is not None
    assert (found.symptom, found.evidence, found.epoch) == (
        Symptom.VANISHING_GRADIENT,
        "stem gradient 6e-7 of the head's",
        1,
    )
    before = gradient_flow([row for row in gradients if row.epoch == 0])
    assert before is not None
    assert before.symptom is Symptom.EXPLODING_GRADIENT


def test_gradients_of_residual_networks_are_sound():
    """Recorded residual networks of 8 and 44 layers: never a thousand times smaller or larger than the head's."""
    recorded = {name: rows for name, rows in recorded_gradients("depths").items() if "resnet" in name and rows}

    assert "he-resnet44-w4-s0" in recorded
    for rows in recorded.values():
        for epoch in range(9):
            assert gradient_flow([row for row in rows if row.epoch == epoch]) is None
    assert gradient_flow([]) is None
    unknown = [replace(row, layers=[replace(layer, gradient_norm=None) for layer in row.layers]) for row in rows]
    assert gradient_flow(unknown) is None


def test_a_stem_without_any_gradient_is_diagnosed():
    """Recorded single-channel network whose first layer had a zero gradient in one step."""
    (gradients,) = recorded_gradients("plateau").values()
    found = gradient_flow([row for row in gradients if row.epoch == 2])

    assert found is not None
    assert found.evidence == "stem gradient 0"


def test_findings_read_as_one_sentence():
    """The diagnosis first, then the evidence."""
    findings = [
        Finding(
            symptom=Symptom.NOT_LEARNING,
            evidence="loss is no better than guessing (ln 10 = 2.303) for 12 epochs",
            epoch=12,
        ),
        Finding(symptom=Symptom.VANISHING_GRADIENT, evidence="stem gradient 3e-9 of the head's", epoch=12),
    ]

    assert sentence(findings) == (
        "not learning, vanishing gradient: loss is no better than guessing (ln 10 = 2.303) for 12 epochs;"
        " stem gradient 3e-9 of the head's"
    )
    assert sentence([]) == ""
