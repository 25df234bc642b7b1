"""The report's six networks: their checkpoints load, and a residual one is never taken for a plain one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.base.errors import UsageError
from engine.programs.foreign_weights import Loaded, load
from engine.programs.weights_export import converted
from engine.programs.weights_file import Weights, read_weights
from engine.spec.presets import Preset
from models.build import build_model
from models.catalog import FOUR_STAGE_BLOCKS, Block, model_spec

WIDTH = 4


class ReportBlock(nn.Module):
    """The report's BasicBlock: PyTorch's default bias in every convolution, that of the shortcut too."""

    def __init__(self, inputs: int, planes: int, stride: int, *, is_added: bool) -> None:
        super().__init__()
        self.is_added = is_added
        self.conv1 = nn.Conv2d(inputs, planes, kernel_size=3, stride=stride, padding=1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != planes:
            projection = nn.Conv2d(inputs, planes, kernel_size=1, stride=stride, padding=0)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(planes))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.is_added:
            y = y + self.shortcut(x)
        return F.relu(y)


class ReportNetwork(nn.Module):
    """ "Res", or "CNN", which has the shortcuts' layers and does not add them."""

    def __init__(self, depth: int, *, is_added: bool, width: int = WIDTH) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage, count in enumerate(FOUR_STAGE_BLOCKS[depth][Block.BASIC]):
            planes = width * 2**stage
            layer = nn.Sequential()
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                layer.append(ReportBlock(inputs, planes, stride, is_added=is_added))
                inputs = planes
            self.add_module(f"layer{stage + 1}", layer)
        self.linear = nn.Linear(inputs, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        return self.linear(F.avg_pool2d(y, 4).flatten(1))


def trained(network: nn.Module) -> nn.Module:
    """Move the weights and running statistics of every layer in use by one step."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    F.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)  # Deep plain networks begin with huge gradients.
    optimizer.step()
    return network.eval()


def saved(network: nn.Module, path: Path, *, counters: bool = True) -> Weights:
    """Read back a state_dict, with or without the counters of batches."""
    state = {name: value for name, value in network.state_dict().items() if counters or "num_batches" not in name}
    torch.save(state, path)
    return read_weights(path)


def reports_load(architecture: str, depth: int, weights: Weights) -> Loaded:
    spec = model_spec(architecture, depth, width=WIDTH, conv_bias=True, projection_bias=True)
    return load(spec, weights, source="f.pt", preset=Preset.REPORT)


@pytest.mark.parametrize("counters", [True, False], ids=["counters", "no-counters"])
@pytest.mark.parametrize("depth", [20, 56, 110])
@pytest.mark.parametrize("architecture", ["resnet", "plain"])
def test_the_reports_six_checkpoints_load_and_compute_the_same(
    architecture: str, depth: int, counters: bool, tmp_path: Path
):
    """Res and CNN have the same tensors; CNN's projections were never trained and are left out, which is noted."""
    torch.manual_seed(depth)
    theirs = trained(ReportNetwork(depth, is_added=architecture == "resnet"))
    images = torch.randn(2, 3, 32, 32)

    loaded = reports_load(architecture, depth, saved(theirs, tmp_path / "f.pt", counters=counters))

    assert loaded.names == "report"
    with torch.no_grad():
        assert torch.allclose(loaded.model.eval()(images), theirs(images), rtol=0, atol=1e-6)
    left_out = [note for note in loaded.notes if "were never trained" in note]
    assert left_out == ([] if architecture == "resnet" else [loaded.notes[0]])
    # Three projections with weight, bias, scale, shift, mean and variance.
    assert all(note.startswith("18 tensors of projections were left out") for note in left_out)


@pytest.mark.parametrize(("depth", "parameters"), [(20, 12_359_882), (56, 39_812_810), (110, 70_149_962)])
def test_the_class_has_the_reports_parameters(depth: int, parameters: int):
    """At full width."""
    with torch.device("meta"):
        network = ReportNetwork(depth, is_added=True, width=64)

    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("counters", "text"),
    [(True, r"layer2.0.shortcut.1 has seen 1 batch"), (False, "layer2.0.shortcut.1 has a running")],
)
@pytest.mark.parametrize("preset", [None, Preset.REPORT])
def test_residual_weights_are_refused_by_a_plain_network(
    preset: Preset | None, counters: bool, text: str, tmp_path: Path
):
    """Loaded there, they would silently guess."""
    weights = saved(trained(ReportNetwork(20, is_added=True)), tmp_path / "f.pt", counters=counters)
    spec = model_spec("plain", 20, width=WIDTH, conv_bias=True)

    with pytest.raises(UsageError, match=f"f.pt is a residual network's: its projections were trained .{text}"):
        load(spec, weights, source="f.pt", preset=preset)


def test_one_trained_projection_is_enough_to_refuse():
    """Every one must be untrained."""
    state = ReportNetwork(20, is_added=False).state_dict()
    state["layer1.0.bn1.num_batches_tracked"] += 1
    state["layer3.0.shortcut.1.num_batches_tracked"] += 7
    tensors = {name: value for name, value in state.items() if "num_batches" not in name}
    counters = {name.rpartition(".")[0]: int(value) for name, value in state.items() if "num_batches" in name}

    with pytest.raises(UsageError, match=r"layer3.0.shortcut.1 has seen 7 batches"):
        reports_load("plain", 20, Weights(tensors, counters))


def test_counters_that_count_nothing_anywhere_do_not_hide_training(tmp_path: Path):
    """Files from before torch 0.4.1, saved again, have counters of 0 everywhere."""
    network = trained(ReportNetwork(20, is_added=True))
    for name, value in network.state_dict().items():
        if "num_batches" in name:
            value.zero_()

    with pytest.raises(UsageError, match="has a running mean and variance other than 0 and 1"):
        reports_load("plain", 20, saved(network, tmp_path / "f.pt"))


def test_projections_without_normalisation_do_not_tell():
    """Pre-activation networks have such; they are taken for trained."""
    tensors = {
        name: value
        for name, value in ReportNetwork(20, is_added=False).state_dict().items()
        if ".shortcut.1." not in name and "num_batches" not in name
    }

    with pytest.raises(UsageError, match="they have no normalisation that would say otherwise"):
        reports_load("plain", 20, Weights(tensors))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("architecture", ["resnet", "plain"])
def test_an_export_for_the_report_loads_there_and_here(architecture: str, bias: bool, tmp_path: Path):
    """Strictly, by its class, with equal outputs; biases and unused projections are added where the run has none."""
    torch.manual_seed(1)
    spec = model_spec(architecture, 20, width=WIDTH, conv_bias=bias, projection_bias=bias)
    ours = trained(build_model(spec))
    theirs = ReportNetwork(20, is_added=architecture == "resnet").eval()
    images = torch.randn(2, 3, 32, 32)

    state, notes = converted(spec, ours.state_dict(), Preset.REPORT)
    theirs.load_state_dict(state)
    again = reports_load(architecture, 20, saved(theirs, tmp_path / "f.pt"))

    assert list(state) == list(theirs.state_dict())
    assert any("projections are added" in note for note in notes) == (architecture == "plain")
    assert any("biases of 0 are added" in note for note in notes) == (not bias)
    with torch.no_grad():
        expected = ours(images)
        assert torch.allclose(theirs(images), expected, rtol=0, atol=1e-6)
        assert torch.allclose(again.model.eval()(images), expected, rtol=0, atol=1e-6)
