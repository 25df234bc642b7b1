"""Trace torch's memory: storages autograd saves, and all that are alive at the same time."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.spec.precision import Precision
from engine.training import numerics
from engine.training.activation_checkpointing import checkpoint_blocks
from engine.training.layout import choose, lay_out
from engine.training.step import DeviceData
from models.build import build_model
from models.catalog import ModelSpec


@contextmanager
def without_drawing() -> Iterator[None]:
    """Skip the random initialisation of convolutions, which would take most of the time.

    Weights are zeroed instead, because denormal numbers slow a processor down.
    """

    def zero(convolution: nn.Conv2d) -> None:
        for parameter in convolution.parameters():
            parameter.data.zero_()

    drawn = nn.Conv2d.reset_parameters
    nn.Conv2d.reset_parameters = zero  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Conv2d.reset_parameters = drawn  # type: ignore[method-assign]


def saved_by_autograd(spec: ModelSpec, batch_size: int, precision: Precision, *, checkpointed: bool) -> int:
    """Count the bytes of all distinct storages a forward pass with loss saves, without parameters."""
    with without_drawing():
        model = build_model(spec)
    lay_out(model, choose(model, precision, torch.device("cpu")))
    if checkpointed:
        checkpoint_blocks(model)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    images, labels = torch.zeros(batch_size, 3, 32, 32), torch.zeros(batch_size, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        with numerics.computing(precision, images.device):
            logits = model(images)
        # The loss keeps the graph alive, so that no two storages share an address.
        loss = F.cross_entropy(logits.float(), labels)
    total = sum(sizes.values())
    del loss
    return total


def unlearnt_data(num_train: int, num_test: int, device: torch.device) -> DeviceData:
    """Create black images of one class on a device."""
    sizes = ((num_train, 32, 32, 3), (num_test, 32, 32, 3))
    train, test = (torch.zeros(size, dtype=torch.uint8, device=device) for size in sizes)
    labels = [torch.zeros(num, dtype=torch.int64, device=device) for num in (num_train, num_test)]
    return DeviceData(train, labels[0], test, labels[1], mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class LiveStorages(TorchDispatchMode):
    """Count the bytes of every storage from its creation until its last reference is gone.

    Memory that a kernel allocates and frees internally is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes_now = 0
        self.bytes_peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return result

    def count(self, tensor: Tensor) -> None:
        """Count a storage once; storages that existed before have to be passed in."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if size and key not in self._sizes:
            self._sizes[key] = size
            weakref.finalize(storage, self._forget, key)
            self.bytes_now += size
            self.bytes_peak = max(self.bytes_peak, self.bytes_now)

    def _forget(self, key: int) -> None:
        self.bytes_now -= self._sizes.pop(key)
