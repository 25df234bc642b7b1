"""Subsets: balanced, the same at every call, and no larger than the dataset."""

from __future__ import annotations

import numpy as np
import pytest

from engine.base.errors import DatasetError
from engine.data import datasets
from engine.spec.run import DataSpec


def test_a_subset_is_balanced_and_always_the_same():
    """Ten per class, the remainder from the first ones; without a seed, which would have to be reported."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 50))
    chosen = datasets.balanced_subset(labels, 42, 4)

    assert chosen.dtype == np.int64
    assert np.all(np.diff(chosen) > 0)
    assert np.bincount(labels[chosen]).tolist() == [11, 11, 10, 10]
    assert np.array_equal(chosen, datasets.balanced_subset(labels, 42, 4))
    assert chosen[:6].tolist() == [4, 6, 9, 11, 15, 27]
    assert np.isin(datasets.balanced_subset(labels, 20, 4), chosen).all()


def test_a_subset_takes_what_small_classes_lack_from_the_others():
    """All images are a subset too, balanced or not."""
    labels = np.repeat(np.arange(3), (2, 10, 20))

    assert np.bincount(labels[datasets.balanced_subset(labels, 12, 3)]).tolist() == [2, 5, 5]
    assert np.bincount(labels[datasets.balanced_subset(labels, 30, 3)]).tolist() == [2, 10, 18]
    assert datasets.balanced_subset(labels, 32, 3).tolist() == list(range(32))


def test_a_subset_larger_than_the_set_is_refused():
    """A subset cannot be larger than the dataset."""
    with pytest.raises(DatasetError, match=r"^train_images must be at most 4 \(all there are\), got 5$"):
        datasets.balanced_subset(np.zeros(4, dtype=np.int64), 5, 1)
    with pytest.raises(DatasetError, match=r"^test_images must be at least 1, got 0$"):
        datasets.balanced_subset(np.zeros(4, dtype=np.int64), 0, 1, name="test_images")


LABELS = np.random.default_rng(1).permutation(np.repeat(np.arange(4), 50))


def test_validation_images_are_balanced_and_never_trained_on():
    """What is left is trained on, whole or as a balanced subset."""
    whole, held_out = datasets.split(LABELS, DataSpec(validation_images=40), 4)
    part, _ = datasets.split(LABELS, DataSpec(validation_images=40, train_images=60), 4)

    assert np.bincount(LABELS[held_out]).tolist() == [10] * 4
    assert np.bincount(LABELS[part]).tolist() == [15] * 4
    assert sorted([*whole, *held_out]) == list(range(200))
    assert not set(part) & set(held_out)


def test_validation_images_depend_on_their_number_alone():
    """Runs with other seeds or training subsets are compared on the same images."""
    held_out = [
        datasets.split(LABELS, DataSpec(validation_images=40, train_images=num), 4)[1].tolist()
        for num in (None, 60, 100)
    ]

    assert held_out[0] == held_out[1] == held_out[2]
    assert held_out[0][:5] == [6, 18, 19, 21, 23]
    assert held_out[0] != datasets.balanced_subset(LABELS, 40, 4).tolist()


def test_without_validation_images_a_run_trains_on_what_it_always_did():
    """Subsets of earlier runs keep their images."""
    chosen, held_out = datasets.split(LABELS, DataSpec(train_images=60), 4)

    assert np.array_equal(chosen, datasets.balanced_subset(LABELS, 60, 4))
    assert len(held_out) == 0
