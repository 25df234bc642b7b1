"""A state copied off the device in the order of its other work, so that it can be written while training goes on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class HostCopy:
    """Memory for one copy of a state, taken anew each time; one copy at a time is in use."""

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._copied: torch.cuda.Event | None = None

    def take(self, state: dict[str, Any]) -> dict[str, Any]:
        """Copy every tensor of a state; returns at once, and the copy is whole after `wait`.

        Args:
            state: Tensors, numbers, strings, and lists and dictionaries of them, the same tensors at every call.
        """
        copied: dict[str, Any] = self._copy(state, "")
        if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()
        return copied

    def wait(self) -> None:
        """Return when the newest copy is whole; may be called from another thread."""
        if self._copied is not None:
            self._copied.synchronize()

    def _copy(self, value: Any, place: str) -> Any:
        if isinstance(value, Tensor):
            if place not in self._tensors:
                # Pinned: only then does a copy not hold up the host.
                self._tensors[place] = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
            return self._tensors[place].copy_(value, non_blocking=True)
        if isinstance(value, dict):
            return {name: self._copy(part, f"{place}/{name}") for name, part in value.items()}
        if isinstance(value, list):
            return [self._copy(part, f"{place}/{index}") for index, part in enumerate(value)]
        return value
