"""Runs with a validation set: every table says which set an error is of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from console.charts.metrics import METRICS, next_metric, selection_metric
from console.comparison.depth_curves import gap_curves
from console.comparison.description import comparison_document, description
from console.comparison.groups import group_runs, pair_groups
from console.comparison.last_epochs import last_header
from console.comparison.tables import comparison_text
from console.comparison.verdict import read_epochs
from console.report import export_rows
from console.report.contents import contents
from console.report.facts import gather_facts
from console.report.figures import draw_figures
from console.report.markdown import as_markdown
from console.text.columns import short_error
from console.text.follow import epoch_line
from console.text.listing import run_page, runs_table
from console.text.status import remark
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import Labels
from engine.runs.run import Run, RunOutcome, RunStatus
from engine.spec.run import DataSpec
from tests import samples

EPOCHS = 4


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Residual and plain, two seeds each, with 5,000 images held out; the last plain one is still running."""
    home = Home(tmp_path / "home").create()
    store = Store(home.database)
    with store.transaction():
        for number, (kind, seed) in enumerate([(kind, seed) for kind in ("he-resnet", "he-plain") for seed in (0, 1)]):
            add_validated(store, number, kind, seed, done=EPOCHS if number < 3 else 2)
    store.close()
    return home


def add_validated(store: Store, number: int, kind: str, seed: int, *, done: int) -> None:
    """Add a run that is evaluated on the test set after its last epoch alone; epoch 2 has the lowest error."""
    spec = samples.sample_spec(kind, 20, seed=seed, epochs=EPOCHS)
    spec = msgspec.structs.replace(spec, data=DataSpec(validation_images=5_000))
    run = f"{number:010x}"
    labels = Labels(name=f"{kind}20-s{seed}", experiment="e", position=number, created_at=samples.NOW)
    store.add_run(run, spec, labels)
    rows = [
        samples.an_epoch(
            epoch,
            validation_loss=1.5,
            validation_error_percent=20.0 + seed + abs(epoch - 2),
            test_loss=1.25 if epoch == EPOCHS else None,
            test_error_percent=30.0 + seed + 5 * (kind == "he-plain") if epoch == EPOCHS else None,
        )
        for epoch in range(1, done + 1)
    ]
    store.ingest(run, [samples.a_start(num_train=45_000, num_test=10_000, num_validation=5_000), *rows], [], end=0)
    is_done = done == EPOCHS
    if is_done:
        store.set_status(run, RunStatus.FINISHED, outcome=RunOutcome.SUCCEEDED, finished_at=samples.NOW)
    else:
        store.set_running(run, "cpu", started_at=samples.NOW)


@pytest.fixture
def reader(home: Home) -> Iterator[Reader]:
    with Reader(home.database) as found:
        yield found


@pytest.fixture
def runs(reader: Reader) -> list[Run]:
    return reader.runs()


def test_the_index_keeps_both_errors_and_the_best_of_each(runs: list[Run]):
    """The test error of a running run is unknown, not that of some epoch."""
    done, running = runs[0], runs[3]

    assert (done.validation_error_percent, done.test_error_percent) == (22.0, 30.0)
    assert (done.best_validation_error_percent, done.best_test_error_percent) == (20.0, 30.0)
    assert (running.validation_error_percent, running.test_error_percent) == (21.0, None)


def test_tables_of_runs_name_the_validation_error(runs: list[Run]):
    """A column of test errors must not hold another error unmarked."""
    rows = runs_table(runs).splitlines()

    assert "  30.00 %  " in rows[1]
    assert "  21.00 % (validation)  " in rows[4]
    assert [short_error(run) for run in (runs[0], runs[3])] == ["30.00 %", "21.0 val"]


def test_pages_of_a_run_say_what_the_best_was_selected_on(reader: Reader, runs: list[Run]):
    """`show`, the line below a run, and the line of an epoch."""
    epochs = reader.epochs(runs[0].id)
    page = run_page(runs[0], epochs, [])

    assert "20.00 % validation error (selected on the validation set)" in page
    assert "selected on the test set" not in page
    assert "5000 validation images" in page
    assert re.search(r"^ +2 .* 1\.5 +20\.00 % {20,}0\.1 ", page, re.MULTILINE), page
    said = remark(runs[0], epochs, 0.0)
    assert "validation error 22.00 %, test error 30.00 %, best 20.00 % at epoch 2 (selected on the validation" in said
    assert "test" not in epoch_line(runs[0], epochs[0])
    assert "validation loss 1.5, error 22.00 %  test loss 1.25, error 30.00 %" in epoch_line(runs[0], epochs[-1])
    to_come = run_page(runs[3], reader.epochs(runs[3].id), [])
    assert "test error  to be evaluated once, after the last epoch" in to_come


def test_a_comparison_has_both_errors_and_says_which(reader: Reader, runs: list[Run]):
    """Gaps by epoch are of the validation set; final ones of the test set."""
    text = comparison_text(runs, read_epochs(reader, runs), {}, last=2)
    document = comparison_document("e", runs, read_epochs(reader, runs), {})

    assert "validation error %" in text.splitlines()[0]
    assert "validation gap" in text
    for pair in pair_groups(group_runs(runs)):
        gaps = gap_curves([pair], read_epochs(reader, runs), "validation_error_percent", range(9))
        assert len(gaps[0].x) > 0, "a validation error has its gap by epoch"
    assert "validation: 5000 images held out of training, the same for every seed; the test set was evaluated" in text
    assert "test error %, mean of" not in text
    assert "validation error %, mean of the last 2 epochs" in last_header(group_runs(runs), 2)
    assert document["networks"][0]["validation_images"] == 5000
    assert document["networks"][0]["validation_error_percent"]["mean"] == 22.5
    assert document["networks"][0]["test_error_percent"]["mean"] == 30.5
    assert any("held out of training" in line for line in description("e", runs, read_epochs(reader, runs), {}))
    assert selection_metric("test-error", runs) == "validation-error"


def test_a_mixed_comparison_says_how_the_others_select(reader: Reader, runs: list[Run]):
    """Their best is selected on the test set."""
    data = DataSpec(name="cifar10")
    other = msgspec.structs.replace(runs[0], id="00000000ff", spec=msgspec.structs.replace(runs[0].spec, data=data))
    text = comparison_text([*runs, other], read_epochs(reader, runs), {})

    assert "the other runs have no validation set: their best epochs are selected on the test set" in text
    assert selection_metric("test-error", [*runs, other]) == "test-error"


@pytest.mark.slow
def test_the_report_draws_and_names_the_validation_error(home: Home, reader: Reader):
    """No curve of an error that was measured once."""
    facts = gather_facts(reader, home.runs, "e")
    figures = draw_figures(facts)
    page = as_markdown(contents(facts, figures, findings={}), figures="figures")

    assert {"validation-error", "pairs"} <= {figure.name for figure in figures}
    assert "test-error" not in {figure.name for figure in figures}
    assert "best validation error % (selected on the validation set)" in page
    assert "Validation: 5000 images held out of training" in page


def test_exports_have_no_rows_of_what_was_not_evaluated(reader: Reader, runs: list[Run]):
    """A test error before the last epoch is missing, not non-finite."""
    rows = [row for row in export_rows.rows(reader, runs[:1]) if row.metric == "test_error_percent"]
    held_out = [row for row in export_rows.rows(reader, runs[:1]) if row.metric == "validation_error_percent"]

    assert [(row.epoch, row.value) for row in rows] == [(EPOCHS, 30.0)]
    assert [row.epoch for row in held_out] == [1, 2, 3, 4]


def test_metrics_of_a_validation_set_are_offered_where_one_exists(home: Home):
    """Pressing the key of the next metric never leads to a chart that must stay empty."""
    with Reader(home.database) as reader:
        runs = reader.runs()

    def around(runs: list[Run]) -> set[str]:
        name, seen = "train-loss", set[str]()
        while name not in seen:
            seen.add(name)
            name = next_metric(name, runs)
        return seen

    assert around(runs) == METRICS.keys()
    assert METRICS.keys() - around([]) == {"validation-loss", "validation-error"}
