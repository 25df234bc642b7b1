"""What was asked: one run as a frozen value that cannot hold nonsense and goes through JSON unchanged."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from engine.base.errors import UsageError
from engine.spec.recipes import Recipe
from models.catalog import ModelSpec

SPEC_FORMAT = 1
MAX_SEED = 2**63 - 1


class DataSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which images a run trains on and is measured on."""

    name: str = "cifar10"
    """A dataset that `depthscope data ls` shows."""
    train_images: int | None = None
    """Size of a class-balanced training subset; None takes all."""
    test_images: int | None = None
    """Size of a class-balanced test subset; None takes all."""

    def __post_init__(self) -> None:
        for name in ("train_images", "test_images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, or left out for all, got {value}")


class StopRule(StrEnum):
    """What a run may be asked to end by before its last epoch."""

    NOT_LEARNING = "not-learning"
    """A training loss that stays where guessing leaves it (`engine/diagnosis.py`)."""


class RunSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One training of one network with one seed."""

    format: int = SPEC_FORMAT
    """Version of the run directory, its journal included."""
    model: ModelSpec
    data: DataSpec = DataSpec()
    recipe: Recipe = Recipe()
    seed: int = 0
    """Keys initialisation, shuffling and augmentation."""
    device: str | None = None
    """`cpu`, or a GPU such as `cuda:1`; None takes the first that is free."""
    memory_limit_bytes: int | None = None
    """What it may take of its device's memory, to plan for a smaller card; None is all that there is."""
    stop_when: StopRule | None = None
    """What ends it before its last epoch; None lets it go on, hopeless or not."""

    def __post_init__(self) -> None:
        if self.format != SPEC_FORMAT:
            raise ValueError(f"spec format {self.format} is not known: this depthscope reads format {SPEC_FORMAT}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be in 0..{MAX_SEED}, got {self.seed}")
        if self.device is not None and self.device != "cpu" and not is_cuda_name(self.device):
            raise ValueError(f"device must be cpu or cuda:N, or left out for any, got {self.device!r}")
        if self.memory_limit_bytes is not None and self.memory_limit_bytes < 1:
            raise ValueError(
                f"memory_limit_bytes must be at least 1, or left out for none, got {self.memory_limit_bytes}"
            )

    def steps_per_epoch(self, num_train: int) -> int:
        """Updates an epoch over `num_train` images, the last partial batch included."""
        return -(-num_train // self.recipe.batch_size)


def is_cuda_name(device: str) -> bool:
    """Whether a device name is `cuda:` and a number."""
    kind, _, index = device.partition(":")
    return kind == "cuda" and index.isascii() and index.isdigit()


def encode_spec(spec: RunSpec) -> bytes:
    """The canonical JSON of a spec: equal specs give equal bytes."""
    return msgspec.json.encode(spec, order="deterministic")


def decode_spec(content: bytes) -> RunSpec:
    """Read a spec.

    Raises:
        UsageError: the content is no spec; the text says where and why.
    """
    try:
        return msgspec.json.decode(content, type=RunSpec)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"not a run specification: {error}") from error


def check_fits_data(spec: RunSpec, *, num_train: int, num_test: int, num_classes: int) -> None:
    """Refuse a run that its dataset cannot serve.

    Args:
        spec: What was asked.
        num_train: Training images that the dataset holds.
        num_test: Test images that it holds.
        num_classes: Classes that it holds.

    Raises:
        ValueError: a subset is larger than its set or smaller than the number of classes, the batch is larger than
            what is trained on, or the network's head does not fit the classes.
    """
    for name, wanted, held in (
        ("train_images", spec.data.train_images, num_train),
        ("test_images", spec.data.test_images, num_test),
    ):
        if wanted is not None and not num_classes <= wanted <= held:
            raise ValueError(f"{name} must be in {num_classes}..{held} for {spec.data.name}, got {wanted}")
    trained_on = spec.data.train_images or num_train
    if spec.recipe.batch_size > trained_on:
        raise ValueError(f"batch_size must be at most {trained_on} (the training set), got {spec.recipe.batch_size}")
    if spec.model.num_classes != num_classes:
        raise ValueError(
            f"num_classes must be {num_classes} for {spec.data.name}, got {spec.model.num_classes}: leave it out"
        )
