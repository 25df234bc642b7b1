"""Full version of the kill tests: `uv run pytest -m soak --kills 1000 tests/faults/test_many_kills.py`."""

from __future__ import annotations

import math
import os
import platform
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.spec.devices import cpu_name
from tests.faults.killing import (
    Executioner,
    check_nothing_lost,
    draw_plan,
    epochs_needed,
    kill_engines,
    points_fallen,
    sabotaged,
    train_planned,
)

pytestmark = [pytest.mark.soak, pytest.mark.timeout(4 * 3600)]

KILLS_A_RUN = 20
VARIANTS = ((), ("--precision", "fp32"), ("--schedule", "one-cycle"), ("--batch-size", "32"))
"""Variants trained in turn: native precision, a learning rate that changes every step, a smaller last batch."""
SLOTS = "[slots]\ncpu = 2\n"


def machine() -> str:
    """Describe hardware and versions, for a figure."""
    load = os.getloadavg()[0]
    return (
        f"{cpu_name()}, {os.cpu_count()} cores, load {load:.1f}; torch {torch.__version__},"
        f" Python {platform.python_version()}"
    )


def train_undisturbed(home: Any, epochs: int, num_runs: int) -> list[tuple[str, tuple[str, ...]]]:
    """Train an undisturbed run of each variant; return one with its arguments for every run to be killed."""
    references = []
    for seed, variant in enumerate(VARIANTS[:num_runs]):
        words = ("--epochs", str(epochs), "--seed", str(seed), *variant)
        references.append((home.train(*words), words))
    return references


def check_all(
    home: Any, pairs: list[tuple[str, str, int]], *, epochs: int, fell: Counter[str], began: float
) -> tuple[str, list[str]]:
    """Check every run; return a line of figures and the problems found.

    Args:
        home: Of the runs.
        pairs: Undisturbed run, killed run, and number of kills.
        epochs: Epochs of each run.
        fell: Points at which kills fell.
        began: Start time, monotonic clock.
    """
    wrong = []
    for undisturbed, run, num_kills in pairs:
        try:
            check_nothing_lost(home, undisturbed, run, epochs=epochs, num_kills=num_kills)
        except AssertionError as error:
            wrong.append(f"{run}: {error}")
    total = fell.total()
    places = ", ".join(f"{count} {place}" for place, count in fell.most_common())
    took = time.monotonic() - began
    return (
        f"{total} kills in {len(pairs)} runs, {len(wrong)} mismatches, {took:.0f} s ({took / max(1, total):.2f} s a"
        f" kill): {places}; {machine()}"
    ), wrong


def test_workers_killed_by_plan(home: Any, num_kills: int, figure: Callable[[str], None]):
    """Half of the kills: spread evenly over all points, including those a random kill rarely hits."""
    sabotaged(home)
    home.home.config.write_text(SLOTS)
    began, draws, wanted = time.monotonic(), random.Random(11), num_kills // 2
    plans = [
        draw_plan(draws, min(KILLS_A_RUN, num_kills // 2 - done)) for done in range(0, num_kills // 2, KILLS_A_RUN)
    ]
    epochs = max(epochs_needed(plan) for plan in plans)
    references = train_undisturbed(home, epochs, len(plans))
    chosen = [references[index % len(references)] for index in range(len(plans))]
    runs = train_planned(home, *[(words, plan) for (_, words), plan in zip(chosen, plans, strict=True)])
    home.cli("wait", *(run for run, _ in references), *runs, status=None, patience_seconds=4 * 3600)
    fell = sum((points_fallen(home, run) for run in runs), Counter())
    pairs = [(undisturbed, run, len(plan)) for (undisturbed, _), run, plan in zip(chosen, runs, plans, strict=True)]
    told, wrong = check_all(home, pairs, epochs=epochs, fell=fell, began=began)
    figure(told)

    assert not wrong
    assert fell.total() == wanted


def test_workers_killed_at_random(home: Any, num_kills: int, figure: Callable[[str], None]):
    """The other half: from outside at random times, with the product unmodified."""
    home.home.config.write_text(SLOTS)
    began, epochs, wanted = time.monotonic(), 4 * KILLS_A_RUN, num_kills - num_kills // 2
    # One extra, since a run may end before enough kills.
    num_runs = math.ceil(wanted / KILLS_A_RUN) + 1
    references = train_undisturbed(home, epochs, num_runs)
    chosen = [references[index % len(references)] for index in range(num_runs)]
    runs = [home.train(*words) for _, words in chosen]
    executioner = Executioner(home, random.Random(12))
    victims = executioner.kill(runs, wanted, most_a_run=KILLS_A_RUN, patience_seconds=4 * 3600)
    home.cli("wait", *(run for run, _ in references), *runs, status=None, patience_seconds=3600)
    pairs = [(undisturbed, it.run, it.num_kills) for (undisturbed, _), it in zip(chosen, victims, strict=True)]
    told, wrong = check_all(home, pairs, epochs=epochs, fell=executioner.fell, began=began)
    figure(told)

    assert not wrong
    assert executioner.fell.total() == wanted


def test_engines_killed(bare_home: Any, num_kills: int, figure: Callable[[str], None]):
    """A fifth as many engine kills, while two runs train."""
    began = time.monotonic()
    seconds = kill_engines(bare_home, num_kills // 5, random.Random(13))
    took = time.monotonic() - began
    slowest = sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]
    figure(
        f"{num_kills // 5} kills in {took:.0f} s, no row lost or doubled; serving again after"
        f" {statistics.median(seconds):.2f} s in the median, {slowest:.2f} s in 95 of 100, {max(seconds):.2f} s at"
        f" most, {len([one for one in seconds if one < 2])} of {len(seconds)} within 2 s; {machine()}"
    )
