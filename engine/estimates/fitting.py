"""Check whether a run fits in a device's memory, and what would make it fit. Does not import torch.

Throughout, `devices` come from `find_devices`, `native` are a device's precisions, preferred first, and `num_train` and
`num_test` are the images in the dataset.
"""

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
    """Estimated memory of a run against the limit."""

    estimate: MemoryEstimate
    device: Device
    """First device where it fits, else the one with the highest limit."""
    limit_bytes: int | None
    """None if unknown, because the driver does not report it and the run sets none; then every run fits."""

    @property
    def fits(self) -> bool:
        """Whether the estimate stays within the limit."""
        return self.limit_bytes is None or self.estimate.total_bytes <= self.limit_bytes


def limit_bytes(spec: RunSpec, device: Device) -> int | None:
    """Return the memory a run may use on a device: the device's total, or the run's own limit if that is lower."""
    there = device.memory_bytes if device.visible else machine_bytes()
    known = [size for size in (there, spec.memory_limit_bytes) if size is not None]
    return min(known, default=None)


def machine_bytes() -> int:
    """Return the machine's total memory."""
    return psutil.virtual_memory().total


def judge(spec: RunSpec, devices: Sequence[Device], *, num_train: int, num_test: int) -> Verdict:
    """Check a run's memory against the devices it may use.

    Raises:
        UsageError: the device it names does not exist.
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
    """Return the error for a run that does not fit: what it needs, the limit, and a remedy."""
    assert verdict.limit_bytes is not None, "refused a run without a limit"
    device = verdict.device
    whose = device.name if device.visible else "this machine"
    if verdict.limit_bytes == spec.memory_limit_bytes:
        whose = "--memory-limit"
    advice = suggestion(
        spec, device.native, verdict.limit_bytes, on_gpu=bool(device.visible), num_train=num_train, num_test=num_test
    )
    needed = byte_size(verdict.estimate.total_bytes)
    return f"{name} needs ~{needed}, the limit is {byte_size(verdict.limit_bytes)} ({whose}): {advice}"


def check_memory(name: str, spec: RunSpec, devices: Sequence[Device], *, num_train: int, num_test: int) -> None:
    """Check that a run fits on one of the devices it may use.

    Raises:
        UsageError: the run does not fit; the text names the limit and a remedy.
    """
    verdict = judge(spec, devices, num_train=num_train, num_test=num_test)
    if not verdict.fits:
        raise UsageError(refusal(name, spec, verdict, num_train=num_train, num_test=num_test))


def made_to_fit(
    spec: RunSpec, devices: Sequence[Device], *, may_change_batch: bool, num_train: int, num_test: int
) -> tuple[RunSpec, Remedy | None]:
    """Apply the first remedy that makes a run fit; one with a smaller batch only if the batch may change.

    Returns:
        The changed specification and the remedy; the original and None if it fits already or no allowed remedy helps.
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
    """Changes to a recipe that reduce memory; None leaves a field unchanged."""

    precision: Precision | None = None
    checkpoint_activations: bool | None = None
    batch_size: int | None = None

    @property
    def options(self) -> str:
        """Command-line options of the remedy."""
        options = []
        if self.precision is not None:
            options.append(f"--precision {self.precision}")
        if self.checkpoint_activations:
            options.append("--checkpoint-activations")
        if self.batch_size is not None:
            options.append(f"--batch-size {self.batch_size}")
        return " ".join(options)

    @property
    def keeps_the_batch(self) -> bool:
        """Whether the batch size, and so the course of training, is unchanged."""
        return self.batch_size is None

    def applied_to(self, spec: RunSpec) -> RunSpec:
        """Return the specification with the remedy applied."""
        changes = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(spec, recipe=msgspec.structs.replace(spec.recipe, **changes))


def remedies(spec: RunSpec, native: Sequence[Precision]) -> Iterator[Remedy]:
    """Iterate over possible remedies in the order to try them, leaving out what the run already does.

    First lower precision, then activation checkpointing, then both; then both with ever smaller batches, in powers of
    two.
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
    """Find the first remedy that makes a run fit, else the one that needs the least memory.

    Returns:
        The remedy (empty if there is none), the memory needed with it, and whether that fits.
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
    """Describe what would fit, to end the error about a run that does not."""
    remedy, needed, fits = first_fitting(
        spec, native, limit_bytes, on_gpu=on_gpu, num_train=num_train, num_test=num_test
    )
    size = f"~{byte_size(needed.total_bytes)}"
    if not fits:
        if needed.process_bytes >= limit_bytes:
            return f"the process alone needs at least {byte_size(needed.process_bytes)}: no network fits"
        with_all = f"even {remedy.options} needs {size}" if remedy.options else f"it needs at least {size}"
        return f"nothing fits, {with_all}: choose a smaller --width, fewer layers or a larger device"
    if remedy.keeps_the_batch:
        return f"{remedy.options} fits ({size})"
    return f"smaller batch: {remedy.options} fits ({size}), which changes the result"
