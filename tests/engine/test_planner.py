"""Estimates of memory: larger where more is needed."""

from __future__ import annotations

import msgspec

from engine.planner import training_memory_bytes
from engine.spec import DataSpec
from tests.samples import sample_spec

SIZES = {"num_train": 50_000, "num_test": 10_000}


def test_memory_grows_with_depth_width_and_batch():
    """What is kept for the backward pass is what differs."""
    shallow, deep = sample_spec("resnet", 20), sample_spec("resnet", 110)
    small = msgspec.structs.replace(shallow, recipe=msgspec.structs.replace(shallow.recipe, batch_size=32))

    assert training_memory_bytes(deep, **SIZES) > 3 * training_memory_bytes(shallow, **SIZES)
    assert training_memory_bytes(small, **SIZES) < training_memory_bytes(shallow, **SIZES)


def test_memory_counts_the_images_that_are_trained_on():
    """They lie on the device, three kilobytes each."""
    whole = sample_spec("he-resnet", 20)
    part = msgspec.structs.replace(whole, data=DataSpec(train_images=10_000, test_images=1_000))

    less = training_memory_bytes(whole, **SIZES) - training_memory_bytes(part, **SIZES)

    assert less == (40_000 + 9_000) * 3 * 32 * 32
