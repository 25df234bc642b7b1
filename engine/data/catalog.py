"""Built-in datasets and rules for dataset names. Does not import NumPy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from engine.base.errors import DatasetError

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A dataset that depthscope can fetch or generate."""

    num_train: int
    num_test: int
    num_classes: int
    source: str
    """Description for listings."""
    synthetic: bool = False


BUILT_IN = {
    "cifar10": BuiltIn(50_000, 10_000, 10, "CIFAR-10"),
    "cifar100": BuiltIn(50_000, 10_000, 100, "CIFAR-100, fine labels"),
    "fashion-mnist": BuiltIn(60_000, 10_000, 10, "Fashion-MNIST, 28×28 grey in a black frame"),
    "synthetic": BuiltIn(10_000, 2_000, 10, "synthetic: shapes drawn by depthscope, no photographs", synthetic=True),
}


def is_name(name: str) -> bool:
    """Return whether a string is a valid dataset name, and so a safe file name."""
    return NAME_PATTERN.fullmatch(name) is not None


def check_new_name(name: str) -> None:
    """Check the name of a dataset to import.

    Raises:
        DatasetError: the name is invalid or that of a built-in dataset.
    """
    if not is_name(name):
        raise DatasetError(
            f"name must be 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit, got {name!r}"
        )
    if name in BUILT_IN:
        raise DatasetError(
            f"name must not be that of a built-in dataset, got {name}: choose another, such as my-{name}"
        )


def unknown_dataset(name: str, known: Iterable[str]) -> DatasetError:
    """Return the error for an unknown dataset; it lists the known names and the closest one."""
    names = list(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f", the nearest is {nearest[0]}" if nearest else ""
    return DatasetError(
        f"dataset {name!r} is not known: there are {', '.join(names)}{hint}; "
        "bring in another with `depthscope data import`"
    )


def damaged_dataset(name: str, problem: str) -> DatasetError:
    """Return the error for a stored dataset that cannot be used, with the remedy."""
    remedy = "import it again with `depthscope data import`"
    if name in BUILT_IN:
        remedy = f"fetch it again with `depthscope data fetch {name}`"
    return DatasetError(f"{name}: {problem}; {remedy}")
