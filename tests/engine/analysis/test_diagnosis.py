"""Diagnoses on recorded journals."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from engine.analysis.diagnosis import (
    Finding,
    Symptom,
    diagnose,
    diverged,
    gradient_flow,
    not_learning,
    outlook,
    overfitting,
    plateau,
    sentence,
)
from engine.analysis.learning import ConstantPredictor
from engine.index.queries import Reader
from engine.runs.run import RunOutcome
from engine.spec.recipes import Schedule
from engine.spec.run import RunSpec
from tests.curves import a_run, made_up_curves, recorded_curves
from tests.recorded_runs import first_epochs, recorded_gradients, recorded_home, recorded_runs

BALANCED = ConstantPredictor.of(None, 10)


def a_spec(name: str) -> RunSpec:
    """Read the spec of a recorded run."""
    return next(curve.spec for curve in recorded_curves() if curve.name.endswith(f"/{name}"))


def test_overfitting_of_a_recorded_run():
    """Width 16 on 500 photographs: training error falls to 0 while test loss rises from 1.7 to 2.5."""
    (rows,) = recorded_runs("overfitting").values()
    found = overfitting(rows)

    assert found is not None
    assert found.evidence == (
        "test loss 44 % above its lowest (epoch 10) while the training loss fell from 1.43 to 0.00584"
    )
    assert overfitting(first_epochs(rows, 14)) is None, "its test loss still came near its lowest"


def test_overfitting_is_found_on_the_validation_set_where_there_is_one():
    """The test set is then evaluated once, which shows no course."""
    (rows,) = recorded_runs("overfitting").values()
    held_out = [
        replace(row, validation_loss=row.test_loss, validation_error_percent=50.0, test_loss=None) for row in rows
    ]
    held_out[-1] = replace(held_out[-1], test_loss=0.1, test_error_percent=9.0)
    found, expected = overfitting(held_out), overfitting(rows)

    assert found is not None
    assert expected is not None
    assert found.evidence == expected.evidence.replace("test loss", "validation loss")
    assert overfitting([replace(row, test_loss=None) for row in rows]) is None


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
        rows = reader.epochs(run.id)

    assert [one.symptom for one in diagnose(run, rows)] == [Symptom.NOT_LEARNING]
    assert diagnose(run, rows[:-1]) == [], "seven of eight epochs: it may still start"
    broken = [*rows, replace(rows[-1], epoch=9, train_loss=None)]
    assert [one.symptom for one in diagnose(run, broken)] == [Symptom.DIVERGED]


def test_a_standing_loss_is_a_plateau_only_if_no_drop_is_ahead():
    """Until then the console says what it waits for, which names the epoch; a finished run waits for nothing."""
    waits = next(curve for curve in made_up_curves() if curve.name == "waits for the drop at 82")
    rows = [*waits.rows[:35], *(replace(waits.rows[34], epoch=row.epoch, step=row.step) for row in waits.rows[35:])]
    low = replace(rows[34], train_loss=0.5)
    rows[34] = low
    constant = replace(waits.spec, recipe=replace(waits.spec.recipe, schedule=Schedule.CONSTANT))

    assert diagnose(a_run(waits.spec), rows[:60]) == []
    assert outlook(a_run(waits.spec), rows[:60], []) == "flat since epoch 35; the rate drops at 82"
    assert outlook(a_run(waits.spec, outcome=RunOutcome.CANCELLED), rows[:60], []) == ""
    assert outlook(a_run(waits.spec), rows[:40], []) == "", "five epochs are noise"
    assert [one.evidence for one in diagnose(a_run(constant), rows[:60])] == [
        "training loss 0.5 has fallen by less than 1 % in 25 epochs, at 26.0 % training error"
    ]
    assert outlook(a_run(constant), rows[:60], []) == ""


def test_noise_needs_more_epochs_for_a_plateau():
    """One channel in the first stage: the loss stood at 2.0 from epoch 31 to 45 under noise of 2 %, then fell again."""
    ((name, rows),) = recorded_runs("plateau").items()
    spec = a_spec(name)

    assert all(plateau(spec, first_epochs(rows, num), BALANCED) is None for num in range(61))
    calm = [replace(row, train_loss=2.0, train_error_percent=77.0) for row in rows]
    assert plateau(spec, first_epochs(calm, 19), BALANCED) is None
    assert plateau(spec, first_epochs(calm, 20), BALANCED) is not None


def test_a_flat_end_of_a_finished_schedule_is_no_plateau():
    """The recorded run that memorised its images: its loss could hardly fall further."""
    ((name, rows),) = recorded_runs("overfitting").items()
    still = [replace(row, train_loss=0.003) for row in rows]

    assert plateau(a_spec(name), still[-20:], BALANCED) is None


def test_not_learning_of_a_recorded_run():
    """Plain-32 without normalisation, at ln 10: over after ten epochs, but a running one might still start."""
    ((name, rows),) = recorded_runs("not-learning").items()

    assert not_learning(a_spec(name), rows, BALANCED) is None
    found = not_learning(a_spec(name), rows, BALANCED, is_over=True)
    assert found is not None
    assert found.evidence == "loss is no better than guessing (ln 10 = 2.303) for 10 epochs"
    hundred = ConstantPredictor.of(None, 100)
    assert not_learning(a_spec(name), rows, hundred, is_over=True) is None, "of a hundred classes it would know some"


def test_losses_above_guessing_are_no_learning_either():
    """Recorded plain-44 with normalisation: at least 2.28 for eight epochs, not flat within 1 % but no better."""
    name = "he-plain44-w4-s2"
    found = not_learning(a_spec(name), recorded_runs("depths")[name], BALANCED, is_over=True)

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


def test_a_stem_without_any_gradient_is_diagnosed_unless_it_was_one_step():
    """Recorded single-channel network whose first layer had a zero gradient in the one step measured of epoch 2."""
    (gradients,) = recorded_gradients("plateau").values()
    found = gradient_flow([row for row in gradients if row.epoch == 2])

    assert found is not None
    assert found.evidence == "stem gradient 0"
    assert all(gradient_flow(gradients[: num + 1]) is None for num in range(61))
    (second,) = (row for row in gradients if row.epoch == 2)
    assert gradient_flow([*gradients[:3], replace(second, epoch=3)]) is not None, "twice is no accident"


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
