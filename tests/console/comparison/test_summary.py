"""The summary of an experiment: a line for each network, and the verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.comparison.summary import Summary, eta_text, network_table, summarize
from console.text.sparkline import sparkline
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.run import RunOutcome, RunStatus
from tests.samples import NOW, add_sample

COLOURS = tuple(range(16, 25))


def fill(home: Home) -> None:
    """Add two plain networks: one finished, one with a seed each finished, diverged and queued."""
    store = Store(home.database)
    with store.transaction():
        for seed in range(3):
            add_sample(store, seed, "plain", 20, experiment="x", epochs_done=12, total=12, floor=8.0 + seed, seed=seed)
        deep = {"experiment": "x", "total": 12, "floor": 30.0}
        add_sample(store, 3, "plain", 56, epochs_done=12, seed=0, **deep)
        add_sample(store, 4, "plain", 56, epochs_done=3, seed=1, outcome=RunOutcome.DIVERGED, **deep)
        add_sample(store, 5, "plain", 56, epochs_done=0, seed=2, status=RunStatus.QUEUED, outcome=None, **deep)
        running = {"experiment": "x", "total": 12, "status": RunStatus.RUNNING, "outcome": None}
        for seed, epochs_done in ((0, 6), (1, 4)):
            add_sample(store, 6 + seed, "plain", 110, epochs_done=epochs_done, seed=seed, floor=40.0, **running)
    store.close()


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    home = Home(tmp_path / "home").create()
    fill(home)
    with Reader(home.database) as reader:
        runs = reader.runs()
        epochs = {run.id: reader.epochs(run.id) for run in runs}
    ends = {f"{5:010x}": 3600.0, f"{6:010x}": 600.0, f"{7:010x}": 1200.0}
    return summarize("x", runs, epochs, {}, colours=COLOURS, seconds_to_end=ends, now=NOW)


def test_a_network_is_summed_up_over_its_seeds(summary: Summary):
    """Finished seeds give the final error; until there is one, seeds at work give it at their last common epoch."""
    shallow, deep, deepest = summary.networks

    assert [line.num_seeds for line in summary.networks] == [3, 3, 2]
    assert (shallow.epochs_done, shallow.epochs_planned, shallow.num_finished) == (36, 36, 3)
    assert shallow.error.endswith("(n=3)")
    assert (shallow.error_at, shallow.ends_at, shallow.diagnosis) == (None, None, "")
    assert (deep.epochs_done, deep.num_finished, deep.diagnosis) == (15, 2, "diverged 1/3")
    assert deep.error.endswith("(n=1)")
    assert (deepest.error_at, deepest.diagnosis) == (4, "training")
    assert deepest.error.endswith("(n=2)")


def test_the_last_seed_decides_when_a_network_and_the_experiment_end(summary: Summary):
    """The estimate of the slowest unfinished seed."""
    assert [line.ends_at for line in summary.networks] == [None, NOW + 3600, NOW + 1200]
    assert summary.ends_at == NOW + 3600
    assert "5 of 8 runs finished" in summary.title()


def test_an_unknown_end_of_one_seed_leaves_the_end_unknown(tmp_path: Path):
    """The known seeds alone would give an end that is too early."""
    home = Home(tmp_path / "home").create()
    fill(home)
    with Reader(home.database) as reader:
        runs = reader.runs()
    found = summarize("x", runs, {}, {}, colours=COLOURS, seconds_to_end={f"{6:010x}": 600.0}, now=NOW)

    assert (found.networks[2].ends_at, found.ends_at) == (None, None)


def test_the_verdict_says_so_far_while_seeds_are_pending(summary: Summary):
    """As in the comparison."""
    assert summary.verdict.startswith("so far: plain110 trains")


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [40, 52, 64, 78, 120])
def test_the_table_fits_and_keeps_error_and_diagnosis(summary: Summary, width: int, unicode: bool):
    """Narrow terminals drop the epochs first, then the curve."""
    lines = network_table(summary, width, unicode=unicode)
    text = "\n".join(lines)

    assert all(len(line) <= width for line in lines)
    assert unicode or text.isascii()
    assert len(lines) == 1 + len(summary.networks)
    assert ("epochs" in text) == (width >= 78)
    if width >= 64:
        assert "diverged 1/3" in lines[2]
        assert " ~" in lines[2]


@pytest.mark.parametrize(
    ("values", "width", "expected"),
    [
        ({}, 4, "    "),
        ({1: 100.0, 2: 100.0}, 4, "█   "),
        ({1: 100.0, 4: 0.0, 8: 0.0}, 4, "█▁▁▁"),
        ({1: float("nan"), 2: float("nan"), 3: 100.0, 8: 50.0}, 4, " █▅▅"),
    ],
)
def test_a_sparkline_spans_the_planned_epochs(values: dict[int, float], width: int, expected: str):
    """Eight epochs; those to come and those without a finite value are blank."""
    assert sparkline(values, width, planned=8, limits=(0.0, 100.0)) == expected


def test_an_end_on_another_day_names_the_day():
    """A time of day alone would mean today."""
    assert len(eta_text(NOW + 60, NOW)) == len("~14:32")
    assert len(eta_text(NOW + 2 * 86_400, NOW).split()) == 2
