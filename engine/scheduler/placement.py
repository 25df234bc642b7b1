"""Chooses a device for a queued run by free slots and memory.

Memory is checked only before adding a worker to an occupied device. The first worker on an empty device always starts,
so an estimate that is too high cannot block a run.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from engine.base.errors import DatasetError, UsageError
from engine.base.paths import Home
from engine.estimates.memory import training_memory
from engine.runs.directory import Assignment
from engine.runs.run import Run
from engine.spec.devices import CPU, Device, MemoryReading, can_compute, candidates, read_memory
from engine.spec.places import num_places, num_threads, places_taken
from engine.spec.precision import Precision
from engine.spec.settings import Settings
from models.catalog import ModelSpec

SECONDS_BETWEEN_READINGS = 2.0
"""Free memory is not read from the driver at every tick."""
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Occupant:
    """A run training on a device."""

    run: Run
    is_growing: bool
    """Whether its worker has not completed a step yet, so its memory still counts as free."""


@dataclass(frozen=True, slots=True)
class MemoryShort:
    """A run must wait for memory."""

    devices: tuple[str, ...]
    needed_bytes: int

    def __str__(self) -> str:
        where, gib = " or ".join(self.devices), self.needed_bytes / GIB
        return f"waits for memory on {where}: needs about {gib:.2g} GiB besides the runs there"


@dataclass(frozen=True, slots=True)
class PlacesShort:
    """A run must wait until narrow networks have freed the whole device."""

    devices: tuple[str, ...]

    def __str__(self) -> str:
        return f"waits for all cores of {' or '.join(self.devices)}: narrow networks are training there"


class Slots:
    """Slots for workers on this machine's devices.

    Args:
        home: Home with the datasets, whose sizes enter estimates.
        devices: Training devices, at least the CPU.
        settings: Settings with the slots of each device.
        read_memory: Reads the free and total memory of a device.
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
        self._estimates: dict[tuple[str, str, Precision], int] = {}

    def num(self, device: Device) -> int:
        """Most workers at a time on a device."""
        return num_places(self._settings, device.name)

    def num_threads(self, device: Device, model: ModelSpec) -> int | None:
        """CPU threads of a worker on a device; None leaves the choice to torch if the worker has the device alone."""
        return num_threads(self._settings, device.name, model)

    def any_free(self, working: Iterable[tuple[str, ModelSpec]], closed: frozenset[str] = frozenset()) -> bool:
        """Whether any device that is not closed has a free slot.

        Args:
            working: Device name and network of each worker.
            closed: Names of devices that accept no more workers.
        """
        taken: Counter[str] = Counter()
        for name, model in working:
            taken[name] += places_taken(self._settings, name, model)
        return any(taken[device.name] < self.num(device) for device in self.devices if device.name not in closed)

    def num_free(self, device: Device, beside: Sequence[Occupant]) -> int:
        """Free slots of a device beside the runs there."""
        taken = (places_taken(self._settings, device.name, other.run.spec.model) for other in beside)
        return self.num(device) - sum(taken)

    def choose(
        self, run: Run, occupied: Mapping[str, Sequence[Occupant]], closed: frozenset[str] = frozenset()
    ) -> Device | MemoryShort | PlacesShort | None:
        """Choose a device: the one with the fewest runs, and among equals the run's last one.

        Devices whose total memory is estimated as too small come last.

        Args:
            run: Run to start; its spec may name a device.
            occupied: Runs by device name.
            closed: Devices reserved for an earlier run that waits for memory or slots.

        Returns:
            The device, what the run waits for, or None if there is no free slot at all.
        """
        try:
            possible = candidates(run.spec.device, self.devices)
        except UsageError:
            # A GPU that existed when the run was queued and may return.
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
        """Whether a device has enough memory for another run.

        All estimates together must fit in its total memory, and those of the run and of runs still growing in its free
        memory, since other programs may use it, too. If the driver reports nothing, memory is assumed to suffice.
        """
        if not beside:
            return True
        reading, needed = self.memory(device), self.estimate(run, device)
        together = needed + sum(self.estimate(other.run, device) for other in beside)
        soon = needed + sum(self.estimate(other.run, device) for other in beside if other.is_growing)
        fits_all = reading.total_bytes is None or together <= reading.total_bytes
        return fits_all and (reading.free_bytes is None or soon <= reading.free_bytes)

    def is_too_small(self, device: Device, run: Run) -> bool:
        """Whether a GPU has less memory than a run is estimated to need; always False with a single GPU."""
        if device.memory_bytes is None or sum(one != CPU for one in self.devices) < 2:
            return False
        return self.estimate(run, device) > device.memory_bytes

    def memory(self, device: Device) -> MemoryReading:
        """Free and total memory of a device, at most `SECONDS_BETWEEN_READINGS` old."""
        now = time.monotonic()
        at, reading = self._readings.get(device.name, (-1.0, None))
        if reading is None or now - at > SECONDS_BETWEEN_READINGS:
            reading = self._read_memory(device)
            self._readings[device.name] = now, reading
        return reading

    def estimate(self, run: Run, device: Device) -> int:
        """Estimated peak memory of a run on a device, in bytes, without the dataset if it is not known yet."""
        # A run that has begun keeps its precision.
        precision = run.precision or run.spec.recipe.precision
        key = run.id, device.name, precision
        if key not in self._estimates:
            # Imported here, so that an engine with one worker per device does not load numpy.
            from engine.data import datasets

            try:
                num_train, num_test, _ = datasets.describe(self._home, run.spec.data.name)
            except DatasetError:
                num_train = num_test = 0
            recipe = msgspec.structs.replace(run.spec.recipe, precision=precision)
            spec = msgspec.structs.replace(run.spec, recipe=recipe)
            estimate = training_memory(
                spec, device.native, on_gpu=device != CPU, num_train=num_train, num_test=num_test
            )
            self._estimates[key] = estimate.total_bytes
        return self._estimates[key]

    def name_now(self, assigned: Assignment) -> str:
        """Name of an assignment's device in this engine, which may number GPUs differently."""
        return next((device.name for device in self.devices if device.visible == assigned.visible), assigned.device)
