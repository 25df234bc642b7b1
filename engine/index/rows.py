"""Turns a journal's lines into rows of the index, with one statement per table and one update of the run.

Reading a run from the start, as after losing the index, brings tens of thousands of lines at once. Written one by one,
each would need an insertion and an update of the run with its triggers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from engine.index.database import Database
from engine.runs.journal import (
    AnyEvent,
    Checkpointed,
    Epoch,
    Gradients,
    LayerGradients,
    Notice,
    Resumed,
    Started,
    Step,
    StoppedEarly,
    WorkerStart,
)


def kept_columns(row: type[Step | Epoch]) -> str:
    """Columns for a kind of journal line: its fields except the line number."""
    return ", ".join(name for name in row.__struct_fields__ if name != "seq")


def _insert(table: str, names: str) -> str:
    return f"INSERT OR REPLACE INTO {table} (run, {names}) VALUES (?{',?' * len(names.split(','))})"


LAYER_COLUMNS = ", ".join(LayerGradients.__struct_fields__)
INSERT_STEP = _insert("steps", kept_columns(Step))
INSERT_EPOCH = _insert("epochs", kept_columns(Epoch))
INSERT_GRADIENT = _insert("gradients", f"epoch, step, position, {LAYER_COLUMNS}")
INSERT_CHECKPOINT = "INSERT OR REPLACE INTO checkpoints VALUES (?,?,?)"
INSERT_EVENT = "INSERT INTO events (run, journal_seq, at, kind, text) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING"
"""An event from a journal is stored once, identified by its line number, however often it is read."""
INSERT_LIFE = "INSERT OR REPLACE INTO lives VALUES (?,?,?)"
"""A worker's lifetime, identified by the number of its first line, with the time it was last heard from."""
LENGTHEN_LIFE = (
    "UPDATE lives SET heard_at = ?1 WHERE run = ?2"
    " AND journal_seq = (SELECT max(journal_seq) FROM lives WHERE run = ?2)"
)

WORKER_COLUMNS = ("device", "precision", "device_name", "torch", "num_threads", "total_steps")
FIRST_COLUMNS = ("num_train", "num_test", "data_sha256", "synthetic", "version")
"""Set by the first worker of a run alone."""
ERRORS = (
    "train_loss", "train_error_percent", "test_loss", "test_error_percent",
    "validation_loss", "validation_error_percent",
)  # fmt: skip
SUMS_OF_EPOCHS = (
    "best_test_error_percent = (SELECT min(test_error_percent) FROM epochs WHERE run = runs.id),"
    " best_validation_error_percent = (SELECT min(validation_error_percent) FROM epochs WHERE run = runs.id),"
    " seconds = (SELECT sum(seconds) FROM epochs WHERE run = runs.id)"
)
SUM_OF_CHECKPOINTS = "checkpoint_seconds = (SELECT sum(seconds) FROM checkpoints WHERE run = runs.id)"


def enter(database: Database, run: str, events: Sequence[AnyEvent], *, end: int) -> None:
    """Write new lines of a run's journal, in the caller's transaction.

    Args:
        end: Bytes of the journal in the index after this.
    """
    rows: dict[str, list[tuple[Any, ...]]] = {}
    columns: dict[str, Any] = {"journal_offset": end, "seen_at": time.monotonic()}
    for event in events:
        for statement, row in rows_of(run, event):
            rows.setdefault(statement, []).append(row)
        columns.update(columns_of(event))
    if events:
        columns["last_event_at"] = events[-1].at
    for statement, found in rows.items():
        database.executemany(statement, found)
    enter_lives(database, run, events)
    changes = [f"{column} = ?" for column in columns]
    parameters = [*columns.values()]
    started_at = next((event.at for event in events if isinstance(event, Started)), None)
    if started_at is not None:
        changes.append("started_at = coalesce(started_at, ?)")
        parameters.append(started_at)
    changes += [SUMS_OF_EPOCHS] if INSERT_EPOCH in rows else []
    changes += [SUM_OF_CHECKPOINTS] if INSERT_CHECKPOINT in rows else []
    database.execute(f"UPDATE runs SET {', '.join(changes)} WHERE id = ?", (*parameters, run))


def enter_lives(database: Database, run: str, events: Sequence[AnyEvent]) -> None:
    """Record when each worker of a run was last heard from, by its journal lines."""
    heard_at: float | None = None
    for event in events:
        if isinstance(event, WorkerStart):
            if heard_at is not None:
                database.execute(LENGTHEN_LIFE, (heard_at, run))
            database.execute(INSERT_LIFE, (run, event.seq, event.at))
        heard_at = event.at
    if heard_at is not None:
        database.execute(LENGTHEN_LIFE, (heard_at, run))


def rows_of(run: str, event: AnyEvent) -> list[tuple[str, tuple[Any, ...]]]:
    """Insert statements for a line, with parameters."""
    match event:
        case Step() | Epoch():
            _, *values = msgspec.structs.astuple(event)
            return [(INSERT_STEP if isinstance(event, Step) else INSERT_EPOCH, (run, *values))]
        case Gradients():
            return [
                (INSERT_GRADIENT, (run, event.epoch, event.step, position, *msgspec.structs.astuple(layer)))
                for position, layer in enumerate(event.layers)
            ]
        case Started():
            text = f"on {event.device_name} in {event.precision}, pid {event.pid}"
            return [event_insert(run, event, "started", text)]
        case Resumed():
            text = f"from step {event.step} on {event.device_name}, pid {event.pid}"
            return [event_insert(run, event, "resumed", text)]
        case Checkpointed():
            saved = (INSERT_CHECKPOINT, (run, event.step, event.seconds))
            return [saved, event_insert(run, event, "checkpoint", f"step {event.step}")]
        case StoppedEarly():
            return [event_insert(run, event, "stopped-early", event.text)]
        case Notice():
            return [event_insert(run, event, "notice", event.text)]


def event_insert(run: str, event: AnyEvent, kind: str, text: str) -> tuple[str, tuple[Any, ...]]:
    """Insert statement for a line shown among the run's events."""
    return INSERT_EVENT, (run, event.seq, event.at, kind, text)


def columns_of(event: AnyEvent) -> dict[str, Any]:
    """Columns of the run that a line sets; later lines override earlier ones."""
    match event:
        case Step():
            return fields_of(event, "step", "images_per_second")
        case Epoch():
            return fields_of(event, "step", "epoch", *ERRORS, "images_per_second")
        case Started():
            return {"step": 0, **fields_of(event, *FIRST_COLUMNS, *WORKER_COLUMNS), **class_counts_of(event)}
        case Resumed():
            # The checkpoint it resumes from counts as progress too; its writer may have died before recording it.
            return {
                "checkpoint_step": event.step,
                **fields_of(event, "step", *WORKER_COLUMNS),
                **class_counts_of(event),
            }
        case Checkpointed():
            return {"checkpoint_step": event.step}
        case Gradients() | StoppedEarly() | Notice():
            return {}


def class_counts_of(start: WorkerStart) -> dict[str, str]:
    """Column of the class counts, unless an earlier version wrote the line: those recorded before stay."""
    return {} if start.class_counts is None else {"class_counts": msgspec.json.encode(start.class_counts).decode()}


def fields_of(event: AnyEvent, *names: str) -> dict[str, Any]:
    """Fields of a line for columns of the same names."""
    return {name: getattr(event, name) for name in names}
