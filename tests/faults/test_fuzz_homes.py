"""Whole homes with random damage: the engine starts within seconds, and every healthy run is listed.

`tests/faults/fuzz_homes.py` tries as many homes as wanted by hand.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.base.paths import Home
from tests.faults.fuzz_homes import MIN_HEALTHY, NUM_RUNS, figures, fill, make_template, spoil, try_home

NUM_HOMES = 60


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.slow
def test_damaged_homes_are_served_and_their_healthy_runs_listed(template: Path, figure: Callable[[str], None]):
    trials = [try_home(template, seed) for seed in range(NUM_HOMES)]
    figure(figures(trials).replace("\n", "; "))
    # On a machine busy with other tests, a start may take longer; the figures say how long.
    problems = [
        f"seed {trial.seed}: {problem}"
        for trial in trials
        for problem in trial.problems
        if not problem.startswith("late")
    ]
    assert problems == []


@pytest.mark.slow
def test_the_damage_is_as_wanted_and_can_be_repeated(tmp_path: Path):
    """The same seed does the same, and enough runs stay untouched."""
    whole = fill(tmp_path / "whole")
    assert len(list(whole.runs.iterdir())) == NUM_RUNS
    kinds = set()
    for seed in range(6):
        done = []
        for name in ("one", "other"):
            shutil.copytree(whole.root, tmp_path / f"{name}{seed}")
            healthy, changes = spoil(Home(tmp_path / f"{name}{seed}"), random.Random(seed))
            assert len(healthy) >= MIN_HEALTHY
            done.append(changes)
        assert done[0] == done[1]
        kinds |= set(done[0])
    assert {change.partition(":")[0] for change in kinds} >= {"journal.jsonl", "exit.json", "labels.json", "run.lock"}
    assert {change.partition(": ")[2] for change in kinds} >= {"FIFO", "directory", "nest", "flip", "change_number"}
