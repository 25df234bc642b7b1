"""What there is to train on: GPUs as NVML tells of them, without torch, or else the CPU."""

from __future__ import annotations

import os

import msgspec
import pynvml


class Device(msgspec.Struct, frozen=True):
    """One place where a worker may train."""

    name: str
    """`cuda:N`, numbered as the engine may use them, or `cpu`."""
    visible: str
    """What CUDA_VISIBLE_DEVICES must be for a worker there; empty hides every GPU."""


CPU = Device("cpu", "")


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
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        uuids = [text(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
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
