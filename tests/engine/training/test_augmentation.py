"""Crop, flip and normalise match torchvision bit for bit; draws depend only on seed and epoch."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import Tensor

from engine.training.augmentation import EpochDraws, crop_and_flip, normalise

MEAN, STD = (0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616)
ALL_OFFSETS = [(row, column) for row in range(9) for column in range(9)]


def random_images(num: int) -> Tensor:
    return torch.randint(0, 256, (num, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_crops_and_flips_equal_torchvision_at_every_offset():
    """All 81 crops, mirrored or not: pad with zeros, crop, flip, in this order."""
    # Imported here: it imports torch's compiler, which takes longer than collecting all tests.
    from torchvision.transforms.v2 import functional

    offsets = torch.tensor(ALL_OFFSETS * 2)
    flips = torch.arange(2 * len(ALL_OFFSETS)) >= len(ALL_OFFSETS)
    images = random_images(len(flips))
    result = crop_and_flip(images, offsets, flips)

    expected = []
    for image, (row, column), flip in zip(images, offsets.tolist(), flips.tolist(), strict=True):
        padded = functional.pad(image.permute(2, 0, 1), [4, 4, 4, 4], fill=0)
        cropped = functional.crop(padded, row, column, 32, 32)
        expected.append(functional.horizontal_flip(cropped) if flip else cropped)
    assert result.dtype == torch.uint8
    assert torch.equal(result, torch.stack(expected).permute(0, 2, 3, 1))


def test_the_middle_offset_changes_nothing():
    """Offset 4 with padding 4."""
    images = random_images(3)

    assert torch.equal(crop_and_flip(images, torch.full((3, 2), 4), torch.zeros(3, dtype=torch.bool)), images)


def test_an_empty_batch_stays_one():
    """The last batch of an epoch may have any size."""
    empty = crop_and_flip(random_images(0), torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))

    assert empty.shape == (0, 32, 32, 3)


def test_normalised_images_equal_totensor_and_normalize():
    """Every byte in every channel, in float32, as the textbook loop feeds them."""
    from torchvision import transforms

    images = torch.arange(256, dtype=torch.uint8).repeat(12).view(1, 32, 32, 3)
    images = torch.cat([images, images.roll(1, 3), images.roll(2, 3), random_images(5)])
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    expected = torch.stack([transform(Image.fromarray(image.numpy())) for image in images])
    result = normalise(images, MEAN, STD)

    assert result.dtype == torch.float32
    assert result.shape == (8, 3, 32, 32)
    assert result.is_contiguous()
    assert torch.equal(result, expected)


def test_float64_is_computed_in_float64():
    """Exact references need float64 arithmetic, not converted float32 results."""
    images = random_images(4)
    planes = images.permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (MEAN, STD))
    expected = (planes - mean) / std
    result = normalise(images, MEAN, STD, torch.float64)

    assert result.dtype == torch.float64
    assert torch.equal(result, expected)


def test_normalising_leaves_the_images_alone():
    """They are reused for the whole run."""
    images = random_images(2)
    before = images.clone()
    normalise(images, MEAN, STD)

    assert torch.equal(images, before)


def test_draws_depend_on_seed_and_epoch_alone():
    """A resumed run sees the same batches, whatever was drawn before."""
    first = EpochDraws.draw(3, 7, 100)
    torch.manual_seed(99)
    torch.rand(10)
    again = EpochDraws.draw(3, 7, 100)

    assert torch.equal(first.permutation, again.permutation)
    assert torch.equal(first.offsets, again.offsets)
    assert torch.equal(first.flips, again.flips)


def test_drawing_leaves_the_global_generator_alone():
    """Augmentation must not affect initialisation, nor vice versa."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    EpochDraws.draw(0, 0, 100)

    assert torch.equal(torch.rand(3), expected)


def test_seeds_and_epochs_do_not_share_draws():
    """Seed 0's epoch 1 is not seed 1's epoch 0, as it would be with seed + epoch; nor 1, 11 like 11, 1."""
    keys = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 11), (11, 1), (2**63 - 1, 0)]
    draws = [EpochDraws.draw(seed, epoch, 200) for seed, epoch in keys]

    assert len({tuple(draw.permutation.tolist()) for draw in draws}) == len(keys)
    assert len({tuple(draw.flips.tolist()) for draw in draws}) == len(keys)


def test_draws_have_their_shapes_and_ranges():
    """Every image once, offsets 0..8, about half mirrored."""
    draws = EpochDraws.draw(0, 0, 10_000)

    assert torch.equal(draws.permutation.sort().values, torch.arange(10_000))
    assert (draws.offsets.dtype, draws.offsets.shape) == (torch.int64, (10_000, 2))
    assert torch.bincount(draws.offsets.flatten(), minlength=9).min() > 2000
    assert (int(draws.offsets.min()), int(draws.offsets.max())) == (0, 8)
    assert draws.flips.dtype == torch.bool
    assert 4800 < int(draws.flips.sum()) < 5200


def test_draws_never_change_between_versions():
    """A run resumed by a newer depthscope continues with the same random numbers."""
    draws = EpochDraws.draw(42, 3, 5)

    assert draws.permutation.tolist() == [0, 3, 1, 2, 4]
    assert draws.offsets.tolist() == [[6, 4], [7, 7], [0, 5], [0, 0], [4, 7]]
    assert draws.flips.tolist() == [True, True, True, False, True]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gpu_computes_the_same_bits(dtype: torch.dtype):
    """Batches are equal on every device; only the network's arithmetic differs."""
    images = torch.cat([torch.arange(256, dtype=torch.uint8).repeat(12).view(1, 32, 32, 3), random_images(161)])
    offsets, flips = torch.tensor(ALL_OFFSETS * 2), torch.arange(162) >= 81
    on_cpu = crop_and_flip(images, offsets, flips)
    on_gpu = crop_and_flip(images.cuda(), offsets.cuda(), flips.cuda())

    assert on_gpu.device.type == "cuda"
    assert torch.equal(on_gpu.cpu(), on_cpu)
    assert torch.equal(normalise(images.cuda(), MEAN, STD, dtype).cpu(), normalise(images, MEAN, STD, dtype))
