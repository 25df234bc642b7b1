"""What there is to train on: GPUs as NVML tells of them, without torch, or else the CPU."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pynvml

from engine.base.errors import UsageError
from engine.spec.precision import AMPERE, Precision, of_cpu, of_gpu, resolve
from engine.spec.run import RunSpec


class Device(msgspec.Struct, frozen=True):
    """One place where a worker may train."""

    name: str
    """`cuda:N`, numbered as the engine may use them, or `cpu`."""
    visible: str
    """What CUDA_VISIBLE_DEVICES must be for a worker there; empty hides every GPU."""
    capability: tuple[int, int] | None = None
    """CUDA compute capability; None of the CPU, or where the driver does not tell."""
    memory_bytes: int | None = None
    """All that the GPU has; None of the CPU, or where the driver does not tell."""

    @property
    def native(self) -> tuple[Precision, ...]:
        """Precisions that it does natively, the preferred first; of a GPU that does not tell, any may be tried."""
        if not self.visible:
            return of_cpu()
        return of_gpu(AMPERE if self.capability is None else self.capability)


CPU = Device("cpu", "")


class GpuReading(msgspec.Struct, frozen=True, kw_only=True):
    """What a GPU does just now; None where its driver does not tell."""

    name: str
    """`cuda:N`, as in `Device`."""
    model: str
    util_percent: int | None
    used_bytes: int | None
    total_bytes: int | None
    power_watts: float | None
    temperature_celsius: int | None
    foreign_pids: tuple[int, ...] = ()
    """Processes of other users that compute on it."""


class MemoryReading(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of a device just now; None where its driver does not tell."""

    free_bytes: int | None
    total_bytes: int | None


class HostReading(msgspec.Struct, frozen=True, kw_only=True):
    """What the processor and its memory do just now."""

    cpu_percent: float
    """Of all cores together, since the reading before."""
    used_bytes: int
    total_bytes: int


def find_devices() -> tuple[Device, ...]:
    """All GPUs that the environment allows, and the CPU last: it takes runs that ask for it, or all if it is alone."""
    return (*find_gpus(), CPU)


def find_gpus() -> tuple[Device, ...]:
    """GPUs by their UUIDs, which mean the same to every process whatever the order; none where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        handles = [told(pynvml.nvmlDeviceGetHandleByIndex, index) for index in range(pynvml.nvmlDeviceGetCount())]
        # A card that has fallen off the bus answers nothing, and takes no other with it.
        found = {told(pynvml.nvmlDeviceGetUUID, handle): handle for handle in handles if handle is not None}
        handle_of = {text(uuid): handle for uuid, handle in found.items() if uuid is not None}
        return tuple(gpu(f"cuda:{index}", uuid, handle_of[uuid]) for index, uuid in enumerate(allowed(list(handle_of))))
    finally:
        pynvml.nvmlShutdown()


def gpu(name: str, uuid: str, handle: Any) -> Device:
    """One GPU with what its driver tells of it, between nvmlInit and nvmlShutdown."""
    capability = told(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    memory = told(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return Device(
        name, uuid, None if capability is None else tuple(capability), None if memory is None else memory.total
    )


def candidates(asked: str | None, devices: Sequence[Device]) -> tuple[Device, ...]:
    """The devices that a run may go to: the one it asks for, else every GPU, else the CPU where there is none.

    Raises:
        UsageError: it asks for one that is not there.
    """
    if asked is not None:
        if found := tuple(device for device in devices if device.name == asked):
            return found
        raise UsageError(f"device must be one of {', '.join(device.name for device in devices)}, got {asked}")
    return tuple(device for device in devices if device != CPU) or (CPU,)


def check_device(spec: RunSpec, devices: Sequence[Device]) -> None:
    """Refuse a run for which there is no device here.

    Raises:
        UsageError: the device that it asks for is not there, or none that it may go to does its precision natively.
    """
    possible = candidates(spec.device, devices)
    if not any(can_compute(device, spec.recipe.precision) for device in possible):
        first = possible[0]
        try:
            resolve(spec.recipe.precision, first.native, first.name)
        except ValueError as error:
            raise UsageError(str(error)) from error


def can_compute(device: Device, precision: Precision) -> bool:
    """Whether a device does a precision natively."""
    return precision is Precision.AUTO or precision in device.native


def allowed(uuids: list[str]) -> list[str]:
    """Those that CUDA_VISIBLE_DEVICES lets us use, in its order; all where it is not set."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return uuids
    found: list[str] = []
    for word in (word.strip() for word in wanted.split(",")):
        matches = [uuids[int(word)]] if word.isdigit() and int(word) < len(uuids) else []
        matches = matches or ([uuid for uuid in uuids if word and uuid.startswith(word)])
        if len(matches) != 1:
            # CUDA itself stops at the first entry that it does not know.
            break
        found.append(matches[0])
    return found


def device_name(device: Device) -> str:
    """What a device calls itself, as its driver tells without torch; the same words as a worker's journal has."""
    if not device.visible:
        return cpu_name()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return device.name
    try:
        handle = told(pynvml.nvmlDeviceGetHandleByUUID, device.visible)
        name = None if handle is None else told(pynvml.nvmlDeviceGetName, handle)
        return device.name if name is None else text(name)
    finally:
        pynvml.nvmlShutdown()


def busy_percent(device: Device, *, over_seconds: float = 0.5) -> float | None:
    """How much of a device others use just now; None where its driver does not tell."""
    if not device.visible:
        return psutil.cpu_percent(interval=over_seconds)
    return next((gpu.util_percent for gpu in read_gpus() if gpu.name == device.name), None)


def cpu_name() -> str:
    """The processor's model; of several kinds all."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return " / ".join(sorted(models)) or platform.machine()


def text(value: str | bytes) -> str:
    """NVML's bindings return bytes in some versions and str in others."""
    return value.decode() if isinstance(value, bytes) else value


def read_host() -> HostReading:
    """The host's load, by psutil."""
    memory = psutil.virtual_memory()
    return HostReading(
        cpu_percent=psutil.cpu_percent(), used_bytes=memory.total - memory.available, total_bytes=memory.total
    )


def read_memory(device: Device) -> MemoryReading:
    """How much memory a device has free and in all: a GPU by NVML, the CPU by psutil."""
    if not device.visible:
        host = psutil.virtual_memory()
        return MemoryReading(free_bytes=host.available, total_bytes=host.total)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return MemoryReading(free_bytes=None, total_bytes=device.memory_bytes)
    try:
        handle = told(pynvml.nvmlDeviceGetHandleByUUID, device.visible)
        memory = None if handle is None else told(pynvml.nvmlDeviceGetMemoryInfo, handle)
    finally:
        pynvml.nvmlShutdown()
    free = None if memory is None else memory.free
    return MemoryReading(free_bytes=free, total_bytes=device.memory_bytes)


def read_gpus() -> tuple[GpuReading, ...]:
    """Every GPU that we may use, in the order of `find_gpus`; none where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        readings = [read_gpu(device) for device in find_gpus()]
        return tuple(reading for reading in readings if reading is not None)
    finally:
        pynvml.nvmlShutdown()


def read_gpu(device: Device) -> GpuReading | None:
    """One GPU by its UUID, between nvmlInit and nvmlShutdown; some cards and containers hide a part of it."""
    handle = told(pynvml.nvmlDeviceGetHandleByUUID, device.visible)
    if handle is None:
        return None
    memory = told(pynvml.nvmlDeviceGetMemoryInfo, handle)
    rates = told(pynvml.nvmlDeviceGetUtilizationRates, handle)
    power = told(pynvml.nvmlDeviceGetPowerUsage, handle)
    processes = told(pynvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
    return GpuReading(
        name=device.name,
        model=text(told(pynvml.nvmlDeviceGetName, handle) or "GPU"),
        util_percent=None if rates is None else rates.gpu,
        used_bytes=None if memory is None else memory.used,
        total_bytes=None if memory is None else memory.total,
        power_watts=None if power is None else power / 1000,
        temperature_celsius=told(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        foreign_pids=of_other_users(process.pid for process in processes),
    )


def told(ask: Any, *arguments: Any) -> Any:
    """What NVML answers, or None where the card or the container keeps it back."""
    try:
        return ask(*arguments)
    except pynvml.NVMLError:
        return None


def of_other_users(pids: Iterable[int]) -> tuple[int, ...]:
    """Those processes that are another user's; one that cannot be looked at is in another container, or gone."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).uids().real != os.getuid():
                found.append(pid)
        except psutil.Error:
            continue
    return tuple(found)
