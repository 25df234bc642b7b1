"""What would make a run fit that needs more memory than there is, by estimate and without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from engine.base.units import byte_size
from engine.memory_estimate import MemoryEstimate, training_memory, used_precision
from engine.spec.precision import BYTES_OF_ACTIVATION, Precision
from engine.spec.run import RunSpec


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """What would make a run need less memory; None leaves a field of the recipe as it is."""

    precision: Precision | None = None
    checkpoint_activations: bool | None = None
    batch_size: int | None = None

    @property
    def options(self) -> str:
        """As typed on the command line."""
        words = []
        if self.precision is not None:
            words.append(f"--precision {self.precision}")
        if self.checkpoint_activations:
            words.append("--checkpoint-activations")
        if self.batch_size is not None:
            words.append(f"--batch-size {self.batch_size}")
        return " ".join(words)

    @property
    def keeps_the_batch(self) -> bool:
        """Whether it leaves the batch, and with it the course of the training, as it was asked for."""
        return self.batch_size is None

    def applied_to(self, spec: RunSpec) -> RunSpec:
        """The run with the remedy."""
        changes = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(spec, recipe=msgspec.structs.replace(spec.recipe, **changes))


def remedies(spec: RunSpec, native: Sequence[Precision]) -> Iterator[Remedy]:
    """What would make a run need less, in the order in which to try it; what it has already is left out.

    Precision, activation checkpointing, both; then, with all of these, halves of the batch in powers of two.

    Args:
        spec: What was asked.
        native: Precisions that the device does natively, the preferred first.
    """
    width = BYTES_OF_ACTIVATION[used_precision(spec, native)]
    narrower = next((one for one in native if BYTES_OF_ACTIVATION[one] < width), None)
    recomputing = None if spec.recipe.checkpoint_activations else True
    if narrower is not None:
        yield Remedy(precision=narrower)
    if recomputing:
        yield Remedy(checkpoint_activations=True)
    if narrower is not None and recomputing:
        yield Remedy(precision=narrower, checkpoint_activations=True)
    power = (spec.recipe.batch_size - 1).bit_length() - 1
    for exponent in range(power, -1, -1):
        yield Remedy(precision=narrower, checkpoint_activations=recomputing, batch_size=2**exponent)


def first_fitting(
    spec: RunSpec, native: Sequence[Precision], limit_bytes: int, *, on_gpu: bool, num_train: int, num_test: int
) -> tuple[Remedy, MemoryEstimate, bool]:
    """The first remedy with which a run fits, else the one that needs least.

    Args:
        spec: What was asked.
        native: Precisions that the device does natively, the preferred first.
        limit_bytes: What there is.
        on_gpu: Whether the device is a GPU.
        num_train: Training images that the dataset holds.
        num_test: Test images that it holds.

    Returns:
        The remedy (of no change, where there is none), what the run needs with it, and whether that fits.
    """

    def needs(changed: RunSpec) -> MemoryEstimate:
        return training_memory(changed, native, on_gpu=on_gpu, num_train=num_train, num_test=num_test)

    best, least = Remedy(), needs(spec)
    for remedy in remedies(spec, native):
        needed = needs(remedy.applied_to(spec))
        if needed.total_bytes <= limit_bytes:
            return remedy, needed, True
        if needed.total_bytes < least.total_bytes:
            best, least = remedy, needed
    return best, least, False


def suggestion(
    spec: RunSpec, native: Sequence[Precision], limit_bytes: int, *, on_gpu: bool, num_train: int, num_test: int
) -> str:
    """What would fit, in words: a part of a line that says that the run does not.

    Args:
        spec: What was asked, and does not fit.
        native: Precisions that the device does natively, the preferred first.
        limit_bytes: What there is.
        on_gpu: Whether the device is a GPU.
        num_train: Training images that the dataset holds.
        num_test: Test images that it holds.
    """
    remedy, needed, fits = first_fitting(
        spec, native, limit_bytes, on_gpu=on_gpu, num_train=num_train, num_test=num_test
    )
    size = f"~{byte_size(needed.total_bytes)}"
    if not fits:
        if needed.process_bytes >= limit_bytes:
            return f"at least {byte_size(needed.process_bytes)} is needed for the process itself: no network fits"
        with_all = f"even {remedy.options} needs {size}" if remedy.options else f"it needs {size} and cannot need less"
        return f"nothing fits, {with_all}: a smaller --width, fewer layers or a larger device is needed"
    if remedy.keeps_the_batch:
        return f"{remedy.options} fits ({size})"
    return f"smaller batch: {remedy.options} fits ({size}), which changes the result"
