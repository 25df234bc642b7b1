"""`depthscope weights` and `eval` reproduce a run's error, also from exported weights."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch


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
