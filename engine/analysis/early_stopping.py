"""Early stopping of hopeless runs by the rule in their specification. Does not import torch.

Decisions are based on the journal, so that a worker resuming from a checkpoint decides as its predecessor would have.
A stopped run that the user resumes gets its full patience again.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

from engine.analysis.diagnosis import not_learning
from engine.analysis.learning import ConstantPredictor
from engine.base.units import duration
from engine.runs.journal import AnyEvent, Epoch, StoppedEarly
from engine.spec.run import RunSpec, StopRule


def epochs_to_judge(journal: Iterable[AnyEvent], epochs_done: int) -> dict[int, Epoch]:
    """Read the epochs to judge a run by: completed ones after the last early stop.

    Args:
        journal: All events of the run.
        epochs_done: Epochs in the checkpoint to resume from; later ones in the journal will be trained again.
    """
    rows: dict[int, Epoch] = {}
    for event in journal:
        if isinstance(event, Epoch) and event.epoch <= epochs_done:
            rows[event.epoch] = event
        elif isinstance(event, StoppedEarly):
            rows = {epoch: row for epoch, row in rows.items() if epoch > event.epoch}
    return rows


def reason_to_stop(spec: RunSpec, rows: Mapping[int, Epoch], guess: ConstantPredictor) -> StoppedEarly | None:
    """Return why a run should stop after its newest epoch; None if it should go on.

    Args:
        spec: Specification with the stopping rule.
        rows: Epochs from `epochs_to_judge` and those completed since.
        guess: Constant predictor of the training set.
    """
    match spec.stop_when:
        case None:
            return None
        case StopRule.NOT_LEARNING:
            found = not_learning(spec, [rows[epoch] for epoch in sorted(rows)], guess)
            if found is None:
                return None
            num_left = spec.recipe.epochs - max(rows)
            return StoppedEarly(
                epoch=max(rows),
                text=f"{found.symptom}: {found.evidence}",
                saved_epochs=num_left,
                saved_seconds=num_left * statistics.median(row.seconds for row in rows.values()),
            )


def describe_stop(stopped: StoppedEarly, spec: RunSpec) -> str:
    """Describe in one line why a run was stopped and what that saves."""
    return (
        f"{stopped.text}; stopped at epoch {stopped.epoch} of {spec.recipe.epochs}, which saves"
        f" {stopped.saved_epochs} epochs (about {duration(stopped.saved_seconds)})"
    )
