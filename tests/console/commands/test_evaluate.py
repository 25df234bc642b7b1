"""`depthscope weights` and `eval` reproduce a run's error, also from exported weights."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from console.commands.app import app as depthscope
from engine.base.errors import UsageError


def test_a_run_and_the_same_weights_by_position_give_the_recorded_error(finished: Any, tmp_path: Any):
    """Three ways give the same error; another network, a wrong mean and a run without weights are refused."""
    home = finished
    (run,) = (path.name for path in home.home.runs.iterdir())
    home.cli("queue", "hold")
    refused = home.cli("weights", home.train("--epochs", "2"), status=2)
    assert "has no final weights: " in refused
    path = home.cli("weights", run).strip()
    recorded = home.json("show", run)["run"]["test_error_percent"]
    foreign = tmp_path / "foreign.pth"
    state = torch.load(path, weights_only=True)
    renamed = {f"module.theirs{n}.{name.rpartition('.')[2]}": state[name] for n, name in enumerate(state)}
    torch.save({"net": renamed}, foreign)

    again = home.json("eval", run)
    network = ("-a", "he-resnet", "-d", "8", "--width", "4", "--data", "tiny")
    found = json.loads(home.cli("eval", "--weights", str(foreign), *network, "--json"))
    assert again["test_error_percent"] == again["recorded_test_error_percent"] == recorded
    assert found["test_error_percent"] == pytest.approx(recorded, abs=100 / 80)
    assert (again["by_name"], found["by_name"]) == (True, False)

    said = home.cli("eval", "--weights", str(foreign), *network[:4], "--width", "8", "--data", "tiny", status=2)
    assert "the weights do not fit he-resnet8-w8-c4: the first that differs is" in said
    assert said.count("\n") == 1
    next(iter(state.values())).fill_(float("nan"))
    torch.save(state, foreign)
    said = home.cli("eval", "--weights", str(foreign), *network, status=1)
    assert said.startswith("depthscope: foreign.pth has weights that are not finite")
    torch.save({name: 1e30 * tensor for name, tensor in torch.load(path, weights_only=True).items()}, foreign)
    said = home.cli("eval", "--weights", str(foreign), *network, status=1)
    assert "foreign.pth gives outputs that are not finite in fp32" in said
    assert "--mean must be three numbers" in home.cli("eval", run, "--mean", "1,2", status=2)


@pytest.mark.slow
def test_an_export_is_evaluated_by_its_preset(finished: Any, tmp_path: Any):
    """What --as sets and what the file does not tell are said."""
    home = finished
    (run,) = (path.name for path in home.home.runs.iterdir())
    file = str(tmp_path / "f.safetensors")
    network = ("-d", "8", "--width", "4", "--data", "tiny", "--device", "cpu")

    said = home.cli("weights", run, "--as", "akamaster", "-o", file)
    assert f"{file}: " in said
    assert "note: channels are reordered" in said
    page = home.cli("eval", "--weights", file, "-a", "he-resnet", *network, "--as", "akamaster")
    assert "tensors by akamaster's names" in page
    assert "normalised  mean 0.4850,0.4560,0.4060, std 0.2290,0.2240,0.2250 (akamaster's)" in page
    assert "new channels padded on both sides; as akamaster does" in page
    assert "note        the file does not tell whether this network was trained with shortcuts" in page
    plain = json.loads(home.cli("eval", "--weights", file, "-a", "he-plain", *network, "--json"))
    assert (plain["by_name"], plain["names"]) == (True, "pytorch-cifar")
    assert sum("does not tell" in note for note in plain["notes"]) == 1
    assert home.json("eval", run)["notes"] == []


def test_presets_that_do_not_fit_are_refused(finished: Any, monkeypatch: pytest.MonkeyPatch):
    """Before torch is loaded."""
    home = finished
    monkeypatch.setenv("DEPTHSCOPE_HOME", str(home.home.root))
    (run,) = (path.name for path in home.home.runs.iterdir())
    network = ("-d", "8", "--width", "4", "--data", "tiny", "--device", "cpu")
    weights = str(home.home.runs / run / "weights.pt")

    for words, text in (
        (("weights", run, "--as", "akamaster"), "--as PRESET and -o FILE go together"),
        (("weights", run, "--as", "report", "-o", "f.pt"), "report has no network like he-resnet"),
        (("eval", run, "--as", "akamaster"), "leave out --as"),
        (("eval", "--weights", "f.pt", "-a", "he-plain", *network, "--as", "akamaster"), "goes with -a he-resnet"),
        (
            ("eval", "--weights", "f.pt", "-a", "he-plain", *network, "--as", "timm"),
            "--as must be one of pytorch-cifar",
        ),
        (("eval", "--weights", weights, "-a", "he-plain", *network), "he-resnet8-w4-c4's, as spec.json beside it says"),
    ):
        refused = CliRunner().invoke(depthscope, list(words)).exception
        assert isinstance(refused, UsageError)
        assert text in str(refused)
