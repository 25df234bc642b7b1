"""Training as functions over a small state: one step, one evaluation, and what they add up.

What is computed is what a textbook loop computes (torch.optim.SGD, cross entropy, torchvision's transforms); only
where the numbers live differs. Images stay on the device as uint8, metrics are summed there, and nothing here
synchronises but the functions that say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.data.datasets import Dataset, balanced_subset
from engine.spec.precision import Precision
from engine.spec.recipes import Recipe
from engine.spec.run import RunSpec
from engine.training.activation_checkpointing import checkpoint_blocks
from engine.training.augmentation import EpochDraws, crop_and_flip, normalise
from engine.training.loss_scaling import LossScale
from engine.training.numerics import computing, memory_format, resolve
from engine.training.sgd import SGD
from models.build import build_model

EVALUATION_BATCH_SIZE = 1000


@dataclass(frozen=True, slots=True)
class DeviceData:
    """Both sets of a dataset on the device that trains."""

    train_images: Tensor
    """uint8, [N, 32, 32, 3]."""
    train_labels: Tensor
    """int64, [N]."""
    test_images: Tensor
    """uint8, [M, 32, 32, 3]."""
    test_labels: Tensor
    """int64, [M]."""
    mean: tuple[float, ...]
    """Per channel, of values in 0..1."""
    std: tuple[float, ...]


def load_to_device(dataset: Dataset, spec: RunSpec, device: torch.device) -> DeviceData:
    """Copy the images that a run asks for to its device, once."""

    def copy(images: np.ndarray, labels: np.ndarray, num: int | None) -> tuple[Tensor, Tensor]:
        if num is not None:
            chosen = balanced_subset(np.asarray(labels), num, dataset.info.num_classes)
            images, labels = images[chosen], labels[chosen]
        # np.array copies the memory map, which torch could only wrap as a tensor that must not be written to.
        return torch.from_numpy(np.array(images)).to(device), torch.from_numpy(np.array(labels)).to(device)

    train_images, train_labels = copy(dataset.train_images, dataset.train_labels, spec.data.train_images)
    test_images, test_labels = copy(dataset.test_images, dataset.test_labels, spec.data.test_images)
    return DeviceData(
        train_images, train_labels, test_images, test_labels, mean=dataset.info.mean, std=dataset.info.std
    )


@dataclass(slots=True)
class MetricSums:
    """What an epoch adds up, on the device until somebody reads it."""

    loss: Tensor
    """float64 scalar: cross entropy summed over images, in nats."""
    wrong: Tensor
    """int64 scalar: images whose most likely class is not theirs."""
    num_images: int = 0
    """Counted by the host: it knows without asking the device."""

    @classmethod
    def zeros(cls, device: torch.device) -> MetricSums:
        return cls(
            torch.zeros((), dtype=torch.float64, device=device), torch.zeros((), dtype=torch.int64, device=device)
        )

    def add(self, mean_loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add one batch on the device: its mean loss, logits [B, num_classes] and labels [B]; `num_images` is not."""
        self.loss += mean_loss.double() * len(labels)
        self.wrong += (logits.argmax(1) != labels).sum()

    def tensors(self) -> tuple[Tensor, Tensor]:
        """What lies on the device, at addresses that never change: a CUDA graph knows them."""
        return self.loss, self.wrong

    def reset(self) -> None:
        """Begin anew."""
        self.loss.zero_()
        self.wrong.zero_()
        self.num_images = 0

    def set(self, loss: Tensor, wrong: Tensor, num_images: int) -> None:
        """Go on from sums that were read from elsewhere."""
        self.loss.copy_(loss)
        self.wrong.copy_(wrong)
        self.num_images = num_images

    def read(self) -> tuple[float, int]:
        """Summed loss and number of wrong images; synchronises with the device, once."""
        loss, wrong = torch.stack([self.loss, self.wrong.double()]).tolist()
        return loss, int(wrong)


@dataclass(slots=True)
class TrainingState:
    """Everything that changes while a network is trained."""

    model: nn.Module
    optimizer: SGD
    sums: MetricSums
    """Of the epoch under way."""
    frozen: Tensor
    """float32 scalar on the device: 1 from the first loss on that was not finite; no update happens after that."""
    frozen_steps: Tensor
    """float32 scalar on the device: steps taken since."""
    next_step: int = 0
    precision: Precision = Precision.FP32
    """What it is computed in: never AUTO."""
    loss_scale: LossScale | None = None
    """Of float16; None in every other precision."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def tensors(self) -> list[Tensor]:
        """All that a step changes on the device: weights, statistics, momentum, sums, flags and the loss scale."""
        momentum = self.optimizer.momentum_buffers.values()
        scale = [] if self.loss_scale is None else [self.loss_scale.factor, self.loss_scale.good_steps]
        flags = [self.frozen, self.frozen_steps]
        return [*self.model.parameters(), *self.model.buffers(), *momentum, *self.sums.tensors(), *flags, *scale]


def start_training(
    spec: RunSpec, device: torch.device, *, dtype: torch.dtype = torch.float32, precision: Precision | None = None
) -> TrainingState:
    """The state before the first step; equal for equal seeds on every device.

    Args:
        spec: Names the network, the recipe and the seed.
        device: Where it trains.
        dtype: Of parameters, and of activations that no precision makes smaller.
        precision: What it is computed in; None resolves what the recipe asks for.

    Raises:
        ValueError: the device does not do the precision natively.
    """
    used = resolve(spec, device) if precision is None else precision
    torch.manual_seed(spec.seed)
    # Built on the CPU, whose random numbers do not depend on the machine.
    model = build_model(spec.model).to(device=device, dtype=dtype).to(memory_format=memory_format(used))
    if spec.recipe.checkpoint_activations:
        checkpoint_blocks(model)
    return TrainingState(
        model=model,
        optimizer=SGD(
            model.parameters(),
            learning_rate=spec.recipe.learning_rate,
            momentum=spec.recipe.momentum,
            weight_decay=spec.recipe.weight_decay,
            fused=device.type == "cuda" or used is not Precision.FP32,
        ),
        sums=MetricSums.zeros(device),
        frozen=torch.zeros((), device=device),
        frozen_steps=torch.zeros((), device=device),
        precision=used,
        loss_scale=LossScale.start(device) if used is Precision.FP16 else None,
        device=device,
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's images as they enter the network."""

    images: Tensor
    """Normalised, [B, 3, 32, 32]."""
    labels: Tensor
    """int64, [B]."""


def training_batch(
    data: DeviceData, draws: EpochDraws, first: int, recipe: Recipe, *, dtype: torch.dtype = torch.float32
) -> Batch:
    """The batch that begins at a position of the epoch's order, cropped, flipped and normalised.

    Args:
        data: Images on the device.
        draws: The epoch's order, offsets and flips, on the same device.
        first: Position of the batch's first image in that order.
        recipe: Gives the batch size (the last batch may be smaller) and whether to augment.
        dtype: Of the images that come out.
    """
    positions = slice(first, first + recipe.batch_size)
    chosen = draws.permutation[positions]
    images = data.train_images[chosen]  # [B, 32, 32, 3] uint8
    if recipe.augment:
        images = crop_and_flip(images, draws.offsets[positions], draws.flips[positions])
    return Batch(normalise(images, data.mean, data.std, dtype=dtype), data.train_labels[chosen])


def train_step(state: TrainingState, batch: Batch, *, learning_rate: float) -> None:
    """One update by the gradient of one batch; left out, on the device, from the first loss on that is not finite.

    Args:
        state: Changed in place.
        batch: The images and labels of this step.
        learning_rate: Of this update.
    """
    state.model.train()
    state.optimizer.learning_rate = learning_rate
    update(state, batch)
    state.next_step += 1
    state.sums.num_images += len(batch.labels)


def update(state: TrainingState, batch: Batch, *, keeps_gradients: bool = False) -> None:
    """The part of a step that happens on the device: it reads nothing back, so that a CUDA graph can hold it.

    Args:
        state: Changed in place.
        batch: The images and labels of this step.
        keeps_gradients: Add this step's to gradients made nought where they lie, rather than make new ones: the same
            numbers, at the same addresses.
    """
    logits = forward(state.model, batch.images, state.precision)  # [B, num_classes]
    loss = F.cross_entropy(logits, batch.labels)
    state.optimizer.zero_grad(set_to_none=not keeps_gradients)
    scaled = loss if state.loss_scale is None else state.loss_scale.scale(loss)
    scaled.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        state.sums.add(loss.detach(), logits, batch.labels)
        state.frozen.copy_(torch.maximum(state.frozen, (~torch.isfinite(loss)).float()))
        state.frozen_steps += state.frozen
        skipped = state.frozen
        if state.loss_scale is not None:
            overflowed = state.loss_scale.unscale(parameter.grad for parameter in state.model.parameters())
            skipped = torch.maximum(skipped, overflowed)
    if state.device.type == "cuda":
        state.optimizer.step(found_inf=skipped)
    elif not skipped:
        # On a CPU the flag can be read at no cost.
        state.optimizer.step()


def forward(model: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """Logits [B, num_classes] of images [B, 3, 32, 32], in the images' type whatever the network computed in."""
    with computing(precision, images.device):
        logits: Tensor = model(images)
    return logits.to(images.dtype)


def diverged_at(state: TrainingState) -> int | None:
    """The step whose loss was not finite, counted from 0; None where all were. Synchronises with the device."""
    frozen_steps = int(state.frozen_steps.item())
    return state.next_step - frozen_steps if frozen_steps else None


@torch.no_grad()
def has_finite_weights(state: TrainingState) -> bool:
    """Whether no weight is NaN or infinite: the last update may have broken what the loss before it did not show."""
    parameters = [parameter.detach() for parameter in state.model.parameters()]
    return bool(torch.stack([torch.isfinite(parameter).all() for parameter in parameters]).all())


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: DeviceData,
    *,
    batch_size: int = EVALUATION_BATCH_SIZE,
    dtype: torch.dtype = torch.float32,
    precision: Precision = Precision.FP32,
    should_stop: Callable[[], bool] | None = None,
) -> tuple[float, float] | None:
    """Mean cross entropy and error on the test set, without augmentation; synchronises once.

    Args:
        model: Maps [B, 3, 32, 32] to logits [B, num_classes]; left in evaluation mode.
        data: Images on the model's device.
        batch_size: Images a forward pass.
        dtype: Of the model.
        precision: Of the forward pass.
        should_stop: Asked before every batch; None never stops.

    Returns:
        Loss in nats per image, and error in percent; None where it was stopped before the end.
    """
    model.eval()
    sums = MetricSums.zeros(data.test_images.device)
    for first in range(0, len(data.test_labels), batch_size):
        if should_stop is not None and should_stop():
            return None
        images, labels = data.test_images[first : first + batch_size], data.test_labels[first : first + batch_size]
        logits = forward(model, normalise(images, data.mean, data.std, dtype=dtype), precision)  # [B, num_classes]
        sums.add(F.cross_entropy(logits, labels), logits, labels)
        sums.num_images += len(labels)
    loss, wrong = sums.read()
    return loss / sums.num_images, 100 * wrong / sums.num_images
