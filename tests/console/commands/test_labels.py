"""Commands that label and hide runs: what they say agrees with what they did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.recorded_runs import recorded_home


@pytest.fixture
def recorded(bare_home: Any) -> Any:
    """A home with the recorded runs of `quickstart`."""
    recorded_home(Path(bare_home.home.root), "quickstart")
    return bare_home


def test_a_whole_experiment_is_tagged_and_starred(recorded: Any):
    """Each run once, and the list says so; a single run still can be."""
    home = recorded
    runs = home.json("ls")["runs"]
    (experiment,) = {run["experiment"] for run in runs}
    said = home.cli("tag", experiment, runs[0]["id"], "+thesis")
    home.cli("tag", runs[0]["id"], "-thesis", "+best")
    home.cli("star", experiment)

    assert [line.split() for line in said.splitlines()] == [[run["id"], run["name"], "+thesis"] for run in runs]
    assert [run["tags"] for run in home.json("ls")["runs"]] == [["best"], *[["thesis"]] * (len(runs) - 1)]
    assert len(home.json("ls", "--where", "star:yes")["runs"]) == len(runs)
    assert "is an experiment" in home.cli("note", experiment, "x", status=2)


def test_rm_says_what_it_cancels_and_restore_what_it_queues(recorded: Any):
    """A queued run and a finished one: only the first is cancelled, and only it goes back to the queue."""
    home = recorded
    finished = home.json("ls")["runs"][0]["id"]
    home.cli("queue", "hold")
    network = ("-a", "he-plain", "-d", "8", "--width", "2", "--data", "synthetic", "--train-images", "200")
    first, second = (
        run["id"] for run in home.json("train", *network, "--seeds", "2", "--epochs", "1", "--detach")["runs"]
    )
    hidden, undo = home.start("rm", finished, first).communicate(timeout=60)
    queue = [run["id"] for run in home.json("queue", "ls")["runs"]]
    restored = home.cli("restore", finished, first)

    assert [line.split(maxsplit=2)[2] for line in hidden.splitlines()] == ["hidden", "cancelled and hidden"]
    assert undo == f"`depthscope restore {first}` undoes this\n"
    assert queue == [second]
    assert [line.split(maxsplit=2)[2] for line in restored.splitlines()] == ["restored", "restored, queued"]
    assert [run["id"] for run in home.json("queue", "ls")["runs"]] == [first, second]
    assert "  queued 1  " in home.cli("ls", "--where", f"name:{home.json('show', first)['run']['name']}")
