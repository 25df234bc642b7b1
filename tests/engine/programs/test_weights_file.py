"""Files of weights: read without executing anything in them, or refused with what to do."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.base.errors import UsageError
from engine.programs.weights_file import read_weights
from engine.training.checkpoint import MAGIC
from models.build import build_model
from models.catalog import model_spec


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


def damaged_safetensors(path: Path) -> None:
    save_file({"w": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-9])


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
        (damaged_safetensors, "is a damaged safetensors file: "),
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


STATE = {"conv.weight": torch.ones(2), "bn.num_batches_tracked": torch.tensor(5)}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "best_acc1": torch.tensor(93.1), "epoch": 7},
        {"model": STATE, "rng": torch.get_rng_state()},
        {"rng": torch.get_rng_state(), "epoch": 3, "netF": STATE},
        {"optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}}, "model": {"state_dict": STATE}},
        {"ema": {"conv.weight": torch.zeros(2)}, "state_dict": STATE, "model": {}},
        {f"module.{name}": value for name, value in STATE.items()},
        {"net": {f"_orig_mod.module.{name}": value for name, value in STATE.items()}, "acc": torch.tensor(1.0)},
        {"net": {f"module._orig_mod.{name}": value for name, value in STATE.items()}},
    ],
)
def test_the_state_dict_of_a_checkpoint_is_found(content: dict[str, Any], tmp_path: Path):
    """Whatever lies beside it, and without the prefixes of DataParallel and torch.compile."""
    torch.save(content, tmp_path / "f.pt")

    found = read_weights(tmp_path / "f.pt")

    assert {name: tensor.tolist() for name, tensor in found.tensors.items()} == {"conv.weight": [1.0, 1.0]}
    assert found.counters == {"bn": 5}
    assert found.is_ordered


def test_a_name_with_and_without_a_prefix_is_refused(tmp_path: Path):
    """One of them would be lost."""
    torch.save({"conv.weight": torch.ones(1), "module.conv.weight": torch.zeros(1)}, tmp_path / "f.pt")

    with pytest.raises(UsageError, match=r"holds conv.weight twice"):
        read_weights(tmp_path / "f.pt")


def test_a_safetensors_file_is_read(tmp_path: Path):
    """Under any name; it does not keep the order of the layers."""
    save_file({f"module.{name}": value for name, value in STATE.items()}, tmp_path / "f.bin")

    found = read_weights(tmp_path / "f.bin")

    assert (found.tensors["conv.weight"].tolist(), found.counters, found.is_ordered) == ([1.0, 1.0], {"bn": 5}, False)
