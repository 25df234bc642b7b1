"""What one epoch measured, as the cells of a table; on paper and on screen alike."""

from __future__ import annotations

from console.formatting import duration, percent
from console.states import loss
from engine.runs.run import EpochRow

EPOCH_COLUMNS = ("epoch", "train loss", "train error", "test loss", "test error", "rate", "images/s", "time")


def epoch_cells(row: EpochRow) -> list[str]:
    """One epoch, in the order of EPOCH_COLUMNS."""
    return [
        str(row.epoch),
        loss(row.train_loss),
        percent(row.train_error_percent),
        loss(row.test_loss),
        percent(row.test_error_percent),
        f"{row.learning_rate:.3g}",
        f"{row.images_per_second:.0f}",
        duration(row.seconds),
    ]
