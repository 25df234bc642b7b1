"""Whether a run fits on a device of this machine, and what would make it fit. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import psutil

from engine.base.errors import UsageError
from engine.base.units import byte_size
from engine.estimates.memory import MemoryEstimate, training_memory, used_precision
from engine.spec.devices import Device, can_compute, candidates
from engine.spec.precision import BYTES_OF_ACTIVATION, Precision
from engine.spec.run import RunSpec


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is estimated to need, and what there is for it."""

    estimate: MemoryEstimate
    device: Device
    """Where it fits, else where there is most room."""
    limit_bytes: int | None
    """None where the driver keeps back what its card has, and no limit is given: then nothing is refused."""

    @property
    def fits(self) -> bool:
        """Whether the estimate is within the limit."""
        return self.limit_bytes is None or self.estimate.total_bytes <= self.limit_bytes


def limit_bytes(spec: RunSpec, device: Device) -> int | None:
    """What a run may take there: the memory of the card or of the machine, or its own limit where that is less."""
    there = device.memory_bytes if device.visible else machine_bytes()
    known = [size for size in (there, spec.memory_limit_bytes) if size is not None]
    return min(known, default=None)


def machine_bytes() -> int:
    """All the memory that this machine has, for what trains on the CPU."""
    return psutil.virtual_memory().total


def judge(spec: RunSpec, devices: Sequence[Device], *, num_train: int, num_test: int) -> Verdict:
    """Whether a run fits on one of the devices that it may go to.

    Args:
        spec: What was asked.
        devices: Those of this machine, as `find_devices` gives them.
        num_train: Training images that the dataset holds.
        num_test: Test images that it holds.

    Raises:
        UsageError: the device that it asks for is not there.
    """
    possible = candidates(spec.device, devices)
    able = [device for device in possible if can_compute(device, spec.recipe.precision)] or possible[:1]
    verdicts = [
        Verdict(
            estimate=training_memory(
                spec, device.native, on_gpu=bool(device.visible), num_train=num_train, num_test=num_test
            ),
            device=device,
            limit_bytes=limit_bytes(spec, device),
        )
        for device in able
    ]
    fitting = [verdict for verdict in verdicts if verdict.fits]
    return fitting[0] if fitting else max(verdicts, key=lambda verdict: verdict.limit_bytes or 0)


def refusal(name: str, spec: RunSpec, verdict: Verdict, *, num_train: int, num_test: int) -> str:
    """The line for a run that does not fit: what it needs, what there is, and what would fit.

    Args:
        name: Of the run.
        spec: What was asked.
        verdict: Of `judge`.
        num_train: Training images that the dataset holds.
        num_test: Test images that it holds.
    """
    assert verdict.limit_bytes is not None, "refused a run where nothing limits it"
    device = verdict.device
    if verdict.limit_bytes == spec.memory_limit_bytes:
        whose = "--memory-limit"
    else:
        whose = device.name if device.visible else "this machine"
    advice = suggestion(
        spec,
        device.native,
        verdict.limit_bytes,
        on_gpu=bool(device.visible),
        num_train=num_train,
        num_test=num_test,
    )
    needed = byte_size(verdict.estimate.total_bytes)
    return f"{name} needs ~{needed}, the limit is {byte_size(verdict.limit_bytes)} ({whose}): {advice}"


def check_memory(name: str, spec: RunSpec, devices: Sequence[Device], *, num_train: int, num_test: int) -> None:
    """Refuse a run that fits on none of the devices that it may go to.

    Raises:
        UsageError: it does not fit; the text says by how much, and what would.
    """
    verdict = judge(spec, devices, num_train=num_train, num_test=num_test)
    if not verdict.fits:
        raise UsageError(refusal(name, spec, verdict, num_train=num_train, num_test=num_test))


def made_to_fit(
    spec: RunSpec, devices: Sequence[Device], *, may_change_batch: bool, num_train: int, num_test: int
) -> tuple[RunSpec, Remedy | None]:
    """A run with the first remedy that makes it fit.

    Args:
        spec: What was asked.
        devices: Those of this machine.
        may_change_batch: Whether the user has agreed to a smaller batch too.
        num_train: Training images that the dataset holds.
        num_test: Test images that it holds.

    Returns:
        The run as it is to be trained, and the remedy; the run as it was and None where it fits already, or where
        nothing that was agreed to makes it fit.
    """
    verdict = judge(spec, devices, num_train=num_train, num_test=num_test)
    if verdict.limit_bytes is None or verdict.fits:
        return spec, None
    remedy, _, fits = first_fitting(
        spec,
        verdict.device.native,
        verdict.limit_bytes,
        on_gpu=bool(verdict.device.visible),
        num_train=num_train,
        num_test=num_test,
    )
    if not fits or not (remedy.keeps_the_batch or may_change_batch):
        return spec, None
    return remedy.applied_to(spec), remedy


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
