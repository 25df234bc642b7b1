"""Textbook training loop, the reference for `depthscope bench` and the parity tests.

Reimplements pytorch-cifar's main.py: torchvision transforms per image in two DataLoader workers, contiguous float32
images, torch.optim.SGD with defaults, and `loss.item()` at every step. It shares no code with depthscope's training, so
that neither can hide a bug in the other.

Source: github.com/kuangliu/pytorch-cifar, main.py, for what is done and in which order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from engine.spec.recipes import Recipe

NUM_LOADER_WORKERS = 2
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Images as from torchvision's CIFAR10: PIL images, transformed one by one.

    Args:
        images: uint8, [N, 32, 32, 3].
        labels: int64, [N].
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self._images = images
        self._labels = labels
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image: Tensor = self._transform(Image.fromarray(self._images[index]))
        return image, int(self._labels[index])


class TextbookLoop:
    """Training loop that is advanced one step at a time.

    Args:
        model: Any classifier of [B, 3, 32, 32] images; moved to the device.
        recipe: Gives batch size, learning rate, momentum and weight decay; the rate is constant.
        images: uint8, [N, 32, 32, 3].
        labels: int64, [N].
        device: Where to train.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, images: np.ndarray, labels: np.ndarray, device: torch.device
    ) -> None:
        self._device = device
        self._model = model.to(device)
        # Like the original: cuDNN searches for the fastest convolution of each shape.
        torch.backends.cudnn.benchmark = True
        self._criterion = nn.CrossEntropyLoss()
        self._optimizer = torch.optim.SGD(
            model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        self._loader = DataLoader(
            ImageDataset(images, labels), batch_size=recipe.batch_size, shuffle=True, num_workers=NUM_LOADER_WORKERS
        )
        self._batches: Iterator[tuple[Tensor, Tensor]] = iter(())
        self.train_loss = 0.0
        """Loss of the last step, in nats."""
        self.correct = 0
        """Correctly classified images so far."""

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return the next batch, starting a new epoch after the last."""
        try:
            return next(self._batches)
        except StopIteration:
            self._batches = iter(self._loader)
            return next(self._batches)

    def step(self) -> int:
        """Perform one update; return its number of images."""
        self._model.train()
        images, labels = self.next_batch()
        images, labels = images.to(self._device), labels.to(self._device)
        self._optimizer.zero_grad()
        outputs = self._model(images)
        loss = self._criterion(outputs, labels)
        loss.backward()
        self._optimizer.step()
        self.train_loss = loss.item()
        _, predicted = outputs.max(1)
        self.correct += predicted.eq(labels).sum().item()
        return len(labels)
