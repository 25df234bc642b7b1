"""What training keeps in memory on the torch side: activations computed again instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(model: nn.Module) -> None:
    """Keep of each block its input alone, and compute the rest again in the backward pass.

    What is computed stays as it is: the second forward pass normalises by the statistics of the same batch and leaves
    the running ones as the first has set them. Evaluation is not touched. Names in the state_dict stay as they are.

    Args:
        model: One of `models.resnet`, with its blocks in `stages`; changed in place.

    Source: Chen et al. 2016 (arXiv:1604.06174), a segment a block.
    """
    stages = model.get_submodule("stages")
    for stage in stages.children():
        for block in stage.children():
            block.forward = recomputing(block)


def recomputing(block: nn.Module) -> Callable[[Tensor], Tensor]:
    """A block's forward pass that keeps only its input while training."""
    plain_forward = block.forward

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), keeping_statistics(block)

    def forward(x: Tensor) -> Tensor:
        """Map x as the block does."""
        if not block.training:
            evaluated: Tensor = plain_forward(x)
            return evaluated
        # No layer draws random numbers; and keeping the generator's state would break the capture of a CUDA graph.
        trained: Tensor = checkpoint(
            plain_forward, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts
        )
        return trained

    return forward


@contextmanager
def keeping_statistics(block: nn.Module) -> Iterator[None]:
    """A forward pass in training mode that leaves running means, variances and batch counts alone."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # The new statistics count nothing: 1 times the old and 0 times the batch's. Without running statistics the
        # layer would save fewer tensors than it did at first, which torch takes for a fault.
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, num_batches) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, num_batches
