"""Training steps as CUDA graphs: captured once and replayed with a single launch, so the GPU never waits for Python.

A graph repeats the same kernels on the same addresses. Everything that varies between steps therefore lies at a fixed
address on the device: an epoch's order, offsets, flips and learning rates, and a counter that each step increments.

Source: torch's notes on CUDA semantics, "whole-network capture", for warm-up and the shared memory pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.estimates.memory import evaluation_batch_size
from engine.spec.run import RunSpec
from engine.training.augmentation import EpochDraws, crop_and_flip, normalise
from engine.training.step import Batch, DeviceData, EvaluationSet, MetricSums, TrainingState, forward, update

WARM_UP_STEPS = 3
"""Steps before a capture, so that cuDNN has chosen algorithms and torch's lazy initialisation is done."""
STEPS_AHEAD = 8
"""Steps the host may be ahead of the device: enough to hide pauses in Python, few enough to stop promptly."""


@dataclass(slots=True)
class EpochBuffers:
    """Inputs of one epoch at fixed addresses on the device."""

    permutation: Tensor
    """int64, [N]."""
    offsets: Tensor
    """int64, [N, 2]."""
    flips: Tensor
    """bool, [N]."""
    rates: Tensor
    """float32, [steps per epoch]: the learning rate of each step."""
    index: Tensor
    """int64, [1]: index of the next step; every step increments it."""

    @classmethod
    def empty(cls, num_images: int, steps_per_epoch: int, device: torch.device) -> Self:
        """Allocate buffers with a valid epoch of first images only, for dry steps."""
        return cls(
            permutation=torch.zeros(num_images, dtype=torch.int64, device=device),
            offsets=torch.zeros(num_images, 2, dtype=torch.int64, device=device),
            flips=torch.zeros(num_images, dtype=torch.bool, device=device),
            rates=torch.zeros(steps_per_epoch, device=device),
            index=torch.zeros(1, dtype=torch.int64, device=device),
        )

    def fill(self, draws: EpochDraws, rates: Sequence[float], done: int) -> None:
        """Copy an epoch in, in stream order."""
        self.permutation.copy_(draws.permutation)
        self.offsets.copy_(draws.offsets)
        self.flips.copy_(draws.flips)
        self.rates.copy_(torch.tensor(rates))
        self.index.fill_(done)


class DeviceSteps:
    """Steps and evaluations that work entirely on the device and read nothing back.

    Args:
        state: Training state; its optimizer gets a tensor as learning rate and all momentum buffers.
        data: Images on the same device.
    """

    def __init__(self, state: TrainingState, data: DeviceData, spec: RunSpec) -> None:
        num_images = len(data.train_labels)
        self.state = state
        self.data = data
        self.recipe = spec.recipe
        self.test_batch_size = evaluation_batch_size(spec, state.precision)
        self.buffers = EpochBuffers.empty(num_images, spec.steps_per_epoch(num_images), state.device)
        self.test_sums = MetricSums.zeros(state.device)
        self.test_first = torch.zeros(1, dtype=torch.int64, device=state.device)
        """int64, [1]: index of the next test image."""
        self._rate = torch.zeros((), device=state.device)
        state.optimizer.learning_rate = self._rate
        state.optimizer.add_missing_buffers()

    def step(self, size: int, *, keeps_gradients: bool = False) -> None:
        """Update on the epoch's next batch of the given size; `keeps_gradients` as in `update`."""
        buffers, data = self.buffers, self.data
        positions = buffers.index * self.recipe.batch_size + torch.arange(size, device=self.state.device)
        chosen = buffers.permutation.index_select(0, positions)
        images = data.train_images.index_select(0, chosen)
        if self.recipe.augment:
            images = crop_and_flip(
                images, buffers.offsets.index_select(0, positions), buffers.flips.index_select(0, positions)
            )
        self._rate.copy_(buffers.rates.index_select(0, buffers.index)[0])
        labels = data.train_labels.index_select(0, chosen)
        update(self.state, Batch(normalise(images, data.mean, data.std), labels), keeps_gradients=keeps_gradients)
        buffers.index.add_(1)

    @torch.no_grad()
    def test(self, size: int, *, held_out: EvaluationSet | None = None) -> None:
        """Add the next batch of the test set, or of other images, of the given size to the evaluation's sums."""
        data, evaluated = self.data, held_out or self.data.test
        positions = self.test_first + torch.arange(size, device=self.state.device)
        images = evaluated.images.index_select(0, positions)
        labels = evaluated.labels.index_select(0, positions)
        logits = forward(self.state.model, normalise(images, data.mean, data.std), self.state.precision)
        self.test_sums.add(F.cross_entropy(logits, labels), logits, labels)
        self.test_first.add_(size)

    @contextmanager
    def leaving_no_trace(self) -> Iterator[None]:
        """Undo every effect of the enclosed steps on the device."""
        tensors = [*self.state.tensors(), *self.test_sums.tensors(), self.test_first, self.buffers.index, self._rate]
        kept = [tensor.detach().clone() for tensor in tensors]
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, was in zip(tensors, kept, strict=True):
                    tensor.copy_(was)


class CapturedSteps:
    """Captured graphs of steps and evaluations, one per batch size; made by `record`."""

    def __init__(self, device_steps: DeviceSteps) -> None:
        self._steps = device_steps
        self._pool = torch.cuda.graph_pool_handle()
        self._training: dict[int, torch.cuda.CUDAGraph] = {}
        self._testing: dict[tuple[bool, int], torch.cuda.CUDAGraph] = {}
        """By whether the validation set is evaluated, and batch size."""
        self._test_stream = torch.cuda.Stream(device_steps.state.device)  # type: ignore[no-untyped-call]
        self._done = [torch.cuda.Event() for _ in range(STEPS_AHEAD)]  # type: ignore[no-untyped-call]
        self._num_launched = 0

    @classmethod
    def record(cls, state: TrainingState, data: DeviceData, spec: RunSpec) -> Self:
        """Take dry steps, undo them, and capture one step of each batch size.

        Raises:
            torch.OutOfMemoryError: the steps do not fit on the device.
            RuntimeError: the GPU or its driver cannot capture them.
        """
        made = cls(DeviceSteps(state, data, spec))
        training = batch_sizes(len(data.train_labels), spec.recipe.batch_size)
        steps = made._steps
        evaluated = {False: data.test} | ({} if data.validation is None else {True: data.validation})
        testing = {
            validation: batch_sizes(len(one.labels), steps.test_batch_size) for validation, one in evaluated.items()
        }
        with steps.leaving_no_trace():
            state.model.train()
            made._warm_up(steps.step, training)
            state.model.eval()
            for validation, sizes in testing.items():
                made._warm_up(partial(steps.test, held_out=evaluated[validation]), sizes)
        state.model.train()
        # The second graph writes gradients to the first one's addresses, so that they are in one place whichever ran
        # last. It is used only for an epoch's last step, so its extra cost occurs once per epoch.
        made._training = {
            size: made._recorded(partial(steps.step, keeps_gradients=index > 0), size)
            for index, size in enumerate(training)
        }
        state.model.eval()
        made._testing = {
            (validation, size): made._recorded(partial(steps.test, held_out=evaluated[validation]), size)
            for validation, sizes in testing.items()
            for size in sizes
        }
        torch.cuda.synchronize(state.device)
        return made

    def _warm_up(self, act: Callable[[int], None], sizes: Sequence[int]) -> None:
        """Run on a side stream a few times, as torch requires before a capture."""
        main, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(main)
        with torch.cuda.stream(side):
            for size in sizes:
                for _ in range(WARM_UP_STEPS):
                    # Start over, so that batches of every size stay within the set.
                    self._steps.buffers.index.zero_()
                    self._steps.test_first.zero_()
                    act(size)
        main.wait_stream(side)

    def _recorded(self, act: Callable[[int], None], size: int) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            act(size)
        return graph

    def begin_epoch(self, draws: EpochDraws, rates: Sequence[float], *, done: int) -> None:
        self._steps.buffers.fill(draws, rates, done)

    def take(self, index: int) -> None:
        state, recipe = self._steps.state, self._steps.recipe
        size = min(recipe.batch_size, len(self._steps.data.train_labels) - index * recipe.batch_size)
        self._training[size].replay()
        state.next_step += 1
        state.sums.num_images += size
        slot = self._num_launched % STEPS_AHEAD
        if self._num_launched >= STEPS_AHEAD:
            # Wait for an old step only; the device still has newer ones to work on.
            self._done[slot].synchronize()
        self._done[slot].record()
        self._num_launched += 1

    def evaluate(
        self, should_stop: Callable[[], bool] | None = None, *, validation: bool = False
    ) -> tuple[float, float] | None:
        steps = self._steps
        held_out = steps.data.validation if validation else None
        num_images = len((held_out or steps.data.test).labels)
        main = torch.cuda.current_stream()
        self._test_stream.wait_stream(main)
        try:
            with torch.cuda.stream(self._test_stream):
                steps.test_sums.reset()
                steps.test_first.zero_()
                for first in range(0, num_images, steps.test_batch_size):
                    if should_stop is not None and should_stop():
                        return None
                    self._testing[held_out is not None, min(steps.test_batch_size, num_images - first)].replay()
                loss, wrong = steps.test_sums.read()
        finally:
            main.wait_stream(self._test_stream)
        return loss / num_images, 100 * wrong / num_images


def batch_sizes(num_images: int, batch_size: int) -> tuple[int, ...]:
    """Return the distinct batch sizes of a set, larger first: the full size and the remainder."""
    full, remainder = divmod(num_images, batch_size)
    return ((batch_size,) if full else ()) + ((remainder,) if remainder else ())
