"""How fast a run goes: what is read twice a second, without the device waiting for it, as lines of the journal."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from engine.runs.journal import Step
from engine.training.step import TrainingState

SECONDS_BETWEEN_READINGS = 0.5


def finite(value: float) -> float | None:
    """The value, or None where JSON has no word for it."""
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Reading:
    """The sums of an epoch under way, as they were behind one step."""

    at: float
    """When they were asked for, by the monotonic clock in seconds."""
    step: int
    """Steps taken then."""
    num_images: int
    loss: float
    wrong: int
    frozen_steps: int

    @property
    def diverged_at(self) -> int | None:
        """The step whose loss was not finite, counted from 0; None where all were."""
        return self.step - self.frozen_steps if self.frozen_steps else None


class ProgressMeter:
    """Asks for the sums when they are due, and takes the answer when it is there.

    On a GPU the numbers travel to pinned memory behind the step that made them, and nobody waits: they are taken once
    the copy is done, some steps later. On a CPU they are there at once.
    """

    def __init__(self, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self._host = torch.zeros(3, dtype=torch.float64, pin_memory=on_gpu)
        self._arrived = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]
        self._asked: tuple[float, int, int] | None = None
        """When, at which step and after how many images; None while no answer is awaited."""
        self._last = Reading(time.monotonic(), 0, 0, 0.0, 0, 0)

    def restart(self, state: TrainingState) -> None:
        """Begin anew behind something that was no training: an evaluation, a checkpoint, an epoch's end."""
        self._ask(state)
        if self._arrived is not None:
            self._arrived.synchronize()
        self._last = self._take() or self._last

    def turn(self, state: TrainingState) -> Reading | None:
        """Called behind every step: the newest sums where some have just arrived, else None."""
        if self._asked is None and time.monotonic() - self._last.at >= SECONDS_BETWEEN_READINGS:
            self._ask(state)
        if self._asked is not None and (self._arrived is None or self._arrived.query()):  # type: ignore[no-untyped-call]
            return self._take()
        return None

    def progress(self, reading: Reading, *, epoch: int, learning_rate: float) -> Step | None:
        """Means over the images since the reading before, or None where there were none.

        Args:
            reading: As `turn` gave it.
            epoch: Under way, counted from 1.
            learning_rate: Of the reading's last step.
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
