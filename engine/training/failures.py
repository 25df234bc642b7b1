"""What has ended a worker against its will, by what torch raised: want of memory, a device that failed, or a defect."""

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
"""Want of memory that torch has no class of its own for."""
DEVICE_FAILED = ("CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS", "cuDNN error", "NCCL error")


def is_out_of_memory(failure: Exception) -> bool:
    """Whether there was no memory for what was to be computed: the same would happen again."""
    if isinstance(failure, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(failure, RuntimeError) and any(words in str(failure) for words in NO_MEMORY)


def is_device_failure(failure: Exception) -> bool:
    """Whether a GPU failed under the process, such as by an illegal memory access: nothing more can be computed in
    it, but perhaps in another one."""
    if isinstance(failure, torch.AcceleratorError):
        return True
    return isinstance(failure, RuntimeError) and any(words in str(failure) for words in DEVICE_FAILED)


def first_line(failure: Exception) -> str:
    """What it says before it goes on with advice for programmers."""
    return (str(failure).strip().splitlines() or [type(failure).__name__])[0]


def out_of_memory(spec: RunSpec, home: Home, failure: Exception, device: torch.device) -> str:
    """What is said of a run that did not fit on its device after all, and what would.

    Args:
        spec: Of the run.
        home: Where its dataset is.
        failure: By which that was found out.
        device: Where it was.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        native = precision.of_gpu(torch.cuda.get_device_capability())
        # What others hold on the card does not come free by a smaller run of ours.
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
        advice = f"what would fit cannot be said: {error}"
    else:
        advice = fitting.suggestion(
            spec, native, limit, on_gpu=device.type == "cuda", num_train=num_train, num_test=num_test
        )
    return f"out of memory {where}, {byte_size(free)} free): {advice} ({first_line(failure)})"


def room_of_process(free: int) -> int:
    """Memory that this process may take on the CPU: what it holds and what is free, or what it is limited to."""
    holds = psutil.Process().memory_info()
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return int(holds.rss + free)
    # Of the address space, libraries that are only mapped take a part that no tensor can have.
    return int(min(holds.rss + free, max(0, soft - holds.vms + holds.rss)))
