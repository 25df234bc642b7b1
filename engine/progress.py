"""How fast a run goes: what is read twice a second, turned into lines of the journal."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from engine.journal import Step
from engine.training import TrainingState

SECONDS_BETWEEN_READINGS = 0.5


def finite(value: float) -> float | None:
    """The value, or None where JSON has no word for it."""
    return value if math.isfinite(value) else None


@dataclass(slots=True)
class ProgressMeter:
    """Means over the images since the last reading, and the clock that says when the next is due."""

    read_at: float
    """By the monotonic clock, in seconds."""
    num_images: int = 0
    """In the epoch's sums at the last reading."""
    loss: float = 0.0
    wrong: int = 0

    @classmethod
    def start(cls) -> ProgressMeter:
        return cls(read_at=time.monotonic())

    def is_due(self) -> bool:
        return time.monotonic() - self.read_at >= SECONDS_BETWEEN_READINGS

    def restart(self, state: TrainingState) -> None:
        """Begin anew behind something that was no training: an evaluation, a checkpoint, an epoch's end."""
        self.loss, self.wrong = state.sums.read()
        self.num_images = state.sums.num_images
        self.read_at = time.monotonic()

    def read(self, state: TrainingState, *, epoch: int, learning_rate: float) -> Step | None:
        """Progress since the last reading, or None where no image was trained on; synchronises with the device."""
        loss, wrong = state.sums.read()
        now = time.monotonic()
        images = state.sums.num_images - self.num_images
        if images == 0:
            return None
        step = Step(
            step=state.next_step,
            epoch=epoch,
            train_loss=finite((loss - self.loss) / images),
            train_error_percent=100 * (wrong - self.wrong) / images,
            learning_rate=learning_rate,
            images_per_second=images / max(now - self.read_at, 1e-9),
        )
        self.read_at, self.num_images, self.loss, self.wrong = now, state.sums.num_images, loss, wrong
        return step
