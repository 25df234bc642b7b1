"""What the line of a journal becomes in the index: SQL through the store's connection, in its transaction."""

from __future__ import annotations

import time

import apsw
import msgspec

from engine.journal import AnyEvent, Checkpointed, Epoch, Gradients, Notice, Resumed, Started, Step, StoppedEarly


def ingest_event(connection: apsw.Connection, run: str, event: AnyEvent) -> None:
    """Enter one line, in the caller's transaction; entered again it replaces itself."""
    execute = connection.execute
    match event:
        case Step():
            execute(
                "INSERT OR REPLACE INTO steps VALUES (?,?,?,?,?,?,?,?)",
                (
                    run,
                    event.step,
                    event.epoch,
                    event.at,
                    event.train_loss,
                    event.train_error_percent,
                    event.learning_rate,
                    event.images_per_second,
                ),
            )
            execute(
                "UPDATE runs SET step = ?, images_per_second = ? WHERE id = ?",
                (event.step, event.images_per_second, run),
            )
        case Epoch():
            execute(
                "INSERT OR REPLACE INTO epochs VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    run,
                    event.epoch,
                    event.step,
                    event.at,
                    event.train_loss,
                    event.train_error_percent,
                    event.test_loss,
                    event.test_error_percent,
                    event.learning_rate,
                    event.images_per_second,
                    event.seconds,
                    event.peak_memory_bytes,
                ),
            )
            execute(
                "UPDATE runs SET step = ?, epoch = ?, train_loss = ?, train_error = ?, test_loss = ?,"
                " test_error = ?, images_per_second = ?,"
                " best_test_error = (SELECT min(test_error) FROM epochs WHERE run = runs.id),"
                " seconds = (SELECT sum(seconds) FROM epochs WHERE run = runs.id) WHERE id = ?",
                (
                    event.step,
                    event.epoch,
                    event.train_loss,
                    event.train_error_percent,
                    event.test_loss,
                    event.test_error_percent,
                    event.images_per_second,
                    run,
                ),
            )
        case Gradients():
            connection.executemany(
                "INSERT OR REPLACE INTO gradients VALUES (?,?,?,?,?,?,?,?)",
                [
                    (run, event.epoch, event.step, position, *msgspec.structs.astuple(layer))
                    for position, layer in enumerate(event.layers)
                ],
            )
        case Started():
            execute(
                "UPDATE runs SET step = 0, total_steps = ?, started_at = coalesce(started_at, ?), synthetic = ?,"
                " num_train = ?, num_test = ? WHERE id = ?",
                (event.total_steps, event.at, event.synthetic, event.num_train, event.num_test, run),
            )
            _set_place(connection, run, event)
            add_event(
                connection, run, "started", f"on {event.device_name} in {event.precision}, pid {event.pid}", event
            )
        case Resumed():
            execute("UPDATE runs SET step = ?, total_steps = ? WHERE id = ?", (event.step, event.total_steps, run))
            _set_place(connection, run, event)
            add_event(
                connection, run, "resumed", f"from step {event.step} on {event.device_name}, pid {event.pid}", event
            )
        case Checkpointed():
            execute("INSERT OR REPLACE INTO checkpoints VALUES (?,?,?)", (run, event.step, event.seconds))
            execute(
                "UPDATE runs SET checkpoint_step = ?,"
                " checkpoint_seconds = (SELECT sum(seconds) FROM checkpoints WHERE run = runs.id) WHERE id = ?",
                (event.step, run),
            )
            add_event(connection, run, "checkpoint", f"step {event.step}", event)
        case StoppedEarly():
            add_event(connection, run, "stopped-early", event.text, event)
        case Notice():
            add_event(connection, run, "notice", event.text, event)


def _set_place(connection: apsw.Connection, run: str, event: Started | Resumed) -> None:
    """Where a run is trained, and in what, as its worker says."""
    connection.execute(
        "UPDATE runs SET device = ?, precision = ?, device_name = ?, torch = ?, num_threads = ? WHERE id = ?",
        (event.device, event.precision.value, event.device_name, event.torch, event.num_threads, run),
    )


def add_event(connection: apsw.Connection, run: str, kind: str, text: str, source: AnyEvent | None = None) -> None:
    """Note what happened to a run; one that came from its journal is noted once, however often it is read."""
    connection.execute(
        "INSERT INTO events (run, journal_seq, at, kind, text) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
        (
            run,
            None if source is None else source.seq,
            time.time() if source is None else source.at,
            kind,
            text,
        ),
    )
