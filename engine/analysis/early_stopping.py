"""When a run that leads nowhere ends early, by the rule that it was asked to end by; torch-free.

What it goes by is the journal, so that a worker which goes on from a checkpoint decides as the one before it would
have. A run that was ended and is taken up again gets the same patience anew: its user has seen the numbers.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.analysis.diagnosis import STOPPING_EPOCHS, Symptom, flat_epochs, flat_words
from engine.base.units import duration
from engine.runs.journal import Epoch, StoppedEarly, read_journal
from engine.spec.run import RunSpec, StopRule


def epochs_to_judge(journal: Path, epochs_done: int) -> dict[int, Epoch]:
    """The epochs by which a run is judged: those done, behind the last one after which it was ended already.

    Args:
        journal: Of the run.
        epochs_done: As the checkpoint has it from which the run goes on; what the journal says beyond is trained again.
    """
    rows: dict[int, Epoch] = {}
    offset = 0
    while (reading := read_journal(journal, offset)).end > offset:
        offset = reading.end
        for event in reading.events:
            if isinstance(event, Epoch) and event.epoch <= epochs_done:
                rows[event.epoch] = event
            elif isinstance(event, StoppedEarly):
                rows = {epoch: row for epoch, row in rows.items() if epoch > event.epoch}
    return rows


def reason_to_stop(spec: RunSpec, rows: Mapping[int, Epoch]) -> StoppedEarly | None:
    """Why a run should end behind its newest epoch; None where it should not, or was not asked to.

    Args:
        spec: With the rule.
        rows: Its epochs as `epochs_to_judge` gives them, and those since then.
    """
    match spec.stop_when:
        case None:
            return None
        case StopRule.NOT_LEARNING:
            num_classes = spec.model.num_classes
            losses = [rows[epoch].train_loss for epoch in sorted(rows)]
            flat = flat_epochs(losses, num_classes)
            if flat < STOPPING_EPOCHS:
                return None
            return StoppedEarly(
                epoch=max(rows),
                text=f"{Symptom.NOT_LEARNING}: {flat_words(losses[-flat:], num_classes)}",
                saved_epochs=spec.recipe.epochs - max(rows),
                saved_seconds=seconds_saved(list(rows.values()), spec.recipe.epochs - max(rows)),
            )


def seconds_saved(rows: Sequence[Epoch], num_epochs: int) -> float:
    """What so many epochs would have taken, each as long as the median of those measured: an estimate."""
    return num_epochs * statistics.median(row.seconds for row in rows)


def stopping_words(stopped: StoppedEarly, spec: RunSpec) -> str:
    """Why a run ended early, and what that saves, in a line."""
    return (
        f"{stopped.text}; stopped at epoch {stopped.epoch} of {spec.recipe.epochs}, which saves"
        f" {stopped.saved_epochs} epochs (about {duration(stopped.saved_seconds)})"
    )
