"""Weights of other programs: matched by position, with equal outputs, or refused naming the differing layer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.base.errors import DepthscopeError, UsageError
from engine.programs.foreign_weights import centre_shortcuts, check_finite, fit, guessing_note, load
from engine.programs.weight_names import their_name
from engine.programs.weights_file import Weights, read_weights
from engine.spec.presets import PRESETS, Names, Preset
from models.build import build_model
from models.catalog import Block, ModelSpec, model_spec
from tests.models.test_pytorch_cifar import Textbook


class OptionAUnit(nn.Module):
    """Two 3×3 convolutions and a shortcut with new channels on both sides, as in akamaster's networks."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False), nn.BatchNorm2d(planes)
        self.pad, self.stride = (planes - inputs) // 2, stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + shortcut)


class PaperNetwork(nn.Module):
    """Independent implementation of He et al. 2015, section 4.2, with akamaster's names."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        planes = (16, 32, 64)
        for stage in range(3):
            units = nn.Sequential()
            for index in range(blocks):
                first = stage > 0 and index == 0
                units.append(OptionAUnit(planes[stage - first], planes[stage], 1 + first))
            self.add_module(f"layer{stage + 1}", units)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(y.mean((2, 3)))


def warmed(model: nn.Module) -> nn.Module:
    """Create a network with non-initial running statistics."""
    with torch.no_grad():
        model(torch.randn(4, 3, 32, 32))
    return model.eval()


def test_weights_from_other_programs_compute_the_same_outputs_here(tmp_path: Path):
    """kuangliu/pytorch-cifar's format with DataParallel names and other entries, and a plain state_dict."""
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    theirs = {"resnet": warmed(Textbook(model_spec("resnet", 18))), "he-resnet": warmed(PaperNetwork(3))}
    parallel = {f"module.{name}": value for name, value in theirs["resnet"].state_dict().items()}
    torch.save({"net": parallel, "acc": 93.0, "epoch": 3}, tmp_path / "ckpt.pth")
    # As in old files, without the batch counters.
    bare = {name: value for name, value in theirs["he-resnet"].state_dict().items() if "num_batches" not in name}
    torch.save(bare, tmp_path / "he.th")

    for architecture, depth, file in (("resnet", 18, "ckpt.pth"), ("he-resnet", 20, "he.th")):
        loaded = load(model_spec(architecture, depth), read_weights(tmp_path / file), source=file)
        if architecture == "he-resnet":
            centre_shortcuts(loaded.model)
        assert loaded.names == "pytorch-cifar"
        assert any(note.startswith("guessed: the tensors have the names of pytorch-cifar") for note in loaded.notes)
        with torch.no_grad():
            assert torch.allclose(loaded.model.eval()(images), theirs[architecture](images), atol=1e-5)


def test_our_own_weights_match_by_name_in_any_order(tmp_path: Path):
    """Sorting a state_dict does not change its meaning."""
    spec = model_spec("he-plain", 8, width=4)
    torch.manual_seed(0)
    model, other = build_model(spec), build_model(spec)
    torch.save(dict(sorted(model.state_dict().items())), tmp_path / "weights.pt")

    assert fit(other, read_weights(tmp_path / "weights.pt"), spec=spec, source="weights.pt") == "ours"
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def changed(state: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Return a state_dict with one defect."""
    names = list(state)
    match kind:
        case "short":
            return {name: state[name] for name in names[:-2]}
        case "long":
            return {**state, "extra.weight": torch.zeros(3)}
        case "whole numbers":
            return {**{f"x.{name}": value for name, value in state.items()}, "x.stem.conv.weight": torch.zeros(1).int()}
        case _:
            # Scale and shift have the same shape: swapped they would fit and compute nonsense.
            swapped = [names[0], names[2], names[1], *names[3:]]
            return {f"x.{name}": state[name] for name in swapped}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("short", "ends before head.weight, with"),
        ("long", "goes on with extra.weight behind its"),
        ("swapped", r"the first that differs is \S+\.weight \[4\], in f.pt x\.\S+\.bias \[4\]"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_first_differing_layer(kind: str, text: str):
    """The network keeps its weights."""
    spec: ModelSpec = model_spec("he-plain", 8, width=4)
    model = build_model(spec)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = {name: value + 1 for name, value in before.items() if not name.endswith("num_batches_tracked")}

    with pytest.raises(UsageError, match=f"do not fit he-plain8-w4: .*{text}"):
        fit(model, Weights(changed(found, kind)), spec=spec, source="f.pt")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_another_depth_is_reported_with_the_first_differing_layer():
    """With both names and both shapes."""
    found = {
        name: value for name, value in Textbook(model_spec("resnet", 18)).state_dict().items() if "num_b" not in name
    }

    with pytest.raises(UsageError, match=r"\[256, 256, 3, 3\], in ckpt layer4\.0\.conv1\.weight \[512, 256, 3, 3\]"):
        load(model_spec("resnet", 20), Weights(found), source="ckpt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float):
    """Anywhere, running statistics too; the error they give is that of guessing."""
    model = build_model(model_spec("he-plain", 8, width=4))
    check_finite(model, source="f.pt")
    name = next(name for name in model.state_dict() if name.endswith("running_var"))
    model.state_dict()[name][0] = value

    with pytest.raises(
        DepthscopeError, match=rf"f.pt has weights that are not finite .* in 1 of \d+ .* {name}"
    ) as found:
        check_finite(model, source="f.pt")
    assert found.value.exit_code == 1


@pytest.mark.parametrize(
    ("error", "num_classes", "is_noted"),
    [(90.0, 10, True), (89.2, 10, True), (88.9, 10, False), (97.0, 100, False), (50.0, 2, True)],
)
def test_an_error_of_guessing_is_noted(error: float, num_classes: int, is_noted: bool):
    """Residual weights in a plain network have such an error, and nothing else shows it."""
    assert (guessing_note(error, num_classes) is not None) == is_noted


class PreActUnit(nn.Module):
    """Pre-activation block as in pytorch-cifar: without a shortcut module where the shape stays."""

    def __init__(self, channels: list[int], kernels: list[int], stride: int) -> None:
        super().__init__()
        self.count = len(kernels)
        for i, kernel in enumerate(kernels):
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(channels[i]))
            step = stride if i == kernels.index(3) else 1
            self.add_module(
                f"conv{i + 1}", nn.Conv2d(channels[i], channels[i + 1], kernel, step, kernel // 2, bias=False)
            )
        self.shortcut: nn.Module | None = None
        if stride > 1 or channels[0] != channels[-1]:
            self.shortcut = nn.Sequential(nn.Conv2d(channels[0], channels[-1], 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        y = activated = F.relu(self.get_submodule("bn1")(x))
        for i in range(1, self.count + 1):
            y = self.get_submodule(f"conv{i}")(y if i == 1 else F.relu(self.get_submodule(f"bn{i}")(y)))
        return y + (x if self.shortcut is None else self.shortcut(activated))


class PreActNetwork(nn.Module):
    """Four layers of such blocks, and nothing between the last addition and the pool."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, spec.width, 3, 1, 1, bias=False)
        channels = spec.width
        for stage, count in enumerate(spec.blocks):
            planes, layer = spec.width << stage, nn.Sequential()
            for index in range(count):
                stride = 2 if stage and not index else 1
                if spec.block == Block.BASIC:
                    layer.append(PreActUnit([channels, planes, planes], [3, 3], stride))
                else:
                    layer.append(PreActUnit([channels, planes, planes, 4 * planes], [1, 3, 1], stride))
                channels = planes if spec.block == Block.BASIC else 4 * planes
            self.add_module(f"layer{stage + 1}", layer)
        self.linear = nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        return self.linear(F.avg_pool2d(y, 4).flatten(1))


@pytest.mark.parametrize("preset", [Preset.PYTORCH_CIFAR, None])
@pytest.mark.parametrize("depth", [18, 34, 50])
def test_pytorch_cifars_preactivation_network_loads_without_a_final_norm(depth: int, preset: Preset | None):
    """Recognised by what it lacks, and noted."""
    torch.manual_seed(depth)
    spec = model_spec("preact", depth, width=4)
    theirs, images = warmed(PreActNetwork(spec)), torch.randn(2, 3, 32, 32)

    loaded = load(spec, weights_of(theirs), source="f.pt", preset=preset)

    assert loaded.names == "pytorch-cifar"
    assert "no normalisation and ReLU after the last block" in loaded.notes[0]
    with torch.no_grad():
        assert torch.allclose(loaded.model.eval()(images), theirs(images), rtol=0, atol=1e-6)


def test_our_own_preactivation_network_keeps_its_final_norm():
    """Its weights have one."""
    spec = model_spec("preact", 18, width=4)
    loaded = load(spec, weights_of(warmed(build_model(spec))), source="f.pt")

    assert isinstance(loaded.model.final_norm, nn.BatchNorm2d)
    assert (loaded.names, loaded.notes) == ("ours", ())


def weights_of(model: nn.Module, *, is_ordered: bool = True) -> Weights:
    """Contents of a file with a network's state_dict."""
    state = model.state_dict()
    tensors = {name: value for name, value in state.items() if "num_batches" not in name}
    counters = {name.rpartition(".")[0]: int(value) for name, value in state.items() if "num_batches" in name}
    return Weights(tensors if is_ordered else dict(sorted(tensors.items(), reverse=True)), counters, is_ordered)


def small_as(names: Names, spec: ModelSpec) -> tuple[nn.Module, Weights]:
    """A network of ours, and its weights in a file of another program."""
    torch.manual_seed(2)
    model = warmed(build_model(spec))
    found = weights_of(model, is_ordered=False)
    tensors = {their_name(name, names): value for name, value in found.tensors.items()}
    return model, Weights(tensors, found.counters, is_ordered=False)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("preset", [Preset.TORCHVISION, Preset.PYTORCH_CIFAR])
def test_known_names_are_matched_in_any_order(preset: Preset, block: str):
    """A safetensors file does not keep the order."""
    spec = model_spec("resnet", None, blocks=(1, 1, 1, 1), width=4, block=block)
    model, found = small_as(PRESETS[preset].names, spec)
    assert any("downsample" in name for name in found.tensors) == (preset is Preset.TORCHVISION)

    for given in (preset, None):
        loaded = load(spec, found, source="f", preset=given)
        assert loaded.names == preset.value
        same = zip(loaded.model.state_dict().items(), model.state_dict().values(), strict=True)
        assert all(torch.equal(ours, theirs) for (name, ours), theirs in same if "num_batches" not in name)


@pytest.mark.parametrize("name", ["conv1.weight", "backbone.conv1.weight"])
def test_torchvisions_imagenet_stem_is_refused_by_name(name: str):
    """Its other shapes would fit."""
    with pytest.raises(UsageError, match=r"f.pth has torchvision's ImageNet stem, a 7×7 convolution of stride 2"):
        load(model_spec("resnet", 18), Weights({name: torch.zeros(64, 3, 7, 7)}), source="f.pth")


@pytest.mark.parametrize("architecture", ["he-resnet", "he-plain"])
@pytest.mark.parametrize("preset", [None, Preset.AKAMASTER])
def test_a_file_without_projections_does_not_tell_about_shortcuts(architecture: str, preset: Preset | None):
    """Residual and plain networks of the paper have the same tensors: said in either."""
    spec = model_spec(architecture, 8, width=4)
    _, found = small_as(Names.PYTORCH_CIFAR, spec)

    loaded = load(spec, found, source="f.pt", preset=preset)

    assert "the file does not tell whether this network was trained with shortcuts" in " ".join(loaded.notes)


@pytest.mark.parametrize(
    ("change", "options", "text"),
    [
        ("conv1.weight", {}, "in the names of pytorch-cifar: f lacks conv1.weight"),
        ("+other.weight", {}, "in the names of pytorch-cifar: f has other.weight too"),
        ("", {"conv_bias": True}, r"f lacks layer1.0.conv1.bias; its names ask for no biases"),
        ("+layer1.0.conv1.bias", {}, r"f has layer1.0.conv1.bias too; its names ask for --conv-bias$"),
        ("+layer2.0.shortcut.0.bias", {}, r"shortcut.0.bias too; its names ask for --projection-bias"),
    ],
)
def test_weights_with_other_names_than_the_presets_are_refused(change: str, options: dict[str, bool], text: str):
    """By the first name that is missing or odd, and with the options that would fit."""
    spec = model_spec("resnet", None, blocks=(1, 1, 1, 1), width=4)
    _, found = small_as(Names.PYTORCH_CIFAR, spec)
    tensors = {name: value for name, value in found.tensors.items() if name != change}
    if change.startswith("+"):
        tensors[change[1:]] = torch.zeros(4)

    wanted = model_spec("resnet", None, blocks=(1, 1, 1, 1), width=4, **options)
    with pytest.raises(UsageError, match=text):
        load(wanted, Weights(tensors), source="f", preset=Preset.PYTORCH_CIFAR)


def test_a_file_without_an_order_needs_known_names():
    """By position it would load anything anywhere."""
    spec = model_spec("he-plain", 8, width=4)
    found = {f"x.{name}": value for name, value in weights_of(build_model(spec)).tensors.items()}

    assert load(spec, Weights(found), source="f").names is None
    with pytest.raises(UsageError, match=r"f has other names, and safetensors files do not keep the order"):
        load(spec, Weights(found, is_ordered=False), source="f")
