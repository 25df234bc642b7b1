"""`depthscope prune`: shows what it would delete, and deletes it only when told to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from console.programs.checks import Level, examine_usage

SIZE = 1 << 20


def add_checkpoint(home: Any, run: str) -> Path:
    """A checkpoint as left by a version that kept them."""
    path: Path = home.directory(run).checkpoint
    path.write_bytes(b"x" * SIZE)
    return path


def test_prune(finished: Any, monkeypatch: Any):
    """Dry by default; then checkpoints of a succeeded run, then the run itself once it is hidden."""
    home = finished
    (run,) = (path.name for path in home.home.runs.iterdir())
    assert home.json("prune")["runs"] == []
    checkpoint = add_checkpoint(home, run)

    shown = home.cli("prune")
    assert f"{run}  exp1/" in shown
    assert "1.00 MiB: checkpoints of 1 succeeded run, whose weights stay" in shown
    document = home.json("prune")
    assert (document["deleted"], document["num_bytes"]) == (False, SIZE)
    assert checkpoint.exists()
    assert home.json("prune", "--only", "hidden", "--delete")["runs"] == []
    assert checkpoint.exists()
    monkeypatch.setattr("console.programs.checks.WORTH_PRUNING_BYTES", SIZE)
    (usage,) = examine_usage(home.home)
    assert (usage.level, usage.remedy) == (Level.NOTE, "`depthscope prune` can delete 1.00 MiB of it")
    assert "checkpoints 1.00 MiB" in usage.text

    assert home.json("prune", "--delete")["deleted"] is True
    assert not checkpoint.exists()
    assert home.directory(run).weights.exists()
    home.cli("weights", run)

    other = home.train("--epochs", "1")
    home.cli("wait", other)
    home.cli("rm", run, other)
    monkeypatch.setattr("console.commands.manage.RUNS_AT_ONCE", 1)
    assert "hidden run" in home.cli("prune")
    assert home.directory(run).path.exists()
    rows = home.json("prune", "--yes", "--only", "hidden")["runs"]
    assert {(row["what"], row["id"]) for row in rows} == {("hidden", run), ("hidden", other)}
    assert list(home.home.runs.iterdir()) == []
    assert home.json("ls", "--all")["runs"] == []
    home.cli("restore", run, status=2)
