"""Early stopping of runs that do not learn: when it applies, its message, and resuming."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.analysis.diagnosis import STOPPING_EPOCHS
from engine.analysis.early_stopping import describe_stop, epochs_to_judge, reason_to_stop
from engine.runs.journal import AnyEvent, Epoch, JournalWriter, read_events
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec, StopRule
from models.catalog import model_spec
from tests.samples import an_epoch

FLAT = 2.31
"""Within 1 % of ln 10."""


def spec(stop_when: StopRule | None = StopRule.NOT_LEARNING) -> RunSpec:
    return RunSpec(model=model_spec("he-plain", 56), recipe=recipe("reference"), stop_when=stop_when)


def epoch(number: int, loss: float | None) -> Epoch:
    errors = {"train_error_percent": 90.0, "test_error_percent": 90.0}
    return an_epoch(number, train_loss=loss, test_loss=loss, seconds=60.0, **errors)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def write(journal: Path, *events: AnyEvent) -> None:
    writer = JournalWriter.open(journal)
    for event in events:
        writer.append(event)
    writer.close()


def test_stops_after_the_tenth_epoch_without_learning():
    """Nine might still be a slow start; savings are given in epochs and their median time."""
    rows = {number: epoch(number, FLAT) for number in range(1, STOPPING_EPOCHS + 1)}
    stopped = reason_to_stop(spec(), rows)

    assert stopped is not None
    assert describe_stop(stopped, spec()) == (
        "not learning: loss is no better than guessing (ln 10 = 2.303) for 10 epochs; stopped at epoch 10 of 164,"
        " which saves 154 epochs (about 2h34)"
    )
    del rows[1]
    assert reason_to_stop(spec(), rows) is None


def test_never_ends_a_run_that_was_not_asked_to_or_that_learns():
    """Off by default; a loss below guessing resets the count."""
    rows = {number: epoch(number, FLAT) for number in range(1, 40)}

    assert reason_to_stop(spec(None), rows) is None
    rows[35] = epoch(35, 2.2)
    assert reason_to_stop(spec(), rows) is None


def test_judgement_is_the_same_from_the_journal(journal: Path):
    """A resumed worker counts its predecessor's epochs, except those trained again."""
    write(journal, *(epoch(number, FLAT) for number in range(1, 13)), epoch(3, 1.0))

    judged = epochs_to_judge(read_events(journal), 9)
    assert sorted(judged) == list(range(1, 10))
    assert judged[3].train_loss == 1.0, "an epoch that was trained again counts as measured last"


def test_resumed_run_starts_with_full_patience(journal: Path):
    """Otherwise it would stop again after the next epoch."""
    rows = {number: epoch(number, FLAT) for number in range(1, 11)}
    stopped = reason_to_stop(spec(), rows)
    assert stopped is not None
    write(journal, *rows.values(), stopped, *(epoch(number, FLAT) for number in range(11, 20)))

    judged = epochs_to_judge(read_events(journal), 19)

    assert sorted(judged) == list(range(11, 20))
    assert reason_to_stop(spec(), judged) is None
    assert reason_to_stop(spec(), {**judged, 20: epoch(20, FLAT)}) is not None
