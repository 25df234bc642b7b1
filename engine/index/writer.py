"""Writes the index over the run directories; SQL for journal lines is in `rows`.

One engine writes through one connection; consoles read through read-only connections of their own. The index can always
be rebuilt from the run directories, so a database of another schema is set aside and rebuilt, never migrated.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from engine.index.database import (
    REPLACE_AGAIN_SECONDS,
    WAL_KEPT_BYTES,
    WAL_LIMIT_BYTES,
    Database,
    DatabaseUnusable,
    IndexLocked,
    IndexNotWritten,
    finish_replacing,
    put_aside,
    replace_by_copy,
)
from engine.index.rows import INSERT_EVENT, enter
from engine.index.schema import CREATE, REBUILDING_VERSION, SCHEMA_VERSION
from engine.runs.directory import Labels
from engine.runs.journal import AnyEvent, Garbage
from engine.runs.run import RunOutcome, RunStatus
from engine.spec.precision import Precision
from engine.spec.run import RunSpec, encode_spec
from models.catalog import label

log = logging.getLogger(__name__)

WRITE_PATIENCE_SECONDS = 5.0
MAX_POSITION = 2**52
"""Positions from here on come from damaged labels; new runs do not follow them, or they would run out of numbers."""
NUM_REQUESTS_KEPT = 100_000
"""Number of replies kept for repeated requests; limited by number, not age, because clocks may be set."""
MOST_GARBAGE_TOLD = 10
"""Most invalid lines of one reading that get an event each; one more event counts the rest."""


class Store:
    """The engine's connection to the index, its only writer.

    Args:
        path: Database; created with mode 0600 if missing.
        rebuilds: Whether a new database stays hidden from readers until `rebuilding` has filled it.

    Raises:
        DatabaseUnusable: it is damaged or has another schema version; call `put_aside`.
        IndexNotWritten: it cannot be created or written.
    """

    def __init__(self, path: Path, *, rebuilds: bool = False) -> None:
        self.when_replaced: Callable[[], object] = lambda: None
        """Called when the database was replaced by a copy, so that other connections can be reopened."""
        finish_replacing(path)
        self._open(path, rebuilds=rebuilds)

    def _open(self, path: Path, *, rebuilds: bool = False) -> None:
        self._database = Database(path, read_only=False, patience_seconds=WRITE_PATIENCE_SECONDS)
        self._replace_again_at = 0.0
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
            version = self._database.user_version
            if version == 0 and self._value("SELECT count(*) FROM sqlite_master") == 0:
                with self.transaction():
                    self._database.execute(CREATE)
                    self._set_version(REBUILDING_VERSION if rebuilds else SCHEMA_VERSION)
            elif version in (SCHEMA_VERSION, REBUILDING_VERSION):
                # Checks every page, so that damage is found at startup rather than during a run.
                self._database.check()
            else:
                raise DatabaseUnusable(f"{path} has schema version {version}, this depthscope uses {SCHEMA_VERSION}")
        except BaseException:
            self._database.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Atomic transaction that holds the write lock from the start."""
        with self._database.transaction():
            yield

    @contextmanager
    def rebuilding(self) -> Iterator[None]:
        """Context in which commits do not sync; at its end the index is complete and visible to readers.

        Commits lost in a power cut are read again from the run directories. The database stays consistent, because only
        the end of the WAL is lost.
        """
        self._database.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            self._database.execute("PRAGMA synchronous = FULL")
        if self._value("PRAGMA user_version") == REBUILDING_VERSION:
            self._set_version(SCHEMA_VERSION)

    def _set_version(self, version: int) -> None:
        self._database.execute(f"PRAGMA user_version = {version}")

    def start_empty(self) -> Path:
        """Set the database aside, start an empty one to rebuild, and return the old one's new path."""
        self._database.close()
        kept = put_aside(self._database.path)
        self._open(self._database.path, rebuilds=True)
        return kept

    def has_moved(self) -> bool:
        """Whether the database was deleted or replaced."""
        return self._database.has_moved()

    def bound_wal(self) -> None:
        """Keep the WAL short even if a reader never finishes, such as a suspended console."""
        if self._database.wal_bytes() <= WAL_LIMIT_BYTES or time.monotonic() < self._replace_again_at:
            return
        if self._database.shorten_wal():
            return
        try:
            replace_by_copy(self._database)
        except (IndexNotWritten, IndexLocked) as error:
            self._replace_again_at = time.monotonic() + REPLACE_AGAIN_SECONDS
            log.warning("the WAL is too long, and replacing the database by a copy failed: %s", error)
            return
        log.info("a stalled program is reading the database: replaced it by a copy; that program keeps the old file")
        self._open(self._database.path)
        self.when_replaced()

    def close(self) -> None:
        self._database.close()

    # Runs

    def known_ids(self) -> set[str]:
        return {row[0] for row in self._database.execute("SELECT id FROM runs")}

    def idle_journal_offsets(self) -> dict[str, int]:
        """Ingested bytes of the journal of every run that is not training, by id."""
        rows = self._database.execute(
            "SELECT id, journal_offset FROM runs WHERE status != ?", (RunStatus.RUNNING.value,)
        )
        return dict(rows)

    def next_position(self) -> int:
        return int(self._value("SELECT coalesce(max(position), 0) + 1 FROM runs WHERE position < ?", MAX_POSITION))

    def next_place(self) -> float:
        """Queue place after all existing runs."""
        return float(
            self._value("SELECT CAST(coalesce(max(place), 0) AS INTEGER) + 1 FROM runs WHERE place < ?", MAX_POSITION)
        )

    def next_experiment_number(self) -> int:
        """One more than the highest N among experiments named expN."""
        return int(
            self._value(
                "SELECT coalesce(max(cast(substr(experiment, 4) AS INTEGER)), 0) + 1 FROM runs"
                " WHERE experiment GLOB 'exp[0-9]*'"
            )
        )

    def add_run(self, run: str, spec: RunSpec, labels: Labels, *, origin: str | None = None) -> None:
        """Add a queued run; a known run stays unchanged.

        Args:
            origin: Id under which it was created; None for its own.
        """
        columns = {
            "id": run,
            "origin": origin or run,
            "spec": encode_spec(spec).decode(),
            "architecture": label(spec.model),
            "depth": spec.model.depth,
            "seed": str(spec.seed),
            "status": RunStatus.QUEUED.value,
            "created_at": labels.created_at,
            "estimate": None if labels.estimate is None else msgspec.json.encode(labels.estimate).decode(),
            **label_columns(labels),
        }
        statement = f"INSERT INTO runs ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        self._database.execute(f"{statement} ON CONFLICT (id) DO NOTHING", tuple(columns.values()))

    def forget_runs(self, runs: Iterable[str]) -> None:
        """Delete runs with all their rows, in the caller's transaction."""
        newest = self._value("SELECT coalesce(max(revision), 0) FROM runs")
        gone = [(run,) for run in runs]
        for table in ("steps", "epochs", "gradients", "checkpoints", "lives", "events", "unwritten_labels"):
            self._database.executemany(f"DELETE FROM {table} WHERE run = ?", gone)
        self.forget_ends(run for (run,) in gone)
        self._database.executemany("DELETE FROM runs WHERE id = ?", gone)
        # Revisions never fall, or a console would miss changes.
        self._database.execute(
            "UPDATE runs SET revision = ? WHERE id = (SELECT id FROM runs ORDER BY revision DESC LIMIT 1)", (newest,)
        )

    def compact(self) -> None:
        """Return the room of deleted rows to the file system, if there is enough for a copy of the rest.

        Consoles then read everything again.
        """
        try:
            replace_by_copy(self._database)
        except (IndexNotWritten, IndexLocked) as error:
            log.warning("the database keeps the room of deleted runs: %s", error)
            return
        self._open(self._database.path)
        self.when_replaced()

    def set_labels(self, run: str, labels: Labels) -> None:
        columns = label_columns(labels)
        changes = ", ".join(f"{column} = ?" for column in columns)
        self._database.execute(f"UPDATE runs SET {changes} WHERE id = ?", (*columns.values(), run))

    def set_status(
        self,
        run: str,
        status: RunStatus,
        *,
        outcome: RunOutcome | None = None,
        error: str | None = None,
        finished_at: float | None = None,
    ) -> None:
        """Set the status of a run with outcome, error and end, so that none outlives its status."""
        self._database.execute(
            "UPDATE runs SET status = ?, outcome = ?, error = ?, finished_at = ? WHERE id = ?",
            (status.value, None if outcome is None else outcome.value, error, finished_at, run),
        )
        if status is RunStatus.FINISHED:
            self._database.execute("INSERT OR IGNORE INTO ends_to_announce VALUES (?)", (run,))
        else:
            self.forget_ends([run])

    def ends_to_announce(self) -> list[str]:
        """Ids of finished runs that were not announced yet."""
        return [run for (run,) in self._database.execute("SELECT run FROM ends_to_announce ORDER BY run")]

    def forget_ends(self, runs: Iterable[str]) -> None:
        """Remove runs from those to announce, in the caller's transaction."""
        self._database.executemany("DELETE FROM ends_to_announce WHERE run = ?", [(run,) for run in runs])

    def set_running(self, run: str, device: str, *, started_at: float) -> None:
        """Mark a run as running, without a pace until its first step."""
        self._database.execute(
            "UPDATE runs SET status = ?, outcome = NULL, error = NULL, finished_at = NULL, device = ?,"
            " started_at = coalesce(started_at, ?), seen_at = ?, images_per_second = NULL WHERE id = ?",
            (RunStatus.RUNNING.value, device, started_at, time.monotonic(), run),
        )

    def set_worker_seconds(self, run: str, seconds: float) -> None:
        """Store the lifetime of the worker that trained a run from first step to end."""
        self._database.execute("UPDATE runs SET worker_seconds = ? WHERE id = ?", (seconds, run))

    def set_device(self, run: str, device: str) -> None:
        """Store the device of a run's worker, unless it is unchanged."""
        self._database.execute("UPDATE runs SET device = ?1 WHERE id = ?2 AND device IS NOT ?1", (device, run))

    def set_crashes(self, run: str, crashes: int, checkpoint_step: int | None) -> None:
        """Store the number of crashes since the checkpoint of a step."""
        self._database.execute(
            "UPDATE runs SET crashes = ?, crash_step = ? WHERE id = ?", (crashes, checkpoint_step, run)
        )

    def crashes(self, run: str) -> tuple[int, int | None, int | None]:
        """Consecutive crashes, the newest checkpoint's step at the last crash, and the newest checkpoint's step now."""
        rows = self._database.execute("SELECT crashes, crash_step, checkpoint_step FROM runs WHERE id = ?", (run,))
        count, crash_step, checkpoint_step = next(iter(rows))
        return count, crash_step, checkpoint_step

    def newest_events(self, run: str, kind: str, limit: int) -> list[str]:
        """Texts of a run's newest events of a kind, newest first."""
        query = "SELECT text FROM events WHERE run = ? AND kind = ? ORDER BY id DESC LIMIT ?"
        return [text for (text,) in self._database.execute(query, (run, kind, limit))]

    def set_precision(self, run: str, precision: Precision) -> None:
        """Store the precision of a run's next worker."""
        self._database.execute("UPDATE runs SET precision = ? WHERE id = ?", (precision.value, run))

    def set_unreadable(self, name: str, why: str) -> None:
        """Store why a run directory cannot be read, in the caller's transaction; `name` need not be a known run."""
        if self._value("SELECT count(*) FROM runs WHERE id = ?", name) == 0:
            self._database.execute("INSERT OR REPLACE INTO unreadable VALUES (?,?)", (name, why))
            return
        self._database.execute("DELETE FROM unreadable WHERE name = ?", (name,))
        if self._value("SELECT count(*) FROM runs WHERE id = ? AND unreadable = ?", name, why) == 0:
            self._database.execute("UPDATE runs SET unreadable = ? WHERE id = ?", (why, name))
            self.add_event(name, "unreadable", why)

    def set_readable(self, name: str) -> None:
        """Remove what `set_unreadable` stored, in the caller's transaction."""
        self._database.execute("DELETE FROM unreadable WHERE name = ?", (name,))
        if self._value("SELECT count(*) FROM runs WHERE id = ? AND unreadable IS NOT NULL", name):
            self._database.execute("UPDATE runs SET unreadable = NULL WHERE id = ?", (name,))
            self.add_event(name, "readable", "again")

    def unreadable_ids(self) -> set[str]:
        """Ids of runs whose directories could not be read."""
        return {row[0] for row in self._database.execute("SELECT id FROM runs WHERE unreadable IS NOT NULL")}

    def has_unreadable(self) -> bool:
        """Whether there are unreadable directories that are not runs of the index."""
        return bool(self._value("SELECT count(*) FROM unreadable"))

    def forget_unreadable(self) -> None:
        """Remove all of them, in the caller's transaction."""
        self._database.execute("DELETE FROM unreadable")

    # Journals

    def journal_offset(self, run: str) -> int:
        """Ingested bytes of a run's journal."""
        return int(self._value("SELECT journal_offset FROM runs WHERE id = ?", run))

    def forget_journal(self, run: str) -> None:
        """Delete everything that came from a run's journal, in the caller's transaction."""
        for table in ("steps", "epochs", "gradients", "checkpoints", "lives"):
            self._database.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
        self._database.execute("DELETE FROM events WHERE run = ? AND journal_seq IS NOT NULL", (run,))
        self._database.execute(
            "UPDATE runs SET journal_offset = 0, step = 0, epoch = 0, checkpoint_step = NULL, checkpoint_seconds = 0,"
            " train_loss = NULL, train_error_percent = NULL, test_loss = NULL, test_error_percent = NULL,"
            " best_test_error_percent = NULL, validation_loss = NULL, validation_error_percent = NULL,"
            " best_validation_error_percent = NULL,"
            " images_per_second = NULL, seconds = NULL WHERE id = ?",
            (run,),
        )

    def ingest(self, run: str, events: Sequence[AnyEvent], garbage: Iterable[Garbage], *, end: int) -> None:
        """Add new lines of a journal and the offset reached, in the caller's transaction."""
        enter(self._database, run, events, end=end)
        wrong = list(garbage)
        for line in wrong[:MOST_GARBAGE_TOLD]:
            self.add_event(run, "garbage", str(line))
        if len(wrong) > MOST_GARBAGE_TOLD:
            self.add_event(run, "garbage", f"journal: {len(wrong)} such lines up to line {wrong[-1].line}")

    def add_event(self, run: str, kind: str, text: str) -> None:
        """Record an event of a run that is not in its journal."""
        self._database.execute(INSERT_EVENT, (run, None, time.time(), kind, text))

    def answered(self, request: str) -> bytes | None:
        """Stored reply to a request; None if it was not answered before."""
        for (reply,) in self._database.rows("SELECT reply FROM requests WHERE id = ?", request):
            return bytes(reply)
        return None

    def remember_answer(self, request: str, reply: bytes) -> None:
        """Store a reply in case the client repeats the request."""
        self._database.execute("INSERT INTO requests (id, reply) VALUES (?,?)", (request, reply))
        self._database.execute(
            "DELETE FROM requests WHERE number <= (SELECT max(number) FROM requests) - ?", (NUM_REQUESTS_KEPT,)
        )

    def unwritten_labels(self) -> dict[str, Labels]:
        """Labels, by run id, that may not have been written to the run directory yet."""
        rows = self._database.execute("SELECT run, labels FROM unwritten_labels")
        return {run: msgspec.json.decode(labels, type=Labels) for run, labels in rows}

    def add_unwritten_labels(self, run: str, labels: Labels) -> None:
        """Store labels that labels.json of a run should contain."""
        encoded = msgspec.json.encode(labels)
        self._database.execute("INSERT OR REPLACE INTO unwritten_labels VALUES (?,?)", (run, encoded))

    def forget_unwritten_labels(self, runs: Iterable[str]) -> None:
        """Remove labels that were written to labels.json."""
        self._database.executemany("DELETE FROM unwritten_labels WHERE run = ?", [(run,) for run in runs])

    def _value(self, query: str, *parameters: Any) -> Any:
        return self._database.value(query, *parameters)


def label_columns(labels: Labels) -> dict[str, Any]:
    """Columns of a run that its labels may change."""
    return {
        "name": labels.name,
        "experiment": labels.experiment,
        "intent": labels.intent.value,
        "position": labels.position,
        "place": labels.queue_place,
        "held": labels.held,
        "deleted_at": labels.deleted_at,
        "starred": labels.starred,
        "tags": msgspec.json.encode(labels.tags).decode(),
        "notes": labels.notes,
    }
