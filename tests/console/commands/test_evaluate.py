"""`depthscope weights` and `eval` from outside: the run's own number again, and foreign weights."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

FOREIGN = """
import sys, torch
state = torch.load(sys.argv[1], weights_only=True)
named = {f"module.theirs{n}.{k.rpartition('.')[2]}": v for n, (k, v) in enumerate(state.items())}
torch.save({"net": named}, sys.argv[2])
"""


def test_a_run_and_the_same_weights_by_position_give_the_recorded_error(home: Any, tmp_path: Any):
    """One number by three ways; another network, a wrong mean and a run without weights are refused."""
    run = home.train("--epochs", "2", "--device", "cpu")
    refused = home.cli("weights", run, status=2)
    assert "has no final weights: " in refused
    home.cli("wait", run)
    path = home.cli("weights", run).strip()
    recorded = home.json("show", run)["run"]["test_error_percent"]
    foreign = tmp_path / "foreign.pth"
    subprocess.run([sys.executable, "-c", FOREIGN, path, str(foreign)], check=True)

    again = home.json("eval", run)
    network = ("-a", "he-resnet", "-d", "8", "--width", "4", "--data", "tiny")
    found = json.loads(home.cli("eval", "--weights", str(foreign), *network, "--json"))
    assert again["test_error_percent"] == again["recorded_test_error_percent"] == recorded
    assert found["test_error_percent"] == pytest.approx(recorded, abs=100 / 80)
    assert (again["by_name"], found["by_name"]) == (True, False)

    said = home.cli("eval", "--weights", str(foreign), *network[:4], "--width", "8", "--data", "tiny", status=2)
    assert "the weights do not fit he-resnet8-w8-c4: the first that differs is" in said
    assert said.count("\n") == 1
    assert "--mean must be three numbers" in home.cli("eval", run, "--mean", "1,2", status=2)
