"""Residual networks against an independent implementation of kuangliu/pytorch-cifar's architecture."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.build import build_model
from models.catalog import Block, ModelSpec, model_spec


class Unit(nn.Module):
    """A block with that repository's names; kernels are [3, 3] or [1, 3, 1]."""

    def __init__(self, channels: list[int], kernels: list[int], stride: int) -> None:
        super().__init__()
        self.count = len(kernels)
        strided = kernels.index(3)
        for i, kernel in enumerate(kernels):
            step = stride if i == strided else 1
            conv = nn.Conv2d(channels[i], channels[i + 1], kernel, step, kernel // 2, bias=False)
            self.add_module(f"conv{i + 1}", conv)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(channels[i + 1]))
        self.shortcut = nn.Sequential()
        if stride > 1 or channels[0] != channels[-1]:
            self.shortcut.append(nn.Conv2d(channels[0], channels[-1], 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels[-1]))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for i in range(1, self.count + 1):
            y = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(y))
            y = F.relu(y) if i < self.count else y
        return F.relu(y + self.shortcut(x))


class Textbook(nn.Module):
    """Stem, four layers of units, a 4×4 average pool and a classifier."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for stage in range(4):
            planes = 64 << stage
            layer = nn.Sequential()
            for index in range(spec.blocks[stage]):
                stride = 2 if stage and not index else 1
                if spec.block == Block.BASIC:
                    layer.append(Unit([channels, planes, planes], [3, 3], stride))
                else:
                    layer.append(Unit([channels, planes, planes, 4 * planes], [1, 3, 1], stride))
                channels = planes if spec.block == Block.BASIC else 4 * planes
            self.add_module(f"layer{stage + 1}", layer)
        self.linear = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        return self.linear(F.avg_pool2d(y, 4).flatten(1))


@pytest.mark.parametrize("depth", [18, 50])
def test_weights_load_by_position_and_compute_the_same(depth):
    """Checkpoints of pytorch-cifar can be loaded, including running statistics."""
    spec = model_spec("resnet", depth)
    torch.manual_seed(0)
    textbook = Textbook(spec)
    with torch.no_grad():
        textbook(torch.randn(2, 3, 32, 32))  # Move the running statistics away from 0 and 1.
    torch.manual_seed(1)
    model = build_model(spec)
    ours, theirs = model.state_dict(), textbook.state_dict()

    assert [value.shape for value in ours.values()] == [value.shape for value in theirs.values()]
    model.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))

    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), textbook.eval()(images))
        assert torch.equal(model.train()(images), textbook.train()(images))


@pytest.mark.parametrize("depth", [18, 50])
def test_a_seed_gives_the_weights_that_it_gives_there(depth):
    """Both use PyTorch's defaults and create layers in the same order."""
    spec = model_spec("resnet", depth)
    torch.manual_seed(3)
    textbook = Textbook(spec)
    torch.manual_seed(3)
    model = build_model(spec)

    pairs = zip(model.parameters(), textbook.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
