"""Classify exceptions that end a worker: out of memory, device failure, or a bug."""

from __future__ import annotations

import resource

import psutil
import torch

from engine.base.errors import DepthscopeError
from engine.base.paths import Home
from engine.base.units import byte_size
from engine.data import datasets
from engine.estimates import fitting
from engine.estimates.memory import GPU_CONTEXT_BYTES
from engine.spec import precision
from engine.spec.run import RunSpec

NO_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Messages of out-of-memory errors for which torch has no exception class."""
DEVICE_FAILED = ("CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS", "cuDNN error", "NCCL error")


def is_out_of_memory(failure: Exception) -> bool:
    """Return whether an exception means out of memory, which would happen again."""
    if isinstance(failure, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(failure, RuntimeError) and any(words in str(failure) for words in NO_MEMORY)


def is_device_failure(failure: Exception) -> bool:
    """Return whether a GPU failed, such as with an illegal memory access: only a new process can use it again."""
    if isinstance(failure, torch.AcceleratorError):
        return True
    return isinstance(failure, RuntimeError) and any(words in str(failure) for words in DEVICE_FAILED)


def first_line(failure: Exception) -> str:
    """Return the first line of an exception's message, without torch's advice to programmers."""
    return (str(failure).strip().splitlines() or [type(failure).__name__])[0]


def out_of_memory(spec: RunSpec, home: Home, failure: Exception, device: torch.device) -> str:
    """Return the error for a run that ran out of memory, with a remedy."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        native = precision.of_gpu(torch.cuda.get_device_capability())
        # Memory held by other processes stays unavailable.
        there = min(total, free + torch.cuda.memory_reserved() + GPU_CONTEXT_BYTES)
    else:
        free = psutil.virtual_memory().available
        native = precision.of_cpu()
        there = room_of_process(free)
    limit = min(there, spec.memory_limit_bytes or there)
    where = f"on the {'GPU' if device.type == 'cuda' else 'CPU'} ({byte_size(limit)} for this run"
    try:
        num_train, num_test, _ = datasets.describe(home, spec.data.name)
    except DepthscopeError as error:
        advice = f"cannot suggest a remedy: {error}"
    else:
        advice = fitting.suggestion(
            spec, native, limit, on_gpu=device.type == "cuda", num_train=num_train, num_test=num_test
        )
    return f"out of memory {where}, {byte_size(free)} free): {advice} ({first_line(failure)})"


def room_of_process(free: int) -> int:
    """Return the CPU memory this process may use: what it holds plus what is free, within its resource limit."""
    holds = psutil.Process().memory_info()
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return int(holds.rss + free)
    # Mapped libraries use part of the address space.
    return int(min(holds.rss + free, max(0, soft - holds.vms + holds.rss)))
