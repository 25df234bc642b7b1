"""Whether a run fits on a device of this machine, and what is said where it does not. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import psutil

from engine import planner
from engine.base.errors import UsageError
from engine.base.units import byte_size
from engine.memory_estimate import MemoryEstimate, training_memory
from engine.planner import Remedy
from engine.spec.devices import Device, can_compute, candidates
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
    advice = planner.suggestion(
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
    remedy, _, fits = planner.first_fitting(
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
