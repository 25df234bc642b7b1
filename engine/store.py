"""The index over the run directories: SQL is written here, and for the lines of a journal in ingestion.py.

One engine writes, through one connection; consoles read through connections of their own, read-only. The library is
apsw because the SQLite behind many Pythons (3.7.0 to 3.51.2) can lose committed writes when a WAL is reset under
concurrent checkpoints; apsw brings a current one. Every state of the index can be built again from the run
directories, so a database of another schema is put aside and rebuilt, never migrated in place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec

from engine.errors import DepthscopeError
from engine.ingestion import INSERT_EVENT, enter
from engine.journal import AnyEvent, Garbage
from engine.paths import open_private
from engine.request_tables import RequestTables
from engine.run import RunOutcome, RunStatus
from engine.run_directory import Labels
from engine.schema import CREATE, SCHEMA_VERSION
from engine.spec import RunSpec, encode_spec
from models.catalog import label

WRITE_PATIENCE_SECONDS = 5.0
MOST_GARBAGE_TOLD = 10
"""Lines of one reading that are told one by one; a journal overwritten as a whole is told in one more."""


class IndexNotWritten(DepthscopeError):
    """The disk is full or the database locked; nothing of the change stands, and it can be made later."""


class DatabaseUnusable(DepthscopeError):
    """The database is damaged, or of a schema that this version does not read."""


def sqlite_version() -> str:
    """The version of SQLite that apsw brings."""
    return apsw.sqlite_lib_version()


def open_connection(path: Path, *, read_only: bool, patience_seconds: float) -> apsw.Connection:
    """A connection with depthscope's settings, which waits for so long where the database is locked."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(str(path), flags=flags)
    connection.set_busy_timeout(round(patience_seconds * 1000))
    return connection


class Store(RequestTables):
    """The engine's connection: the sole writer.

    Args:
        path: The database; made, mode 0600, where there is none.

    Raises:
        DatabaseUnusable: it is damaged or has another schema version; `put_aside` is the remedy.
    """

    def __init__(self, path: Path) -> None:
        os.close(open_private(path, os.O_RDWR | os.O_CREAT))
        try:
            self._connection = open_connection(path, read_only=False, patience_seconds=WRITE_PATIENCE_SECONDS)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            version = self._value("PRAGMA user_version")
            if version == 0 and self._value("SELECT count(*) FROM sqlite_master") == 0:
                with self.transaction():
                    self._connection.execute(CREATE)
                    self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version == SCHEMA_VERSION:
                self._check()
            else:
                raise DatabaseUnusable(f"{path} has schema version {version}, this depthscope uses {SCHEMA_VERSION}")
        except (apsw.NotADBError, apsw.CorruptError) as error:
            self._connection.close()
            raise DatabaseUnusable(f"{path} is damaged: {error}") from error
        except DatabaseUnusable:
            self._connection.close()
            raise

    def _check(self) -> None:
        """Read every page once, so that damage is found now, when the index can be built anew, and not in mid-run.

        Raises:
            DatabaseUnusable: a page is damaged.
        """
        found = str(self._value("PRAGMA quick_check(1)"))
        if found != "ok":
            raise DatabaseUnusable(f"the database is damaged: {found}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and the write lock from the start."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            # A full disk makes SQLite roll back by itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, apsw.BusyError | apsw.FullError | apsw.IOError | apsw.ReadOnlyError):
                raise IndexNotWritten(f"the database could not be written: {error}") from error
            raise

    def close(self) -> None:
        self._connection.close()

    # Runs

    def known_ids(self) -> set[str]:
        return {row[0] for row in self._connection.execute("SELECT id FROM runs")}

    def next_position(self) -> int:
        return int(self._value("SELECT coalesce(max(position), 0) + 1 FROM runs"))

    def next_place(self) -> float:
        """A place in the queue behind every run that there is."""
        return float(self._value("SELECT CAST(coalesce(max(place), 0) AS INTEGER) + 1 FROM runs"))

    def next_experiment_number(self) -> int:
        """One more than the highest N among experiments called expN."""
        return int(
            self._value(
                "SELECT coalesce(max(cast(substr(experiment, 4) AS INTEGER)), 0) + 1 FROM runs"
                " WHERE experiment GLOB 'exp[0-9]*'"
            )
        )

    def add_run(self, run: str, spec: RunSpec, labels: Labels) -> None:
        """Enter a queued run; one that is known stays as it is."""
        self._connection.execute(
            "INSERT INTO runs (id, name, experiment, spec, architecture, depth, seed, status, intent, position,"
            " place, held, created_at, deleted_at, estimate, starred, tags, notes)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
            " ON CONFLICT (id) DO NOTHING",
            (
                run,
                labels.name,
                labels.experiment,
                encode_spec(spec).decode(),
                label(spec.model),
                spec.model.depth,
                str(spec.seed),
                RunStatus.QUEUED.value,
                labels.intent.value,
                labels.position,
                labels.queue_place,
                labels.held,
                labels.created_at,
                labels.deleted_at,
                None if labels.estimate is None else msgspec.json.encode(labels.estimate).decode(),
                labels.starred,
                msgspec.json.encode(labels.tags).decode(),
                labels.notes,
            ),
        )

    def set_labels(self, run: str, labels: Labels) -> None:
        self._connection.execute(
            "UPDATE runs SET name = ?, experiment = ?, intent = ?, position = ?, place = ?, held = ?, deleted_at = ?,"
            " starred = ?, tags = ?, notes = ? WHERE id = ?",
            (
                labels.name,
                labels.experiment,
                labels.intent.value,
                labels.position,
                labels.queue_place,
                labels.held,
                labels.deleted_at,
                labels.starred,
                msgspec.json.encode(labels.tags).decode(),
                labels.notes,
                run,
            ),
        )

    def set_status(
        self,
        run: str,
        status: RunStatus,
        *,
        outcome: RunOutcome | None = None,
        error: str | None = None,
        finished_at: float | None = None,
    ) -> None:
        """Where a run stands now; outcome, error and end are set with it, so that none outlives its state."""
        self._connection.execute(
            "UPDATE runs SET status = ?, outcome = ?, error = ?, finished_at = ? WHERE id = ?",
            (status.value, None if outcome is None else outcome.value, error, finished_at, run),
        )

    def set_running(self, run: str, device: str, *, started_at: float) -> None:
        self._connection.execute(
            "UPDATE runs SET status = ?, outcome = NULL, error = NULL, finished_at = NULL, device = ?,"
            " started_at = coalesce(started_at, ?), seen_at = ? WHERE id = ?",
            (RunStatus.RUNNING.value, device, started_at, time.monotonic(), run),
        )

    def set_worker_seconds(self, run: str, seconds: float) -> None:
        """How long the worker lived that carried a run from its first step to its end."""
        self._connection.execute("UPDATE runs SET worker_seconds = ? WHERE id = ?", (seconds, run))

    def set_device(self, run: str, device: str) -> None:
        """Where a run's worker is; a row that says so already is left alone."""
        self._connection.execute("UPDATE runs SET device = ?1 WHERE id = ?2 AND device IS NOT ?1", (device, run))

    def set_crashes(self, run: str, crashes: int, checkpoint_step: int | None) -> None:
        """Crashes since the checkpoint of that step."""
        self._connection.execute(
            "UPDATE runs SET crashes = ?, crash_step = ? WHERE id = ?", (crashes, checkpoint_step, run)
        )

    def crashes(self, run: str) -> tuple[int, int | None, int | None]:
        """Crashes in a row, the newest checkpoint's step at the last of them, and the newest checkpoint's step now."""
        rows = self._connection.execute("SELECT crashes, crash_step, checkpoint_step FROM runs WHERE id = ?", (run,))
        count, crash_step, checkpoint_step = next(iter(rows))
        return count, crash_step, checkpoint_step

    # Journals

    def journal_offset(self, run: str) -> int:
        """Bytes of a run's journal that are in the index."""
        return int(self._value("SELECT journal_offset FROM runs WHERE id = ?", run))

    def ingest(self, run: str, events: Sequence[AnyEvent], garbage: Iterable[Garbage], *, end: int) -> None:
        """Enter what a journal said since the last time, and how far it was read, in the caller's transaction."""
        enter(self._connection, run, events, end=end)
        wrong = list(garbage)
        for line in wrong[:MOST_GARBAGE_TOLD]:
            self.add_event(run, "garbage", str(line))
        if len(wrong) > MOST_GARBAGE_TOLD:
            self.add_event(run, "garbage", f"journal: {len(wrong)} such lines up to line {wrong[-1].line}")

    def add_event(self, run: str, kind: str, text: str) -> None:
        """Note what happened to a run and is not in its journal."""
        self._connection.execute(INSERT_EVENT, (run, None, time.time(), kind, text))

    def _value(self, query: str, *parameters: Any) -> Any:
        return next(iter(self._connection.execute(query, parameters)))[0]


def put_aside(path: Path) -> Path:
    """Move a database that cannot be used out of the way, its WAL with it; returns its new name."""
    kept = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}.old")
    count = 1
    while kept.exists():
        count += 1
        kept = path.with_name(f"{path.name}.{time.strftime('%Y%m%d-%H%M%S')}-{count}.old")
    path.rename(kept)
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(kept.with_name(kept.name + suffix))
    return kept
