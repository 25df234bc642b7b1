"""Weights of a run written for other programs: they load there and compute the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from engine.base.errors import UsageError
from engine.control.messages import ExportTask
from engine.programs.foreign_weights import centre_shortcuts, load
from engine.programs.weights_export import converted, export
from engine.programs.weights_file import read_weights
from engine.spec.presets import Preset
from models.build import build_model
from models.catalog import ModelSpec, model_spec
from tests.engine.programs.test_foreign_weights import PaperNetwork, warmed
from tests.models.test_pytorch_cifar import Textbook

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def written(spec: ModelSpec, preset: Preset, folder: Path, name: str) -> tuple[nn.Module, Path, tuple[str, ...]]:
    """A network of ours, its exported file and what was noted."""
    torch.manual_seed(0)
    model = warmed(build_model(spec))
    torch.save(model.state_dict(), folder / "weights.pt")
    task = ExportTask(weights=str(folder / "weights.pt"), model=spec, preset=preset, output=str(folder / name))
    done = export(task)
    assert done.num_tensors == len(model.state_dict()) or preset is Preset.REPORT
    return model, folder / name, done.notes


def test_pytorch_cifar_loads_an_export_strictly(tmp_path: Path):
    """Counters of batches too, in its own order."""
    model, path, notes = written(model_spec("resnet", 18), Preset.PYTORCH_CIFAR, tmp_path, "f.pth")
    theirs = Textbook(model_spec("resnet", 18))
    state = torch.load(path, weights_only=True)

    theirs.load_state_dict(state)

    assert (notes, list(state)) == ((), list(theirs.state_dict()))
    with torch.no_grad():
        assert torch.equal(theirs.eval()(IMAGES), model(IMAGES))


def test_akamaster_loads_an_export_with_its_channels_reordered(tmp_path: Path):
    """Its shortcuts put new channels on both sides; so do ours when it is loaded again."""
    spec = model_spec("he-resnet", 20)
    model, path, notes = written(spec, Preset.AKAMASTER, tmp_path, "f.th")
    theirs = PaperNetwork(3)

    theirs.load_state_dict(torch.load(path, weights_only=True))
    again = load(spec, read_weights(path), source="f.th", preset=Preset.AKAMASTER)
    uncentred = load(spec, read_weights(path), source="f.th", preset=Preset.AKAMASTER)
    centre_shortcuts(again.model)

    assert notes == ("channels are reordered: akamaster's shortcuts put new ones on both sides of the old ones",)
    with torch.no_grad():
        expected = model(IMAGES)
        assert torch.allclose(theirs.eval()(IMAGES), expected, rtol=0, atol=1e-5)
        assert torch.allclose(again.model.eval()(IMAGES), expected, rtol=0, atol=1e-5)
        assert not torch.allclose(uncentred.model.eval()(IMAGES), expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize("name", ["f.pth", "f.safetensors"])
@pytest.mark.parametrize("preset", [Preset.PYTORCH_CIFAR, Preset.TORCHVISION])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_an_export_comes_back_as_it_was(preset: Preset, block: str, name: str, tmp_path: Path):
    """Bit by bit, in both formats."""
    spec = model_spec("resnet", None, blocks=(1, 2, 1, 1), width=4, block=block)
    model, path, notes = written(spec, preset, tmp_path, name)

    loaded = load(spec, read_weights(path), source=name, preset=preset)

    assert "their network has 64 channels in its first stage, this one 4" in notes
    assert loaded.names == preset.value
    for ours, again in zip(model.parameters(), loaded.model.parameters(), strict=True):
        assert torch.equal(ours, again)
    with torch.no_grad():
        assert torch.equal(model(IMAGES), loaded.model.eval()(IMAGES))


@pytest.mark.parametrize(
    ("preset", "spec", "text"),
    [
        (Preset.PYTORCH_CIFAR, model_spec("plain", 18), "its networks have shortcuts"),
        (Preset.AKAMASTER, model_spec("he-plain", 20), "its networks have shortcuts"),
        (Preset.PYTORCH_CIFAR, model_spec("preact", 18), "its PreActResNet has no normalisation after the last block"),
        (Preset.PYTORCH_CIFAR, model_spec("resnet", 18, norm="none"), "it always normalises"),
        (Preset.TORCHVISION, model_spec("resnet", 18, projection_bias=True), "have no biases; --as report"),
        (Preset.AKAMASTER, model_spec("resnet", 18), "it has none like resnet"),
        (Preset.REPORT, model_spec("he-resnet", 20), "it has none like he-resnet"),
        (Preset.AKAMASTER, model_spec("he-resnet", None, blocks=(1, 2, 3)), "equal numbers of blocks"),
    ],
)
def test_a_network_the_other_program_lacks_is_refused(preset: Preset, spec: ModelSpec, text: str):
    """With the reason."""
    with pytest.raises(UsageError, match=f"{preset} has no network like .*: .*{text}"):
        converted(spec, {}, preset)


def test_an_existing_file_is_kept(tmp_path: Path):
    """It may be the only copy of other weights."""
    (tmp_path / "f.pth").write_text("mine")

    with pytest.raises(UsageError, match=r"f.pth exists: give the name of a new file"):
        written(model_spec("he-resnet", 8, width=4), Preset.AKAMASTER, tmp_path, "f.pth")
    assert (tmp_path / "f.pth").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.pth", "weights.pt"]
