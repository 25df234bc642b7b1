"""Means over the last epochs, beside final errors and never mixed with them."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from console.comparison.claims import Epochs
from console.comparison.description import comparison_document, description
from console.comparison.groups import group_runs
from console.comparison.last_epochs import run_mean
from console.comparison.tables import comparison_text
from console.comparison.verdict import read_epochs
from console.report.contents import contents
from console.report.facts import gather_facts
from console.report.markdown import as_markdown
from engine.index.queries import Reader
from engine.runs.run import Run, RunOutcome
from tests.recorded_runs import recorded_home

NAME = "mean of the last 5 epochs"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Reader of the recorded depths, three seeds of some networks."""
    with Reader(recorded_home(tmp_path / "home", "depths").database) as found:
        yield found


@pytest.fixture
def runs(reader: Reader) -> list[Run]:
    return reader.runs()


@pytest.fixture
def epochs(reader: Reader, runs: list[Run]) -> Epochs:
    return read_epochs(reader, runs)


def test_the_mean_is_that_of_the_last_five_epochs(runs: list[Run], epochs: Epochs):
    """Computed from the journal; the final error stays the last epoch's."""
    run = runs[0]
    rows = [row.test_error_percent for row in epochs[run.id]]

    assert run_mean(run, epochs, "test_error_percent", 5) == pytest.approx(statistics.fmean(rows[-5:]))
    assert run.test_error_percent == rows[-1]
    assert statistics.fmean(rows[-5:]) != rows[-1]


@pytest.mark.parametrize(
    ("changes", "last"),
    [({}, 100), ({"outcome": RunOutcome.STOPPED_EARLY}, 5), ({"outcome": None}, 5)],
    ids=["more than all epochs", "stopped early", "still running"],
)
def test_a_run_without_that_many_last_epochs_has_no_mean(
    runs: list[Run], epochs: Epochs, changes: dict[str, object], last: int
):
    """A mean of fewer epochs, or of epochs before the last, would have the wrong name."""
    assert run_mean(replace(runs[0], **changes), epochs, "test_error_percent", last) is None


def test_an_epoch_without_a_finite_number_gives_no_mean(runs: list[Run], epochs: Epochs):
    """None stands for a number that was not finite."""
    run = runs[0]
    *rows, final = epochs[run.id]
    broken = {run.id: [*rows, replace(final, test_error_percent=None)]}

    assert run_mean(run, broken, "test_error_percent", 5) is None
    assert run_mean(run, broken, "train_error_percent", 5) is not None


def test_it_is_shown_only_on_demand_and_named(reader: Reader, runs: list[Run], epochs: Epochs, tmp_path: Path):
    """In compare, describe, report and JSON; final errors are the same with and without."""
    group = group_runs(runs)[0]
    bare, asked = comparison_text(runs, epochs, {}), comparison_text(runs, epochs, {}, last=5)
    facts = gather_facts(reader, tmp_path / "home" / "runs", runs[0].experiment)
    pages = [as_markdown(contents(facts, [], findings={}, last=last), figures="figures") for last in (None, 5)]
    document, with_last = (comparison_document("e", runs, epochs, {}, last=last)["networks"] for last in (None, 5))

    assert NAME not in bare
    assert f"test error %, {NAME}" in asked
    assert set(bare.splitlines()) <= set(asked.splitlines())
    assert NAME not in "\n".join(description("e", runs, epochs, {}))
    assert any(
        re.match(rf"{group.label}, {NAME}: test error [\d.]+ % ± [\d.]+ \(n=3\), train error", line)
        for line in description("e", runs, epochs, {}, last=5)
    )
    assert (NAME in pages[0], NAME in pages[1]) == (False, True)
    assert document[0]["last_epochs"] is None
    assert with_last[0]["last_epochs"]["name"] == NAME
    assert with_last[0]["last_epochs"]["test_error_percent"]["n"] == 3
    assert with_last[0]["test_error_percent"] == document[0]["test_error_percent"]
