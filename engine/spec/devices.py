"""Devices to train on: GPUs as listed by NVML, without torch, and the CPU."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil

from engine.spec.errors import InvalidField
from engine.spec.precision import AMPERE, Precision, of_cpu, of_gpu, resolve
from engine.spec.run import RunSpec


class Device(msgspec.Struct, frozen=True):
    """A device that a worker can train on."""

    name: str
    """`cuda:N`, counting only GPUs the engine may use, or `cpu`."""
    visible: str
    """Value of CUDA_VISIBLE_DEVICES for a worker on this device; empty hides every GPU."""
    capability: tuple[int, int] | None = None
    """CUDA compute capability; None for the CPU or if the driver does not report it."""
    memory_bytes: int | None = None
    """Total GPU memory; None for the CPU or if the driver does not report it."""

    @property
    def native(self) -> tuple[Precision, ...]:
        """Native precisions, preferred first; all of them for a GPU of unknown capability."""
        if not self.visible:
            return of_cpu()
        return of_gpu(AMPERE if self.capability is None else self.capability)


CPU = Device("cpu", "")
NVML_TEMPERATURE_GPU = 0
"""NVML's name for the sensor of the GPU itself."""


class GpuReading(msgspec.Struct, frozen=True, kw_only=True):
    """Current state of a GPU; None for what its driver does not report."""

    name: str
    """`cuda:N`, as in `Device`."""
    model: str
    util_percent: int | None
    used_bytes: int | None
    total_bytes: int | None
    power_watts: float | None
    temperature_celsius: int | None
    foreign_pids: tuple[int, ...] = ()
    """Other users' compute processes on this GPU."""


class MemoryReading(msgspec.Struct, frozen=True, kw_only=True):
    """Current memory of a device; None for what its driver does not report."""

    free_bytes: int | None
    total_bytes: int | None


class HostReading(msgspec.Struct, frozen=True, kw_only=True):
    """Current load and memory of the host."""

    cpu_percent: float
    """Load over all cores since the previous reading."""
    used_bytes: int
    total_bytes: int


def find_devices() -> tuple[Device, ...]:
    """List the GPUs allowed by the environment, then the CPU, used on request or when there is no GPU."""
    return (*find_gpus(), CPU)


def find_gpus() -> tuple[Device, ...]:
    """List the allowed GPUs by UUID, which is the same in every process; empty without a driver."""
    with nvml() as has_driver:
        num_gpus = query_nvml("nvmlDeviceGetCount") or 0 if has_driver else 0
        handles = [query_nvml("nvmlDeviceGetHandleByIndex", index) for index in range(num_gpus)]
        # A GPU that has fallen off the bus must not hide the others.
        found = {query_nvml("nvmlDeviceGetUUID", handle): handle for handle in handles if handle is not None}
        handle_of = {uuid: handle for uuid, handle in found.items() if uuid is not None}
        return tuple(gpu(f"cuda:{index}", uuid, handle_of[uuid]) for index, uuid in enumerate(allowed(list(handle_of))))


@contextmanager
def nvml() -> Iterator[bool]:
    """Open NVML, and yield whether there is a driver; without one, `query_nvml` answers None."""
    # Imported late: the console's first frame does not wait for it.
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        pynvml.nvmlShutdown()


def gpu(name: str, uuid: str, handle: Any) -> Device:
    """Describe one GPU; call with NVML open."""
    capability = query_nvml("nvmlDeviceGetCudaComputeCapability", handle)
    memory = query_nvml("nvmlDeviceGetMemoryInfo", handle)
    return Device(
        name, uuid, None if capability is None else tuple(capability), None if memory is None else memory.total
    )


def candidates(asked: str | None, devices: Sequence[Device]) -> tuple[Device, ...]:
    """Return the devices a run may use: the one it names, else all GPUs, else the CPU.

    Raises:
        InvalidField: the named device does not exist.
    """
    if asked is not None:
        if found := tuple(device for device in devices if device.name == asked):
            return found
        names = ", ".join(device.name for device in devices)
        raise InvalidField("device", f"must be one of {names}, got {asked}")
    return tuple(device for device in devices if device != CPU) or (CPU,)


def check_device(spec: RunSpec, devices: Sequence[Device]) -> None:
    """Check that a run has a device to train on.

    Raises:
        InvalidField: the named device does not exist, or no allowed device supports the precision natively.
    """
    possible = candidates(spec.device, devices)
    if not any(can_compute(device, spec.recipe.precision) for device in possible):
        first = possible[0]
        try:
            resolve(spec.recipe.precision, first.native, first.name)
        except ValueError as error:
            raise InvalidField("precision", text=str(error)) from error


def can_compute(device: Device, precision: Precision) -> bool:
    """Return whether a device supports a precision natively."""
    return precision is Precision.AUTO or precision in device.native


def allowed(uuids: list[str]) -> list[str]:
    """Filter and order UUIDs by CUDA_VISIBLE_DEVICES; all of them if it is not set."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return uuids
    found: list[str] = []
    for word in (word.strip() for word in wanted.split(",")):
        matches = [uuids[int(word)]] if word.isdigit() and int(word) < len(uuids) else []
        matches = matches or ([uuid for uuid in uuids if word and uuid.startswith(word)])
        if len(matches) != 1:
            # CUDA itself stops at the first unknown entry.
            break
        found.append(matches[0])
    return found


def device_name(device: Device) -> str:
    """Return a device's model name, as in a worker's journal, without torch."""
    if not device.visible:
        return cpu_name()
    name = query_gpu(device, "nvmlDeviceGetName")
    return device.name if name is None else str(name)


def busy_percent(device: Device, *, over_seconds: float = 0.5) -> float | None:
    """Measure the current load of a device in percent; None if the driver does not report it."""
    if not device.visible:
        return psutil.cpu_percent(interval=over_seconds)
    return next((gpu.util_percent for gpu in read_gpus() if gpu.name == device.name), None)


def cpu_name() -> str:
    """Return the CPU's model name; several models are joined with a slash."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return " / ".join(sorted(models)) or platform.machine()


def read_host() -> HostReading:
    """Read the host's load and memory with psutil."""
    memory = psutil.virtual_memory()
    return HostReading(
        cpu_percent=psutil.cpu_percent(), used_bytes=memory.total - memory.available, total_bytes=memory.total
    )


def read_memory(device: Device) -> MemoryReading:
    """Read a device's free and total memory, from NVML for a GPU and psutil for the CPU."""
    if not device.visible:
        host = psutil.virtual_memory()
        return MemoryReading(free_bytes=host.available, total_bytes=host.total)
    memory = query_gpu(device, "nvmlDeviceGetMemoryInfo")
    return MemoryReading(free_bytes=None if memory is None else memory.free, total_bytes=device.memory_bytes)


def read_gpus() -> tuple[GpuReading, ...]:
    """Read every allowed GPU, in the order of `find_gpus`; empty without a driver."""
    with nvml():
        readings = [read_gpu(device) for device in find_gpus()]
        return tuple(reading for reading in readings if reading is not None)


def read_gpu(device: Device) -> GpuReading | None:
    """Read one GPU; call with NVML open. Some cards and containers hide some values."""
    handle = query_nvml("nvmlDeviceGetHandleByUUID", device.visible)
    if handle is None:
        return None
    memory = query_nvml("nvmlDeviceGetMemoryInfo", handle)
    rates = query_nvml("nvmlDeviceGetUtilizationRates", handle)
    power = query_nvml("nvmlDeviceGetPowerUsage", handle)
    processes = query_nvml("nvmlDeviceGetComputeRunningProcesses", handle) or ()
    return GpuReading(
        name=device.name,
        model=query_nvml("nvmlDeviceGetName", handle) or "GPU",
        util_percent=None if rates is None else rates.gpu,
        used_bytes=None if memory is None else memory.used,
        total_bytes=None if memory is None else memory.total,
        power_watts=None if power is None else power / 1000,
        temperature_celsius=query_nvml("nvmlDeviceGetTemperature", handle, NVML_TEMPERATURE_GPU),
        foreign_pids=of_other_users(process.pid for process in processes),
    )


def query_nvml(function: str, *arguments: Any) -> Any:
    """Call an NVML function; None if the card or the container does not support it."""
    import pynvml

    try:
        return getattr(pynvml, function)(*arguments)
    except pynvml.NVMLError:
        return None


def query_gpu(device: Device, function: str) -> Any:
    """Call an NVML function of a GPU's handle; None without a driver or the GPU, or if it is not supported."""
    with nvml():
        handle = query_nvml("nvmlDeviceGetHandleByUUID", device.visible)
        return None if handle is None else query_nvml(function, handle)


def of_other_users(pids: Iterable[int]) -> tuple[int, ...]:
    """Return other users' processes; skip those we cannot inspect, which have ended or run in another container."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).uids().real != os.getuid():
                found.append(pid)
        except psutil.Error:
            continue
    return tuple(found)
