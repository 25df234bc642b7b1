"""Activation checkpointing gives identical results with less memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.training.activation_checkpointing import checkpoint_blocks
from models.build import build_model
from models.catalog import ModelSpec, model_spec

NETWORKS = [("resnet", 18), ("plain", 18), ("preact", 50), ("resnet", 50), ("he-resnet", 8), ("he-plain", 8)]


def trained(spec: ModelSpec, *, checkpointed: bool) -> tuple[nn.Module, list[Tensor], int]:
    """Train three steps in float64; return the network, its last gradients, and bytes kept by the last step."""
    torch.manual_seed(0)
    model = build_model(spec).double()
    if checkpointed:
        checkpoint_blocks(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    for _ in range(3):
        images = torch.randn(4, 3, 32, 32, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, 10, (4,), generator=generator)
        optimizer.zero_grad()
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    return model, [parameter.grad for parameter in model.parameters() if parameter.grad is not None], sum(kept.values())


@pytest.mark.parametrize(("architecture", "depth"), NETWORKS)
def test_weights_gradients_and_running_statistics_are_the_same(architecture: str, depth: int):
    """Bit-identical; running means and variances are updated once per step, not twice."""
    spec = model_spec(architecture, depth, width=4)
    kept, gradients, bytes_kept = trained(spec, checkpointed=False)
    again, gradients_again, bytes_again = trained(spec, checkpointed=True)

    expected, found = kept.state_dict(), again.state_dict()
    assert list(expected) == list(found)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert all(map(torch.equal, gradients, gradients_again))
    assert any("running_mean" in name for name in expected)
    assert bytes_again < 0.6 * bytes_kept


def test_evaluation_does_not_change():
    """Evaluation keeps no activations anyway."""
    torch.manual_seed(0)
    model = build_model(model_spec("resnet", 18, width=4)).eval()
    images = torch.randn(4, 3, 32, 32)
    before = model(images)
    checkpoint_blocks(model)

    assert torch.equal(before, model(images))
