"""Weights of other programs: matched by position, with equal outputs, or refused naming the differing layer."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.base.errors import DepthscopeError, UsageError
from engine.programs.foreign_weights import centre_shortcuts, check_finite, fit, read_weights
from engine.training.checkpoint import MAGIC
from models.build import build_model
from models.catalog import ModelSpec, model_spec
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
    """Independent implementation of He et al. 2015, section 4.2, with different names."""

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
        model = build_model(model_spec(architecture, depth))
        if architecture == "he-resnet":
            centre_shortcuts(model)
        assert not fit(model, read_weights(tmp_path / file), network="it", source=file)
        with torch.no_grad():
            assert torch.allclose(model.eval()(images), theirs[architecture](images), atol=1e-5)


def test_our_own_weights_match_by_name_in_any_order(tmp_path: Path):
    """Sorting a state_dict does not change its meaning."""
    spec = model_spec("he-plain", 8, width=4)
    torch.manual_seed(0)
    model, other = build_model(spec), build_model(spec)
    torch.save(dict(sorted(model.state_dict().items())), tmp_path / "weights.pt")

    assert fit(other, read_weights(tmp_path / "weights.pt"), network="it", source="weights.pt")
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

    with pytest.raises(UsageError, match=f"do not fit he-plain8: .*{text}"):
        fit(model, changed(found, kind), network="he-plain8", source="f.pt")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_another_depth_is_reported_with_the_first_differing_layer():
    """With both names and both shapes."""
    found = {
        name: value for name, value in Textbook(model_spec("resnet", 18)).state_dict().items() if "num_b" not in name
    }

    with pytest.raises(UsageError, match=r"\[256, 256, 3, 3\], in ckpt layer4\.0\.conv1\.weight \[512, 256, 3, 3\]"):
        fit(build_model(model_spec("resnet", 20)), found, network="resnet20", source="ckpt")


class Spy:
    """Reports when it is executed."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return Path.write_text, (Path("executed"), "")  # type: ignore[return-value]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("old", [False, True], ids=["archive", "pickle"])
def test_a_pickle_is_refused_and_executes_nothing(old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Downloaded weights must not execute code."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pth"
    if old:
        path.write_bytes(pickle.dumps(Spy()))
    else:
        torch.save({"net": Spy()}, path)

    with pytest.raises(UsageError, match="holds Python objects, which are not loaded"):
        read_weights(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read: No such file"),
        (b"", "not a PyTorch checkpoint"),
        (b"hello", "not a PyTorch checkpoint"),
        (torch.zeros(3), "holds no state_dict"),
        ({"a": {"w": torch.zeros(1)}, "b": {"w": torch.zeros(1)}}, r"holds several networks \(a, b\)"),
    ],
)
def test_a_file_without_weights_is_refused(content: object, text: str, tmp_path: Path):
    """One line with the file's name."""
    path = tmp_path / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)

    with pytest.raises(UsageError, match=text) as refused:
        read_weights(path)
    assert str(path) in str(refused.value)


def script(path: Path) -> None:
    model = build_model(model_spec("he-plain", 8, width=4)).eval()
    torch.jit.save(torch.jit.trace(model, torch.zeros(1, 3, 32, 32)), path)  # type: ignore[no-untyped-call]


def exported(path: Path) -> None:
    # What torch.export.save puts beside the weights; exporting takes seconds.
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("it/archive_format", "pt2")
        archive.writestr("it/models/model.json", "{}")


def safetensors(path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))


def numpy_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, w=np.zeros(3))


def checkpoint(path: Path) -> None:
    content = io.BytesIO()
    torch.save({"model": {"w": torch.zeros(1)}}, content)
    path.write_bytes(b"%s %s %d\n" % (MAGIC, b"0" * 64, len(content.getvalue())) + content.getvalue())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            script,
            r"is a TorchScript archive.*save\(torch.jit.load\('file.pt'\).state_dict\(\), 'weights.pt'\)`",
        ),
        (exported, r"is an archive of torch.export, .*`torch.save\(torch.export.load\('file.pt'\).state_dict, "),
        (
            safetensors,
            r"is a safetensors file.*save\(safetensors.torch.load_file\('file.pt'\), 'weights.pt'\)`",
        ),
        (numpy_archive, "is a NumPy archive: save a state_dict with torch.save"),
        (
            checkpoint,
            "is a training checkpoint of depthscope: `depthscope eval 0123456789` evaluates the final weights",
        ),
    ],
)
def test_other_kinds_of_files_are_named_with_a_remedy(make: Callable[[Path], None], text: str, tmp_path: Path):
    """None of them is damaged, and each needs something else."""
    path = tmp_path / "0123456789" / "file.pt"
    path.parent.mkdir()
    make(path)

    with pytest.raises(UsageError, match=text) as refused:
        read_weights(path)
    assert str(refused.value).startswith(f"{path} is a")


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
