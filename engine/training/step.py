"""Training step and evaluation as functions over a small state.

The computation equals a textbook loop (torch.optim.SGD, cross entropy, torchvision's transforms), but everything stays
on the device: images as uint8, and sums of metrics. Only functions that say so synchronise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.data.datasets import Dataset, balanced_subset, split
from engine.spec.precision import Layout, Precision
from engine.spec.recipes import Recipe
from engine.spec.run import RunSpec
from engine.training.activation_checkpointing import checkpoint_blocks
from engine.training.augmentation import EpochDraws, crop_and_flip, normalise
from engine.training.layout import choose, lay_out
from engine.training.numerics import LossScale, computing, resolve
from engine.training.sgd import SGD
from models.build import build_model

EVALUATION_BATCH_SIZE = 1000


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Images to evaluate a network on."""

    images: Tensor
    """uint8, [M, 32, 32, 3]."""
    labels: Tensor
    """int64, [M]."""


@dataclass(frozen=True, slots=True)
class DeviceData:
    """Training and test set on the training device."""

    train_images: Tensor
    """uint8, [N, 32, 32, 3]."""
    train_labels: Tensor
    """int64, [N]."""
    test_images: Tensor
    """uint8, [M, 32, 32, 3]."""
    test_labels: Tensor
    """int64, [M]."""
    mean: tuple[float, ...]
    """Per channel, for values in 0..1."""
    std: tuple[float, ...]
    validation: EvaluationSet | None = None
    """Images held out of training; None if the run has none."""

    @property
    def test(self) -> EvaluationSet:
        """The test set."""
        return EvaluationSet(self.test_images, self.test_labels)


def load_to_device(dataset: Dataset, spec: RunSpec, device: torch.device) -> DeviceData:
    """Copy a run's images to its device."""

    def copy(images: np.ndarray, labels: np.ndarray, chosen: np.ndarray | None) -> tuple[Tensor, Tensor]:
        if chosen is not None:
            images, labels = images[chosen], labels[chosen]
        # np.array copies the read-only memory map, which torch would wrap in a tensor that must not be written.
        return torch.from_numpy(np.array(images)).to(device), torch.from_numpy(np.array(labels)).to(device)

    num_classes, labels = dataset.info.num_classes, np.asarray(dataset.train_labels)
    is_whole = spec.data.train_images is None and spec.data.validation_images is None
    chosen, held_out = (None, None) if is_whole else split(labels, spec.data, num_classes)
    train_images, train_labels = copy(dataset.train_images, dataset.train_labels, chosen)
    validation: EvaluationSet | None = None
    if spec.data.validation_images is not None:
        validation = EvaluationSet(*copy(dataset.train_images, dataset.train_labels, held_out))
    tested: np.ndarray | None = None
    if spec.data.test_images is not None:
        test_labels_held = np.asarray(dataset.test_labels)
        tested = balanced_subset(test_labels_held, spec.data.test_images, num_classes, name="test_images")
    test_images, test_labels = copy(dataset.test_images, dataset.test_labels, tested)
    return DeviceData(
        train_images,
        train_labels,
        test_images,
        test_labels,
        mean=spec.data.mean or dataset.info.mean,
        std=spec.data.std or dataset.info.std,
        validation=validation,
    )


@dataclass(slots=True)
class MetricSums:
    """Sums of metrics over an epoch, kept on the device until read."""

    loss: Tensor
    """float64 scalar: cross entropy summed over images, in nats."""
    wrong: Tensor
    """int64 scalar: misclassified images."""
    num_images: int = 0
    """Counted on the host, which needs no synchronisation."""

    @classmethod
    def zeros(cls, device: torch.device) -> MetricSums:
        return cls(
            torch.zeros((), dtype=torch.float64, device=device), torch.zeros((), dtype=torch.int64, device=device)
        )

    def add(self, mean_loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch on the device: mean loss, logits [B, num_classes] and labels [B]; does not count `num_images`."""
        self.loss += mean_loss.double() * len(labels)
        self.wrong += (logits.argmax(1) != labels).sum()

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Tensors on the device, at fixed addresses, as CUDA graphs require."""
        return self.loss, self.wrong

    def reset(self) -> None:
        """Reset to zero in place."""
        self.loss.zero_()
        self.wrong.zero_()
        self.num_images = 0

    def set(self, loss: Tensor, wrong: Tensor, num_images: int) -> None:
        """Continue from restored sums."""
        self.loss.copy_(loss)
        self.wrong.copy_(wrong)
        self.num_images = num_images

    def read(self) -> tuple[float, int]:
        """Summed loss and number of misclassified images; synchronises once."""
        loss, wrong = torch.stack([self.loss, self.wrong.double()]).tolist()
        return loss, int(wrong)


@dataclass(slots=True)
class TrainingState:
    """Everything that changes during training."""

    model: nn.Module
    optimizer: SGD
    sums: MetricSums
    """Sums of the current epoch."""
    frozen: Tensor
    """float32 scalar on the device: 1 after the first non-finite loss, which stops all further updates."""
    frozen_steps: Tensor
    """float32 scalar on the device: steps since then."""
    next_step: int = 0
    precision: Precision = Precision.FP32
    """Resolved precision, never AUTO."""
    layout: Layout = Layout.CONTIGUOUS
    """Memory layout of images and weights."""
    loss_scale: LossScale | None = None
    """Loss scale for float16; None for other precisions."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def tensors(self) -> list[Tensor]:
        """All tensors a step changes: weights, statistics, momentum, sums, flags and loss scale."""
        momentum = self.optimizer.momentum_buffers.values()
        scale = [] if self.loss_scale is None else [self.loss_scale.factor, self.loss_scale.good_steps]
        flags = [self.frozen, self.frozen_steps]
        return [*self.model.parameters(), *self.model.buffers(), *momentum, *self.sums.tensors(), *flags, *scale]


def start_training(
    spec: RunSpec,
    device: torch.device,
    *,
    dtype: torch.dtype = torch.float32,
    precision: Precision | None = None,
    keep_layout: Layout | None = None,
) -> TrainingState:
    """Create the state before the first step; equal seeds give equal weights on every device.

    Args:
        spec: Network, recipe and seed.
        device: Training device.
        dtype: Type of parameters, and of activations without a lower precision.
        precision: Precision to compute in; None resolves the recipe's.
        keep_layout: Memory layout of a resumed run; None chooses it.

    Raises:
        ValueError: the device does not support the precision natively.
    """
    used = resolve(spec, device) if precision is None else precision
    torch.manual_seed(spec.seed)
    # Initialised on the CPU, whose random numbers are the same on every machine.
    model = build_model(spec.model).to(device=device, dtype=dtype)
    layout = choose(model, used, device, keep=keep_layout)
    lay_out(model, layout)
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
        layout=layout,
        loss_scale=LossScale.start(device) if used is Precision.FP16 else None,
        device=device,
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Input images and labels of one step."""

    images: Tensor
    """Normalised, [B, 3, 32, 32]."""
    labels: Tensor
    """int64, [B]."""


def training_batch(
    data: DeviceData, draws: EpochDraws, first: int, recipe: Recipe, *, dtype: torch.dtype = torch.float32
) -> Batch:
    """Make a batch, augmented and normalised.

    Args:
        data: Images on the device.
        draws: Order, offsets and flips of the epoch, on the same device.
        first: Position of the batch's first image in that order.
        recipe: Determines the batch size (the last batch may be smaller) and whether to augment.
        dtype: Type of the resulting images.
    """
    positions = slice(first, first + recipe.batch_size)
    chosen = draws.permutation[positions]
    images = data.train_images[chosen]  # [B, 32, 32, 3] uint8
    if recipe.augment:
        images = crop_and_flip(images, draws.offsets[positions], draws.flips[positions])
    return Batch(normalise(images, data.mean, data.std, dtype=dtype), data.train_labels[chosen])


def train_step(state: TrainingState, batch: Batch, *, learning_rate: float) -> None:
    """Update the network with the gradient of one batch; after a non-finite loss, the device skips the update.

    Args:
        state: Training state, changed in place.
        batch: Images and labels of this step.
        learning_rate: Learning rate of this update.
    """
    state.model.train()
    state.optimizer.learning_rate = learning_rate
    update(state, batch)
    state.next_step += 1
    state.sums.num_images += len(batch.labels)


def update(state: TrainingState, batch: Batch, *, keeps_gradients: bool = False) -> None:
    """Device part of a step. It reads nothing back, so it can be captured in a CUDA graph.

    Args:
        state: Training state, changed in place.
        batch: Images and labels of this step.
        keeps_gradients: Zero gradients in place instead of allocating new ones: same values, fixed addresses.
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
        # On a CPU, reading the flag costs nothing.
        state.optimizer.step()


def forward(model: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """Logits [B, num_classes] of images [B, 3, 32, 32], in the images' type whatever the precision."""
    with computing(precision, images.device):
        logits: Tensor = model(images)
    return logits.to(images.dtype)


def diverged_at(state: TrainingState) -> int | None:
    """First step with a non-finite loss, counted from 0; None if there is none. Synchronises."""
    frozen_steps = int(state.frozen_steps.item())
    return state.next_step - frozen_steps if frozen_steps else None


@torch.no_grad()
def has_finite_weights(state: TrainingState) -> bool:
    """Whether all weights are finite: the last update may have diverged after a finite loss. Synchronises."""
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
    held_out: EvaluationSet | None = None,
) -> tuple[float, float] | None:
    """Mean cross entropy and error on the test set or other images, without augmentation; synchronises once.

    Args:
        model: Maps [B, 3, 32, 32] to logits [B, num_classes]; left in evaluation mode.
        data: Images on the model's device.
        batch_size: Images a forward pass.
        dtype: Type of the model's parameters.
        precision: Precision of the forward pass.
        should_stop: Called before every batch; None never stops.
        held_out: Images to evaluate on; None takes the test set.

    Returns:
        Loss in nats per image, and error in percent; None if stopped early.
    """
    model.eval()
    evaluated = held_out or data.test
    sums = MetricSums.zeros(evaluated.images.device)
    for first in range(0, len(evaluated.labels), batch_size):
        if should_stop is not None and should_stop():
            return None
        images, labels = evaluated.images[first : first + batch_size], evaluated.labels[first : first + batch_size]
        logits = forward(model, normalise(images, data.mean, data.std, dtype=dtype), precision)  # [B, num_classes]
        sums.add(F.cross_entropy(logits, labels), logits, labels)
        sums.num_images += len(labels)
    loss, wrong = sums.read()
    return loss / sums.num_images, 100 * wrong / sums.num_images
