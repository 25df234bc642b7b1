"""Where a run that waits may start: devices, how many workers each takes, and whether their memory suffices.

Memory is asked about only where a second worker would come to a device: the first one on an empty device always
starts, so that an estimate which is too high keeps no run from its turn.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.base.errors import DatasetError, UsageError
from engine.base.paths import Home
from engine.estimates.memory import training_memory
from engine.runs.directory import Assignment
from engine.runs.run import Run
from engine.spec.devices import CPU, Device, MemoryReading, can_compute, candidates, read_memory
from engine.spec.places import num_places, num_threads, places_taken
from engine.spec.settings import Settings
from models.catalog import ModelSpec

SECONDS_BETWEEN_READINGS = 2.0
"""A driver is not asked four times a second how much memory is free."""
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Occupant:
    """A run that is on a device."""

    run: Run
    is_growing: bool
    """Whether its worker has not done a step yet, so that what it needs is still counted as free."""


@dataclass(frozen=True, slots=True)
class MemoryShort:
    """A run has to wait until there is memory for it."""

    devices: tuple[str, ...]
    needed_bytes: int

    def __str__(self) -> str:
        where, gib = " or ".join(self.devices), self.needed_bytes / GIB
        return f"waits for memory on {where}: needs an estimated {gib:.2g} GiB beside what runs there"


@dataclass(frozen=True, slots=True)
class PlacesShort:
    """A run has to wait until the narrow networks on a device have left all of it to the run."""

    devices: tuple[str, ...]

    def __str__(self) -> str:
        return f"waits for all cores of {' or '.join(self.devices)}: narrow networks train there"


class Slots:
    """The places for workers on this machine.

    Args:
        home: Whose datasets are asked for their sizes.
        devices: Where to train, at least the CPU.
        settings: How many workers each takes.
        read_memory: What tells how much memory a device has free, and in all.
    """

    def __init__(
        self,
        home: Home,
        devices: Sequence[Device],
        settings: Settings,
        read_memory: Callable[[Device], MemoryReading] = read_memory,
    ) -> None:
        self.devices = tuple(devices)
        self._home = home
        self._settings = settings
        self._read_memory = read_memory
        self._readings: dict[str, tuple[float, MemoryReading]] = {}
        self._estimates: dict[tuple[str, str], int] = {}

    def num(self, device: Device) -> int:
        """Most workers at a time on a device."""
        return num_places(self._settings, device.name)

    def num_threads(self, device: Device, model: ModelSpec) -> int | None:
        """CPU threads of a worker there; None leaves the choice to torch, where the device is a worker's own."""
        return num_threads(self._settings, device.name, model)

    def any_free(self, working: Iterable[tuple[str, ModelSpec]], closed: frozenset[str] = frozenset()) -> bool:
        """Whether a device that is not closed takes one more worker.

        Args:
            working: Names of devices, and the network of each worker there.
            closed: Names of devices that take no more.
        """
        taken: Counter[str] = Counter()
        for name, model in working:
            taken[name] += places_taken(self._settings, name, model)
        return any(taken[device.name] < self.num(device) for device in self.devices if device.name not in closed)

    def num_free(self, device: Device, beside: Sequence[Occupant]) -> int:
        """Places of a device that the runs there leave."""
        taken = (places_taken(self._settings, device.name, other.run.spec.model) for other in beside)
        return self.num(device) - sum(taken)

    def choose(
        self, run: Run, occupied: Mapping[str, Sequence[Occupant]], closed: frozenset[str] = frozenset()
    ) -> Device | MemoryShort | PlacesShort | None:
        """Where a run may start: on the emptiest device that it may go to, and among equals on the one it was on last.

        A device whose whole memory is estimated not to suffice comes behind all others.

        Args:
            run: Names the device it wants, or None.
            occupied: Runs by the device that they are on.
            closed: Devices whose next place is another run's, which waits for memory or for more places there.

        Returns:
            The device, what the run waits for, or None where no place is free at all.
        """
        try:
            possible = candidates(run.spec.device, self.devices)
        except UsageError:
            # A GPU that was here when it was queued, and may come back.
            return None
        places = {
            device: self.num_free(device, occupied.get(device.name, ()))
            for device in possible
            if can_compute(device, run.spec.recipe.precision) and device.name not in closed
        }
        free = [
            device for device, num in places.items() if num >= places_taken(self._settings, device.name, run.spec.model)
        ]
        free.sort(
            key=lambda device: (
                self.is_too_small(device, run),
                len(occupied.get(device.name, ())),
                device.name != run.device,
            )
        )
        for device in free:
            if self.fits(run, device, occupied.get(device.name, ())):
                return device
        if not free:
            partly = tuple(device.name for device, num in places.items() if num > 0)
            return PlacesShort(partly) if partly else None
        return MemoryShort(tuple(device.name for device in free), self.estimate(run, free[0]))

    def fits(self, run: Run, device: Device, beside: Sequence[Occupant]) -> bool:
        """Whether the memory of a device suffices for a run beside those that are there.

        All estimates together must fit into the device, and the run, with those that have not taken theirs yet, into
        what is free: others than we may use the device too. A driver that does not tell is believed to have enough.
        """
        if not beside:
            return True
        reading, needed = self.memory(device), self.estimate(run, device)
        together = needed + sum(self.estimate(other.run, device) for other in beside)
        soon = needed + sum(self.estimate(other.run, device) for other in beside if other.is_growing)
        fits_all = reading.total_bytes is None or together <= reading.total_bytes
        return fits_all and (reading.free_bytes is None or soon <= reading.free_bytes)

    def is_too_small(self, device: Device, run: Run) -> bool:
        """Whether a card has less memory than a run is estimated to need; asked only where there are several cards."""
        if device.memory_bytes is None or sum(one != CPU for one in self.devices) < 2:
            return False
        return self.estimate(run, device) > device.memory_bytes

    def memory(self, device: Device) -> MemoryReading:
        """What a device has free and in all, at most `SECONDS_BETWEEN_READINGS` old."""
        now = time.monotonic()
        at, reading = self._readings.get(device.name, (-1.0, None))
        if reading is None or now - at > SECONDS_BETWEEN_READINGS:
            reading = self._read_memory(device)
            self._readings[device.name] = now, reading
        return reading

    def estimate(self, run: Run, device: Device) -> int:
        """Estimated peak memory of a run on a device, in bytes; a dataset that is not known yet counts nothing."""
        if (run.id, device.name) not in self._estimates:
            # Not at the top: an engine with one worker a device does not load numpy for this.
            from engine.data import datasets

            try:
                num_train, num_test, _ = datasets.describe(self._home, run.spec.data.name)
            except DatasetError:
                num_train = num_test = 0
            estimate = training_memory(
                run.spec, device.native, on_gpu=device != CPU, num_train=num_train, num_test=num_test
            )
            self._estimates[run.id, device.name] = estimate.total_bytes
        return self._estimates[run.id, device.name]

    def name_now(self, assigned: Assignment) -> str:
        """What the device of an assignment is called by this engine, which may count the GPUs otherwise."""
        return next(
            (device.name for device in self.devices if device.visible == assigned.visible),
            assigned.device,
        )
