"""Specification of a run: an immutable, validated value that survives a JSON round trip unchanged."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

import msgspec

from engine.base.decoding import Real, Whole, decoder
from engine.base.errors import UsageError
from engine.spec.errors import InvalidField
from engine.spec.recipes import Recipe
from models.catalog import ModelSpec

SPEC_FORMAT = 1
MAX_SEED = 2**63 - 1


class DataSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Images a run trains and is evaluated on."""

    name: str = "cifar10"
    """Name of a dataset listed by `depthscope data ls`."""
    train_images: Whole | None = None
    """Size of a class-balanced training subset; None takes all."""
    test_images: Whole | None = None
    """Size of a class-balanced test subset; None takes all."""
    validation_images: Whole | None = None
    """Size of a class-balanced part of the training set that is held out of training; None holds out nothing.

    It depends on the dataset and this number alone, never on the run's seed, so that runs are compared on the same
    images. Best epochs and early stopping go by it, and the test set is evaluated once, after the last epoch.
    """
    mean: tuple[Real, Real, Real] | None = None
    """Mean of each channel for normalisation, of values in 0..1; None takes the dataset's."""
    std: tuple[Real, Real, Real] | None = None
    """Standard deviation of each channel; None takes the dataset's."""

    def __post_init__(self) -> None:
        for name, smallest in (("mean", 0.0), ("std", math.ulp(0.0))):
            values = getattr(self, name)
            if values is not None and not (len(values) == 3 and all(smallest <= one <= 1 for one in values)):
                above = "above 0 and up to 1" if smallest else "in 0..1"
                raise InvalidField(name, f"must be three numbers {above}, got {','.join(f'{one:g}' for one in values)}")
        for name, otherwise in (("train_images", "all"), ("test_images", "all"), ("validation_images", "none")):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidField(name, f"must be at least 1, or left out for {otherwise}, got {value}")

    def sizes(self, *, num_train: int, num_test: int) -> DataSizes:
        """Numbers of images that a run uses of a dataset with these numbers."""
        held_out = self.validation_images or 0
        return DataSizes(self.train_images or num_train - held_out, held_out, self.test_images or num_test)


class DataSizes(NamedTuple):
    """Numbers of images a run uses."""

    train: int
    validation: int
    """0 without a validation set."""
    test: int

    @property
    def each_epoch(self) -> int:
        """Images evaluated after every epoch."""
        return self.validation or self.test

    @property
    def once(self) -> int:
        """Images evaluated after the last epoch in addition."""
        return self.test if self.validation else 0


class StopRule(StrEnum):
    """Criterion that ends a run before its last epoch."""

    NOT_LEARNING = "not-learning"
    """Neither loss nor error better than guessing, nor improving (see `engine/analysis/learning.py`)."""


class RunSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Specification of one network trained with one seed."""

    format: Whole = SPEC_FORMAT
    """Version of the run directory and its journal."""
    model: ModelSpec
    data: DataSpec = DataSpec()
    recipe: Recipe = Recipe()
    seed: Whole = 0
    """Seed of initialisation, shuffling and augmentation."""
    device: str | None = None
    """`cpu`, or a GPU such as `cuda:1`; None takes the first free device."""
    memory_limit_bytes: Whole | None = None
    """Limit on device memory, to plan for a smaller card; None for no limit."""
    stop_when: StopRule | None = None
    """Early-stopping rule; None trains every epoch."""

    def __post_init__(self) -> None:
        if self.format != SPEC_FORMAT:
            raise ValueError(f"spec format {self.format} is not known: this depthscope reads format {SPEC_FORMAT}")
        if not 0 <= self.seed <= MAX_SEED:
            raise InvalidField("seed", f"must be in 0..{MAX_SEED}, got {self.seed}")
        if self.device is not None and self.device != "cpu" and not is_cuda_name(self.device):
            raise InvalidField("device", f"must be cpu or cuda:N, or left out for any, got {self.device!r}")
        if self.memory_limit_bytes is not None and self.memory_limit_bytes < 1:
            problem = f"must be at least 1, or left out for none, got {self.memory_limit_bytes}"
            raise InvalidField("memory_limit_bytes", problem)

    def steps_per_epoch(self, num_train: int) -> int:
        """Return the updates per epoch over `num_train` images, including a last partial batch."""
        return -(-num_train // self.recipe.batch_size)


def is_cuda_name(device: str) -> bool:
    """Return whether a device name is `cuda:` followed by a number."""
    kind, _, index = device.partition(":")
    return kind == "cuda" and index.isascii() and index.isdigit()


def encode_spec(spec: RunSpec) -> bytes:
    """Encode a spec as canonical JSON: equal specs give equal bytes."""
    return msgspec.json.encode(spec, order="deterministic")


_decode_spec: Callable[[bytes | str], RunSpec] = decoder(RunSpec)


def decode_spec(content: bytes) -> RunSpec:
    """Decode and validate a spec.

    Raises:
        UsageError: the content is not a valid spec; the text says where and why.
    """
    try:
        return _decode_spec(content)
    except msgspec.DecodeError as error:
        raise UsageError(f"not a run specification: {error}") from error


def check_fits_data(spec: RunSpec, *, num_train: int, num_test: int, num_classes: int) -> None:
    """Check that a run fits its dataset, which has these numbers of images and classes.

    Raises:
        InvalidField: a subset is larger than its set or smaller than the number of classes, the batch is larger than
            the training set, or the network has another number of classes.
    """
    for name, wanted, held in (
        ("train_images", spec.data.train_images, num_train),
        ("test_images", spec.data.test_images, num_test),
    ):
        if wanted is not None and not num_classes <= wanted <= held:
            raise InvalidField(name, f"must be in {num_classes}..{held} for {spec.data.name}, got {wanted}")
    held_out = spec.data.validation_images
    if held_out is not None:
        if not num_classes <= held_out <= num_train - num_classes:
            problem = f"must be in {num_classes}..{num_train - num_classes} for {spec.data.name}, got {held_out}"
            raise InvalidField("validation_images", problem)
        if (wanted := spec.data.train_images) is not None and wanted > num_train - held_out:
            problem = f"must be at most {num_train - held_out} beside {held_out} validation images, got {wanted}"
            raise InvalidField("train_images", problem)
    trained_on = spec.data.sizes(num_train=num_train, num_test=num_test).train
    if spec.recipe.batch_size > trained_on:
        problem = f"must be at most {trained_on} (the training set), got {spec.recipe.batch_size}"
        raise InvalidField("batch_size", problem)
    if spec.model.num_classes != num_classes:
        problem = f"must be {num_classes} for {spec.data.name}, got {spec.model.num_classes}: leave it out"
        raise InvalidField("num_classes", problem)
