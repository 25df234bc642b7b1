"""`depthscope import` with a real engine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests import recorded_runs

RECORDED = recorded_runs.RECORDED / "quickstart"


def test_runs_of_another_machine_are_compared_here(bare_home: Any, tmp_path: Path):
    """Imports a whole experiment; repeating it does nothing, and another state of a run is refused in one line."""
    directories = [shutil.copytree(path, tmp_path / path.name) for path in sorted(RECORDED.iterdir())]
    words = [str(path) for path in directories]
    assert bare_home.cli("import", *words).count("succeeded") == 4
    assert len(bare_home.json("ls", "--where", "outcome:succeeded exp:exp1")["runs"]) == 4

    again = bare_home.json("import", *words)
    assert (again["runs"], len(again["already_here"])) == ([], 4)
    # The other home deletes checkpoints once a run has succeeded.
    (directories[0] / "checkpoint.pt").write_bytes(b"")
    assert len(bare_home.json("import", *words)["already_here"]) == 4
    (directories[0] / "weights.pt").write_bytes(b"")
    refused = bare_home.cli("import", *words, status=2)
    assert refused.startswith("depthscope: ")
    assert refused.count("\n") == 1
    assert "its weights.pt differs" in refused
