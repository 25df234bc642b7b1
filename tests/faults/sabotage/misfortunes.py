"""Failures other than a kill that strike a worker at a planned point, real or raised as torch would.

Failures within a step receive the training state and the batch.
"""

import ctypes
import os
import resource
import time
from pathlib import Path
from typing import Any


def segmentation_fault(*_things: Any) -> None:
    """Read address 0."""
    ctypes.string_at(0)


def segmentation_fault_unless_safe(state: Any, *_things: Any) -> None:
    """Read address 0, as a kernel might that only lower precisions use."""
    if state.precision != "fp32":
        ctypes.string_at(0)


def kernel_out_of_memory(*_things: Any) -> None:
    """Fill the cgroup named by HOME/kills/cgroup until the kernel kills this process."""
    cgroup = Path(os.environ["DEPTHSCOPE_HOME"], "kills", "cgroup").read_text()
    Path(cgroup, "cgroup.procs").write_text(str(os.getpid()))
    taken = []
    while True:
        taken.append(bytes(1 << 24).replace(b"\0", b"x"))


def kernel_out_of_patience(*_things: Any) -> None:
    """Exceed the hard limit of CPU time, at which the kernel sends SIGKILL."""
    used = int(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used + 1, used + 1))
    while True:
        pass


def illegal_memory_access(*_things: Any) -> None:
    """Raise torch's error for a kernel that wrote to an invalid address."""
    import torch

    raise torch.AcceleratorError(
        "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported"
    )


def gpu_out_of_memory(*_things: Any) -> None:
    """Raise torch's error for a full GPU."""
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nadvice for programmers")


def address_space_out(*_things: Any) -> None:
    """Allocate more than RLIMIT_AS allows."""
    import torch

    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (64 << 20), resource.RLIM_INFINITY))
    torch.empty(1 << 30)


def gpu_filled(*_things: Any) -> None:
    """Allocate more than the GPU's memory."""
    import torch

    taken = []
    while True:
        taken.append(torch.empty(1 << 30, dtype=torch.uint8, device="cuda"))


def gpu_out_of_bounds(*_things: Any) -> None:
    """Read far beyond a tensor on the GPU, which invalidates its context."""
    import torch

    torch.zeros(8, device="cuda")[torch.tensor([1 << 40], device="cuda")]
    torch.cuda.synchronize()


def weight(value: str) -> Any:
    """Set one weight to a value."""

    def strike(state: Any, *_things: Any) -> None:
        next(state.model.parameters()).detach()[0, 0, 0, 0] = float(value)

    return strike


def image(value: str) -> Any:
    """Set one pixel value of one image."""

    def strike(_state: Any, batch: Any) -> None:
        batch.images[0, 0, 0, 0] = float(value)

    return strike


ALL = {
    "segmentation fault": segmentation_fault,
    "segmentation fault unless safe": segmentation_fault_unless_safe,
    "kernel out of memory": kernel_out_of_memory,
    "kernel out of patience": kernel_out_of_patience,
    "illegal memory access": illegal_memory_access,
    "GPU out of memory": gpu_out_of_memory,
    "address space out": address_space_out,
    "GPU filled": gpu_filled,
    "GPU out of bounds": gpu_out_of_bounds,
    "weight nan": weight("nan"),
    "weight inf": weight("inf"),
    "image nan": image("nan"),
    "image inf": image("inf"),
}
