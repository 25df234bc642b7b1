"""Progress of a run, read twice a second without stalling the device."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from engine.runs.journal import Step
from engine.training.step import TrainingState

SECONDS_BETWEEN_READINGS = 0.5


def finite(value: float) -> float | None:
    """Return the value, or None for NaN and infinities, which JSON lacks."""
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Reading:
    """Sums of the current epoch after some step."""

    at: float
    """Time of the request, monotonic clock, seconds."""
    step: int
    """Steps taken by then."""
    num_images: int
    loss: float
    wrong: int
    frozen_steps: int

    @property
    def diverged_at(self) -> int | None:
        """Index of the first step whose loss was not finite; None if all were."""
        return self.step - self.frozen_steps if self.frozen_steps else None


class ProgressMeter:
    """Requests the sums when due and collects them once they have arrived.

    On a GPU they are copied to pinned memory asynchronously and collected some steps later. On a CPU they are available
    at once.
    """

    def __init__(self, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self._host = torch.zeros(3, dtype=torch.float64, pin_memory=on_gpu)
        self._arrived = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]
        self._asked: tuple[float, int, int] | None = None
        """Time, step and number of images of the pending request; None if there is none."""
        self._last = Reading(time.monotonic(), 0, 0, 0.0, 0, 0)

    def restart(self, state: TrainingState) -> None:
        """Start a new measurement after an interruption: an evaluation, a checkpoint, the end of an epoch."""
        self._ask(state)
        if self._arrived is not None:
            self._arrived.synchronize()
        self._last = self._take() or self._last

    def turn(self, state: TrainingState) -> Reading | None:
        """Call after every step; returns the newest sums if they have just arrived, else None."""
        if self._asked is None and time.monotonic() - self._last.at >= SECONDS_BETWEEN_READINGS:
            self._ask(state)
        if self._asked is not None and (self._arrived is None or self._arrived.query()):  # type: ignore[no-untyped-call]
            return self._take()
        return None

    def progress(self, reading: Reading, *, epoch: int, learning_rate: float) -> Step | None:
        """Compute means over the images since the previous reading; None if there were none.

        Args:
            reading: Result of `turn`.
            epoch: Counted from 1.
            learning_rate: That of the reading's last step.
        """
        last, self._last = self._last, reading
        images = reading.num_images - last.num_images
        if images <= 0:
            return None
        return Step(
            step=reading.step,
            epoch=epoch,
            train_loss=finite((reading.loss - last.loss) / images),
            train_error_percent=100 * (reading.wrong - last.wrong) / images,
            learning_rate=learning_rate,
            images_per_second=images / max(reading.at - last.at, 1e-9),
        )

    def _ask(self, state: TrainingState) -> None:
        sums = state.sums
        newest = torch.stack([sums.loss, sums.wrong.double(), state.frozen_steps.double()])
        self._host.copy_(newest, non_blocking=True)
        if self._arrived is not None:
            self._arrived.record()
        self._asked = time.monotonic(), state.next_step, sums.num_images

    def _take(self) -> Reading | None:
        if self._asked is None:
            return None
        (at, step, num_images), self._asked = self._asked, None
        loss, wrong, frozen_steps = self._host.tolist()
        return Reading(at, step, num_images, loss, int(wrong), int(frozen_steps))
