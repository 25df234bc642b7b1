"""Crop, flip and normalise batches on the device, bit-identical to torchvision's transforms of single images.

An epoch's random draws depend only on (seed, epoch), so a resumed run, a run on the CPU and a run on a GPU see the same
batches.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 4
SIDE = 32


@dataclass(frozen=True, slots=True)
class EpochDraws:
    """Random draws of one epoch; `offsets` and `flips` are indexed by position in the epoch, not by image."""

    permutation: Tensor
    """int64, [N]: image index at each position."""
    offsets: Tensor
    """int64, [N, 2]: row and column of the crop in the padded image, 0..8; 4 is the middle."""
    flips: Tensor
    """bool, [N]."""

    @classmethod
    def draw(cls, seed: int, epoch: int, num_images: int) -> EpochDraws:
        """Draw for one epoch of a run, counted from 0, on the CPU."""
        generator = torch.Generator().manual_seed(generator_key(seed, epoch))
        return cls(
            permutation=torch.randperm(num_images, generator=generator),
            offsets=torch.randint(0, 2 * PADDING + 1, (num_images, 2), generator=generator),
            flips=torch.randint(0, 2, (num_images,), generator=generator, dtype=torch.uint8).bool(),
        )

    def to(self, device: torch.device) -> EpochDraws:
        """Copy the draws to a device, once per epoch."""
        return EpochDraws(self.permutation.to(device), self.offsets.to(device), self.flips.to(device))


def generator_key(seed: int, epoch: int) -> int:
    """Derive the seed of an epoch's generator: first 8 bytes, big-endian, of SHA-256("depthscope <seed> <epoch>").

    Hashed, because seed + epoch would repeat the draws of other runs.
    """
    return int.from_bytes(hashlib.sha256(f"depthscope {seed} {epoch}".encode()).digest()[:8], "big")


def crop_and_flip(images: Tensor, offsets: Tensor, flips: Tensor) -> Tensor:
    """Pad by 4 zeros, crop back to 32×32 and mirror, as RandomCrop(32, padding=4) and RandomHorizontalFlip do.

    Args:
        images: uint8, [B, 32, 32, 3].
        offsets: int64, [B, 2], row and column of each crop in its padded image, 0..8.
        flips: bool, [B], which to mirror, after the crop.

    Returns:
        uint8, [B, 32, 32, 3], on the device of the images.
    """
    num = len(images)
    width = SIDE + 2 * PADDING
    padded = F.pad(images, (0, 0, PADDING, PADDING, PADDING, PADDING))  # [B, 40, 40, 3]
    ramp = torch.arange(SIDE, device=images.device)
    rows = offsets[:, :1] + ramp  # [B, 32]
    columns = offsets[:, 1:] + torch.where(flips[:, None], SIDE - 1 - ramp, ramp)  # [B, 32]
    first = torch.arange(num, device=images.device)[:, None, None] * (width * width)
    index = first + rows[:, :, None] * width + columns[:, None, :]  # [B, 32, 32]
    return padded.view(-1, 3).index_select(0, index.view(-1)).view(num, SIDE, SIDE, 3)


def normalise(
    images: Tensor, mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Normalise images like torchvision's ToTensor and Normalize(mean, std).

    Divides by 255, like ToTensor; v2.ToDtype(scale=True) multiplies by the reciprocal, which rounds differently.

    Args:
        images: uint8, [B, 32, 32, 3].
        mean: Of each channel, for values in 0..1.
        std: Of each channel.
        dtype: float32 or float64; the arithmetic is done in it.

    Returns:
        dtype, [B, 3, 32, 32], contiguous, on the device of the images.
    """
    full, shift, scale = constants(mean, std, dtype, images.device)
    planes = images.permute(0, 3, 1, 2).to(dtype, memory_format=torch.contiguous_format)
    return planes.div_(full).sub_(shift).div_(scale)


@functools.lru_cache(maxsize=16)
def constants(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return 255 [], mean and std [3, 1, 1] on the device, cached because copying them per batch would synchronise.

    255 is a tensor because CUDA divides by a host number through its reciprocal, which rounds differently from the CPU.
    """
    return (
        torch.tensor(255, dtype=dtype, device=device),
        torch.tensor(mean, dtype=dtype, device=device).view(-1, 1, 1),
        torch.tensor(std, dtype=dtype, device=device).view(-1, 1, 1),
    )
