"""Activation checkpointing: recompute activations in the backward pass instead of keeping them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(model: nn.Module) -> None:
    """Make each block keep only its input and recompute the rest in the backward pass.

    Results do not change: the second forward pass normalises with the same batch's statistics and leaves the running
    ones alone. Evaluation and the names in the state_dict are unaffected.

    Args:
        model: A network of `models.resnet`, with its blocks in `stages`; changed in place.

    Source: Chen et al. 2016 (arXiv:1604.06174), with one segment per block.
    """
    stages = model.get_submodule("stages")
    for stage in stages.children():
        for block in stage.children():
            block.forward = recomputing(block)


def recomputing(block: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a forward function for a block that keeps only its input while training."""
    plain_forward = block.forward

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), keeping_statistics(block)

    def forward(x: Tensor) -> Tensor:
        """Map x as the block does."""
        if not block.training:
            evaluated: Tensor = plain_forward(x)
            return evaluated
        # No layer draws random numbers, and saving the generator's state would break CUDA graph capture.
        trained: Tensor = checkpoint(
            plain_forward, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
        )
        return trained

    return forward


@contextmanager
def keeping_statistics(block: nn.Module) -> Iterator[None]:
    """Keep a training-mode forward pass from changing running means, variances and batch counts."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # Momentum 0 keeps the old statistics. Turning them off would save fewer tensors than the first pass did, which
        # torch reports as an error.
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, num_batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, num_batches
