"""Saving in the background gives the same journal and weights as saving synchronously."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from engine.runs.directory import ExitReason, FileName, Labels, RunDirectory
from engine.runs.journal import Checkpointed, Epoch, Notice, Step, read_journal
from engine.runs.open_run import OpenRun
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from engine.training.augmentation import EpochDraws
from engine.training.loop import train
from engine.training.session import Session, newest_checkpoint, restore, save, settle_save
from engine.training.step import EvaluationSet, evaluate, start_training
from engine.training.steps import EagerSteps
from models.catalog import model_spec
from tests.engine.training.test_step import random_data
from tests.samples import an_epoch

SPEC = RunSpec(model=model_spec("he-resnet", 8, width=4), recipe=recipe("quick", epochs=3, batch_size=50), seed=1)


def a_session(path: Path, *, saves_beside: bool) -> Session:
    directory = RunDirectory(path / "0123456789")
    directory.create(SPEC, Labels(name="a", experiment="b", position=0, created_at=0.0))
    state = start_training(SPEC, torch.device("cpu"))
    run = OpenRun.open(directory)
    session = Session(run, random_data(), state, run.open_journal(), data_sha256="d")
    session.saves_beside = saves_beside
    return session


def journal_of(session: Session) -> Path:
    return session.run.folder.path / FileName.JOURNAL


def kinds(session: Session) -> list[str]:
    """Return the kinds of lines in order, without progress, which depends on the clock."""
    events = read_journal(journal_of(session)).events
    return [type(event).__name__ for event in events if not isinstance(event, Step)]


def test_checkpoints_written_beside_training_leave_the_same_run(tmp_path: Path):
    """Equal rows in equal order, and bit-identical final weights."""
    waiting, beside = (a_session(tmp_path / name, saves_beside=name == "beside") for name in ("waiting", "beside"))
    assert train(waiting, lambda: False) is train(beside, lambda: False) is ExitReason.SUCCEEDED

    assert kinds(beside) == kinds(waiting) == ["Gradients", *["Epoch", "Gradients", "Checkpointed"] * 3]
    events = read_journal(journal_of(beside)).events
    assert [event.seq for event in events] == list(range(len(events)))
    ours, theirs = (session.state.model.state_dict() for session in (beside, waiting))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    saved, expected = (session.run.folder.read(FileName.CHECKPOINT) for session in (beside, waiting))
    assert len(saved) == len(expected)


def test_a_checkpoint_is_of_the_step_that_asked_for_it(tmp_path: Path):
    """Later changes by training do not reach the file."""
    session = a_session(tmp_path / "run", saves_beside=True)
    session.steps.begin_epoch(draws(), [0.1] * 3, done=0)
    session.steps.take(0)
    kept = {name: tensor.clone() for name, tensor in session.state.model.state_dict().items()}
    held: Future[None] = Future()
    session.writer.submit(held.result)
    save(session)
    session.steps.take(1)
    held.set_result(None)
    save(session)
    settle_save(session)
    successor = a_session(tmp_path / "run", saves_beside=True)
    # The second save is of step 2, the previous one of step 1.
    successor.run.folder.unlink(FileName.CHECKPOINT)

    assert restore(successor, newest_checkpoint(successor.run))
    assert successor.state.next_step == 1
    found = successor.state.model.state_dict()
    assert all(torch.equal(found[name], kept[name]) for name in kept)


def test_lines_wait_for_the_checkpoint_that_carries_the_row(tmp_path: Path):
    """If a worker is killed before writing them, the next one completes the journal from the checkpoint."""
    session = a_session(tmp_path / "run", saves_beside=True)
    session.steps.begin_epoch(draws(), [0.1] * 3, done=0)
    for index in range(3):
        session.steps.take(index)
    save(session, an_epoch(1, step=3))
    session.journal.append(Notice(text="behind the row"))
    assert session.saving is not None
    session.saving.written.result()
    assert kinds(session) == []
    successor = a_session(tmp_path / "run", saves_beside=True)

    assert restore(successor, newest_checkpoint(successor.run))
    assert kinds(successor) == ["Epoch"]
    successor.journal.append(Notice(text="goes on"))
    assert [event.seq for event in read_journal(journal_of(session)).events] == [0, 1]


def test_a_checkpoint_that_cannot_be_written_is_reported_and_leaves_no_row(tmp_path: Path):
    """The next worker trains the epoch again, so its row must not exist yet."""
    session = a_session(tmp_path / "run", saves_beside=True)
    session.steps.begin_epoch(draws(), [0.1] * 3, done=0)
    session.steps.take(0)
    (session.run.folder.path / ".checkpoint.pt.tmp").mkdir()
    save(session, an_epoch(1, step=3))

    with pytest.raises(OSError, match=r"checkpoint\.pt\.tmp"):
        save(session)
    assert not any(isinstance(event, Epoch | Checkpointed) for event in read_journal(journal_of(session)).events)


def draws() -> EpochDraws:
    return EpochDraws.draw(1, 0, 150)


def a_validated_session(path: Path) -> Session:
    """Session with 40 images held out of training."""
    session = a_session(path, saves_beside=False)
    data = random_data()
    held_out = EvaluationSet(data.train_images[:40], data.train_labels[:40])
    kept = replace(data, train_images=data.train_images[40:], train_labels=data.train_labels[40:], validation=held_out)
    session.data = kept
    session.steps = EagerSteps(session.state, kept, session.spec)
    return session


def epochs_of(session: Session) -> list[Epoch]:
    return [event for event in read_journal(journal_of(session)).events if isinstance(event, Epoch)]


def test_the_test_set_is_evaluated_once_where_images_are_held_out(tmp_path: Path):
    """Every epoch is evaluated on the validation set, the last one on the test set too."""
    session = a_validated_session(tmp_path / "run")
    assert train(session, lambda: False) is ExitReason.SUCCEEDED

    rows = epochs_of(session)
    assert [row.test_error_percent is None for row in rows] == [True, True, False]
    assert [row.test_loss is None for row in rows] == [True, True, False]
    assert all(row.validation_error_percent is not None for row in rows)
    again = partial(evaluate, session.state.model, session.data, precision=session.state.precision)
    assert (rows[-1].validation_loss, rows[-1].validation_error_percent) == again(held_out=session.data.validation)
    assert (rows[-1].test_loss, rows[-1].test_error_percent) == again()
    assert rows[-1].test_loss != rows[-1].validation_loss


@pytest.mark.parametrize("checks", [1, 2, 3, 5, 6, 12])
def test_a_stopped_run_with_a_validation_set_ends_as_one_never_stopped(tmp_path: Path, checks: int):
    """Wherever it stops, between steps or within an evaluation, no row is lost or measured differently."""
    whole = a_validated_session(tmp_path / "whole")
    train(whole, lambda: False)
    parts = a_validated_session(tmp_path / "parts")
    asked = iter([False] * checks + [True])
    assert train(parts, lambda: next(asked)) is ExitReason.STOPPED
    successor = a_validated_session(tmp_path / "parts")
    assert restore(successor, newest_checkpoint(successor.run))
    assert train(successor, lambda: False) is ExitReason.SUCCEEDED

    timeless = [
        [
            (row.epoch, row.train_loss, row.validation_loss, row.validation_error_percent, row.test_error_percent)
            for row in epochs_of(session)
        ]
        for session in (whole, successor)
    ]
    assert timeless[0] == timeless[1]
    ours, theirs = (session.state.model.state_dict() for session in (successor, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
