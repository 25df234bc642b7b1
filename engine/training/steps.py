"""How one step follows another: launched operation by operation, or on a GPU as a recorded whole."""

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
    """Carries a training state from step to step; what is computed does not depend on how."""

    def begin_epoch(self, draws: EpochDraws, rates: Sequence[float], *, done: int) -> None:
        """Put an epoch where the steps find it.

        Args:
            draws: Its order, offsets and flips, on the CPU.
            rates: The learning rate of each of its steps.
            done: Steps of it that were taken before.
        """

    def take(self, index: int) -> None:
        """Take one step of the epoch; they are taken in order, from `done` on."""

    def evaluate(self, should_stop: Callable[[], bool] | None = None) -> tuple[float, float] | None:
        """Loss and error on the test set, as `training.evaluate` has it."""


class EagerSteps:
    """Steps whose operations are launched one by one: on the CPU, or where a GPU cannot record them."""

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

    def evaluate(self, should_stop: Callable[[], bool] | None = None) -> tuple[float, float] | None:
        return evaluate(
            self._state.model,
            self._data,
            batch_size=evaluation_batch_size(self._spec, self._state.precision),
            precision=self._state.precision,
            should_stop=should_stop,
        )


def steps_for(state: TrainingState, data: DeviceData, spec: RunSpec, report: Callable[[str], None]) -> Steps:
    """The fastest way of taking steps that the device has.

    On a GPU this takes dry steps, which leave no trace, and so finds out whether the run fits.

    Args:
        state: At its beginning, or as a checkpoint left it.
        data: Images on its device.
        spec: Of the run.
        report: Is told where steps cannot be recorded.

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
        # The same numbers, more slowly: better than no training on a driver that cannot record.
        report(f"steps are launched one by one, since this GPU could not record them: {error}")
        return EagerSteps(state, data, spec)
