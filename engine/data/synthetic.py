"""A generated dataset of ten kinds of shapes, which needs no download.

A class is an outline (disc, ring, square, triangle, cross) with a fill (plain or striped). Position, size, angle,
colours, stripes and noise vary, so no single pixel or colour reveals the class, and mirroring or shifting an image by a
few pixels preserves it. Errors on this dataset show how a network trains; they say nothing about photographs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.data.cache import Images, ImageSets, Labels
from engine.data.catalog import BUILT_IN

OUTLINES = ("disc", "ring", "square", "triangle", "cross")
FILLS = ("plain", "striped")
CLASSES = tuple(f"synthetic {fill} {outline}" for outline in OUTLINES for fill in FILLS)

SEED = 20151210
CHUNK_IMAGES = 500
NOISE = 0.35
"""Maximum deviation of a pixel with values in 0..1; the distribution is triangular."""

Floats = npt.NDArray[np.float64]


def draw() -> ImageSets:
    """Generate the whole dataset, identical on every machine, in a few seconds."""
    known = BUILT_IN["synthetic"]
    # NumPy guarantees only a bit generator's raw stream across versions.
    bits = np.random.PCG64(SEED)
    train_images, train_labels = draw_set(bits, known.num_train)
    test_images, test_labels = draw_set(bits, known.num_test)
    return ImageSets(
        source=known.source,
        classes=CLASSES,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        synthetic=True,
    )


def draw_set(bits: np.random.PCG64, num: int) -> tuple[Images, Labels]:
    """Draw images, uint8 [N, 32, 32, 3], and labels, int64 [N], cycling through the classes."""
    labels = np.arange(num, dtype=np.int64) % len(CLASSES)
    chunks = [draw_images(bits, labels[first : first + CHUNK_IMAGES]) for first in range(0, num, CHUNK_IMAGES)]
    return np.concatenate(chunks), labels


def uniform(bits: np.random.PCG64, *shape: int) -> Floats:
    """Draw numbers in 0..1, from 53 bits each."""
    raw = bits.random_raw(int(np.prod(shape)))
    return (raw >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53


def draw_images(bits: np.random.PCG64, labels: Labels) -> Images:
    """Draw one image per label, uint8 [B, 32, 32, 3]."""
    num = len(labels)
    outline, fill = labels // len(FILLS), labels % len(FILLS)
    rows, columns = np.mgrid[0:32, 0:32] - 15.5  # [32, 32] each
    centre = 8 * uniform(bits, num, 2, 1, 1) - 4
    y, x = rows - centre[:, 0], columns - centre[:, 1]  # [B, 32, 32] each

    u, v = turned(x, y, 2 * np.pi * uniform(bits, num))
    size = 6.5 + 3.5 * uniform(bits, num)[:, None, None]
    inside = np.clip(0.5 - signed_distance(u, v, outline, size), 0, 1)[..., None]  # [B, 32, 32, 1]

    along, _ = turned(x, y, 2 * np.pi * uniform(bits, num))
    width = 1.5 + uniform(bits, num)[:, None, None]
    stripe = np.floor(along / width + 2 * uniform(bits, num)[:, None, None]) % 2 * (fill == 1)[:, None, None]

    ground, figure, band = contrasting_colours(bits, num)
    drawn = np.where(stripe[..., None] > 0, band, figure)
    # A brightness gradient across every image keeps brightness alone from revealing the class.
    slope, _ = turned(x, y, 2 * np.pi * uniform(bits, num))
    light = slope[..., None] * 0.02 * uniform(bits, num)[:, None, None, None]
    noise = (uniform_bytes(bits, num) + uniform_bytes(bits, num) - 1) * NOISE
    picture = ground * (1 - inside) + drawn * inside + light + noise
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def uniform_bytes(bits: np.random.PCG64, num: int) -> Floats:
    """Draw numbers in 0..1, from 8 bits each, [B, 32, 32, 3]."""
    raw = bits.random_raw(num * 32 * 32 * 3 // 8).astype("<u8").view(np.uint8)
    return raw.reshape(num, 32, 32, 3) / 255


def turned(x: Floats, y: Floats, angle: Floats) -> tuple[Floats, Floats]:
    """Rotate coordinates [B, 32, 32] by an angle [B] in radians."""
    cosine, sine = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    return cosine * x + sine * y, cosine * y - sine * x


def signed_distance(u: Floats, v: Floats, outline: Labels, size: Floats) -> Floats:
    """Signed distance from each image's outline in pixels, negative inside: [B, 32, 32]."""
    radius = np.sqrt(u * u + v * v)
    across, down = np.abs(u), np.abs(v)
    half_root_3 = np.sqrt(0.75)
    distances = (
        radius - size,
        np.abs(radius - 0.72 * size) - 0.28 * size,
        np.maximum(across, down) - 0.85 * size,
        np.maximum(half_root_3 * across - 0.5 * v, v) - 0.6 * size,
        np.minimum(np.maximum(across - size, down - 0.3 * size), np.maximum(down - size, across - 0.3 * size)),
    )
    return np.select([(outline == index)[:, None, None] for index in range(len(OUTLINES))], distances)


def contrasting_colours(bits: np.random.PCG64, num: int) -> tuple[Floats, Floats, Floats]:
    """Draw colours [B, 1, 1, 3] of background, shape and stripes, a fifth of the range apart or more."""
    ground = uniform(bits, num, 1, 1, 3)
    figure = (ground + 0.27 + 0.13 * uniform(bits, num, 1, 1, 3)) % 1
    band = (ground + 0.60 + 0.13 * uniform(bits, num, 1, 1, 3)) % 1
    return ground, figure, band
