"""Smaller training and test sets that stay balanced."""

from __future__ import annotations

import numpy as np

from engine.base.errors import DatasetError
from engine.dataset_cache import Labels

SUBSET_SEED = 1512


def balanced_subset(labels: Labels, num: int, num_classes: int, *, what: str = "train_images") -> Labels:
    """Indices of a subset with equally many images of every class, the same at every call and on every machine.

    What does not divide goes to the first classes, and what a small class lacks to the others. A smaller subset with
    as many of a class lies within a larger one.

    Args:
        labels: int64, [N].
        num: Size of the subset.
        num_classes: Labels are in 0..num_classes-1.
        what: What the size is called in an error.

    Returns:
        int64, [num], sorted.

    Raises:
        DatasetError: num is not in 1..N.
    """
    if num > len(labels):
        raise DatasetError(f"{what} must be at most {len(labels)} (all there are), got {num}")
    if num < 1:
        raise DatasetError(f"{what} must be at least 1, got {num}")
    held = np.bincount(labels, minlength=num_classes)
    taken = np.zeros_like(held)
    while (missing := num - int(taken.sum())) > 0:
        (open_classes,) = np.nonzero(taken < held)
        share, rest = divmod(missing, len(open_classes))
        wanted = np.full(len(open_classes), share)
        wanted[:rest] += 1
        taken[open_classes] = np.minimum(held[open_classes], taken[open_classes] + wanted)
    # Only the raw stream of a bit generator is promised never to change with numpy's version.
    keys = np.random.PCG64(SUBSET_SEED).random_raw(len(labels))
    chosen = []
    for label, num_taken in enumerate(taken.tolist()):
        (members,) = np.nonzero(labels == label)
        chosen.append(members[np.argsort(keys[members], kind="stable")[:num_taken]])
    return np.sort(np.concatenate(chosen)).astype(np.int64)
