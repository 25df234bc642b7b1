"""What there is to train on: GPUs as NVML tells of them, without torch, or else the CPU."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import msgspec
import psutil
import pynvml


class Device(msgspec.Struct, frozen=True):
    """One place where a worker may train."""

    name: str
    """`cuda:N`, numbered as the engine may use them, or `cpu`."""
    visible: str
    """What CUDA_VISIBLE_DEVICES must be for a worker there; empty hides every GPU."""


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
        found = [told(pynvml.nvmlDeviceGetUUID, handle) for handle in handles if handle is not None]
        uuids = [text(uuid) for uuid in found if uuid is not None]
    finally:
        pynvml.nvmlShutdown()
    return tuple(Device(f"cuda:{index}", uuid) for index, uuid in enumerate(allowed(uuids)))


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


def text(value: str | bytes) -> str:
    """NVML's bindings return bytes in some versions and str in others."""
    return value.decode() if isinstance(value, bytes) else value


def read_host() -> HostReading:
    """The host's load, by psutil."""
    memory = psutil.virtual_memory()
    return HostReading(
        cpu_percent=psutil.cpu_percent(), used_bytes=memory.total - memory.available, total_bytes=memory.total
    )


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
