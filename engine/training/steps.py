"""Ways to run training steps: eagerly, or on a GPU as captured CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from engine.estimates.memory import evaluation_batch_size
from engine.spec.run import RunSpec
from engine.training.augmentation import EpochDraws
from engine.training.cuda_graphs import CapturedSteps
from engine.training.step import DeviceData, TrainingState, evaluate, train_step, training_batch


class Steps(Protocol):
    """Runs training steps; all implementations compute the same results."""

    def begin_epoch(self, draws: EpochDraws, rates: Sequence[float], *, done: int) -> None:
        """Set up an epoch with its draws, on the CPU, and each step's learning rate; `done` steps are taken already."""

    def take(self, index: int) -> None:
        """Take one step of the epoch; steps are taken in order, starting at `done`."""

    def evaluate(
        self, should_stop: Callable[[], bool] | None = None, *, validation: bool = False
    ) -> tuple[float, float] | None:
        """Return loss and error on the test set, or on the validation set, as `step.evaluate` does."""


class EagerSteps:
    """Steps launched operation by operation: on the CPU, or on a GPU that cannot capture them."""

    def __init__(self, state: TrainingState, data: DeviceData, spec: RunSpec) -> None:
        self._state = state
        self._data = data
        self._spec = spec
        self._draws: EpochDraws | None = None
        self._rates: Sequence[float] = ()

    def begin_epoch(self, draws: EpochDraws, rates: Sequence[float], *, done: int) -> None:
        del done
        self._draws = draws.to(self._state.device)
        self._rates = rates

    def take(self, index: int) -> None:
        assert self._draws is not None, "begin_epoch comes first"
        batch = training_batch(self._data, self._draws, index * self._spec.recipe.batch_size, self._spec.recipe)
        train_step(self._state, batch, learning_rate=self._rates[index])

    def evaluate(
        self, should_stop: Callable[[], bool] | None = None, *, validation: bool = False
    ) -> tuple[float, float] | None:
        return evaluate(
            self._state.model,
            self._data,
            batch_size=evaluation_batch_size(self._spec, self._state.precision),
            precision=self._state.precision,
            should_stop=should_stop,
            held_out=self._data.validation if validation else None,
        )


def steps_for(state: TrainingState, data: DeviceData, spec: RunSpec, report: Callable[[str], None]) -> Steps:
    """Choose the fastest way to run steps on the device.

    On a GPU this takes dry steps and undoes them, which also shows whether the run fits. If steps cannot be captured,
    `report` is called with a notice.

    Raises:
        torch.OutOfMemoryError: the run does not fit on the device.
    """
    if state.device.type != "cuda":
        return EagerSteps(state, data, spec)
    try:
        return CapturedSteps.record(state, data, spec)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        # Eager steps compute the same results, only more slowly.
        report(f"CUDA graph capture failed, training without it (slower, same results): {error}")
        return EagerSteps(state, data, spec)
