"""Connections to the index, with SQLite's errors translated, and replacement of the database file.

The library is apsw because the SQLite of many Pythons (3.7.0 to 3.51.2) can lose committed writes when a WAL is reset
under concurrent checkpoints; apsw brings a current version.

Only the engine replaces a database, by renaming: open connections keep the file they opened. Opening one file with the
WAL of another must not happen, so readers open and the engine replaces under the same lock.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from engine.base.errors import PRUNE_ADVICE, DepthscopeError, UsageError
from engine.base.locks import lock
from engine.base.paths import open_private, sync_directory
from engine.runs.run import DISK_FULL

WAL_LIMIT_BYTES = 24 << 20
"""A longer WAL is checkpointed into the database. If a stalled reader prevents that, the database is replaced by a
copy, and the reader keeps the old file.
"""
MOST_WAL_BYTES = 56 << 20
"""If neither is possible, writing stops at this length; pending data is in the run directories."""
WAL_KEPT_BYTES = 4 << 20
"""Size the WAL file is truncated to after a checkpoint."""
REPLACE_PATIENCE_SECONDS = 1.0
REPLACE_AGAIN_SECONDS = 10.0
BESIDE = ("-wal", "-shm")

REMEDY = "`depthscope engine rebuild` rebuilds it from the run directories and keeps the old file"


class IndexNotWritten(DepthscopeError):
    """The disk is full or the database locked; the change was rolled back and can be repeated."""


class IndexLocked(DepthscopeError):
    """Another program locks the database even for reading."""


class DatabaseUnusable(UsageError):
    """The database is damaged or has another schema version."""


def sqlite_version() -> str:
    """Version of SQLite bundled with apsw."""
    return apsw.sqlite_lib_version()


class Database:
    """Connection that raises depthscope's errors.

    Args:
        path: Database file; created if missing unless read-only.
        read_only: Whether the connection only reads.
        patience_seconds: How long to wait for a locked database.

    Raises:
        DatabaseUnusable: the file is damaged.
        IndexLocked: the database stayed locked.
        IndexNotWritten: the file cannot be opened or created.
    """

    def __init__(self, path: Path, *, read_only: bool, patience_seconds: float) -> None:
        self.path = path
        self._read_only = read_only
        flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        self._patience_ms = round(patience_seconds * 1000)
        if not read_only:
            for made in (path, lock_of(path)):
                os.close(open_private(made, os.O_RDWR | os.O_CREAT))
        with replacing(path, alone=False, patience_seconds=patience_seconds), self._translated():
            self.identity = identity(path)
            self._connection = apsw.Connection(str(path), flags=flags)
            self._connection.set_busy_timeout(self._patience_ms)
            try:
                # The first query also opens the WAL, which must belong to this file.
                self.user_version = int(self.value("PRAGMA user_version"))
            except BaseException:
                self._connection.close()
                raise

    def rows(self, query: str, *parameters: Any) -> list[Any]:
        """Rows of a query."""
        with self._translated():
            return list(self._connection.execute(query, parameters))

    def value(self, query: str, *parameters: Any) -> Any:
        """First column of a query's first row."""
        return self.rows(query, *parameters)[0][0]

    def execute(self, statements: str, parameters: tuple[Any, ...] | None = None) -> list[Any]:
        """Execute one or more statements."""
        with self._translated():
            return list(self._connection.execute(statements, parameters))

    def executemany(self, statement: str, parameters: list[tuple[Any, ...]]) -> None:
        with self._translated():
            for _ in self._connection.executemany(statement, parameters):
                pass

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Atomic transaction that holds the write lock from the start."""
        if self.wal_bytes() > MOST_WAL_BYTES:
            raise IndexNotWritten(
                f"{self.path}-wal is longer than {MOST_WAL_BYTES >> 20} MiB, and a stalled program that is reading the"
                " database prevents shortening it: continue or end that program"
            )
        with self._translated():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # On a full disk SQLite rolls back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def check(self) -> None:
        """Check every page.

        Raises:
            DatabaseUnusable: a page is damaged.
        """
        found = str(self.value("PRAGMA quick_check(1)"))
        if found != "ok":
            raise DatabaseUnusable(f"{self.path} is damaged ({found}): {REMEDY}")

    def has_moved(self) -> bool:
        """Whether the file was deleted or replaced."""
        try:
            return identity(self.path) != self.identity
        except OSError:
            return False

    def wal_bytes(self) -> int:
        """Size of the WAL file; 0 if there is none."""
        try:
            return self.path.with_name(f"{self.path.name}-wal").stat().st_size
        except OSError:
            return 0

    def shorten_wal(self) -> bool:
        """Checkpoint the whole WAL and truncate it; False if a reader prevents it."""
        with self._translated():
            self._connection.set_busy_timeout(100)
            try:
                busy, _, _ = self.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0]
            except IndexNotWritten:
                return False
            finally:
                self._connection.set_busy_timeout(self._patience_ms)
        return not busy

    def close(self) -> None:
        # A failed checkpoint on closing is harmless: the WAL keeps the data.
        with contextlib.suppress(apsw.Error):
            self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise DatabaseUnusable(f"{self.path} is damaged ({error}): {REMEDY}") from error
        except (apsw.BusyError, apsw.LockedError) as error:
            if self._read_only:
                raise IndexLocked(f"{self.path} is locked by another program") from error
            raise IndexNotWritten(f"the database could not be written: {error}") from error
        except apsw.FullError as error:
            raise IndexNotWritten(f"{DISK_FULL}: {self.path} could not be written; {PRUNE_ADVICE}") from error
        except (
            apsw.IOError,
            apsw.ReadOnlyError,
            apsw.CantOpenError,
            apsw.PermissionsError,
            apsw.AuthError,
            apsw.NoLFSError,
        ) as error:
            if self._read_only:
                raise UsageError(f"{self.path} cannot be read ({error}): may you write to its directory?") from error
            raise IndexNotWritten(f"the database could not be written: {error}") from error


def check_database(path: Path) -> None:
    """Check a database as it is on disk, without the cached pages of an open connection.

    Raises:
        DatabaseUnusable: the database is damaged.
    """
    database = Database(path, read_only=True, patience_seconds=REPLACE_PATIENCE_SECONDS)
    try:
        database.check()
    finally:
        database.close()


def identity(path: Path) -> tuple[int, int] | None:
    """Identity of the file at a path; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def lock_of(path: Path) -> Path:
    return path.with_name("index.lock")


@contextmanager
def replacing(path: Path, *, alone: bool, patience_seconds: float) -> Iterator[None]:
    """Hold the lock for opening (shared) or replacing (exclusive) a database.

    Raises:
        IndexLocked: the lock was not released in time.
    """
    try:
        descriptor = open_private(lock_of(path), os.O_RDWR | os.O_CREAT if alone else os.O_RDONLY)
    except OSError:
        if alone:
            raise
        # No engine has created the lock, so none is replacing the database.
        yield
        return
    try:
        if not lock(descriptor, patience_seconds=patience_seconds, shared=not alone):
            raise IndexLocked(f"{path} is being replaced or opened by a stalled program")
        yield
    finally:
        os.close(descriptor)


def put_aside(path: Path) -> Path:
    """Rename an unusable database with its WAL and return its new path."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    kept = path.with_name(f"{path.name}.{stamp}.old")
    count = 1
    while kept.exists():
        count += 1
        kept = path.with_name(f"{path.name}.{stamp}-{count}.old")
    with replacing(path, alone=True, patience_seconds=REPLACE_PATIENCE_SECONDS):
        move(path, kept)
    return kept


def move(path: Path, other: Path) -> None:
    """Rename a database and the files beside it."""
    for suffix in ("", *BESIDE):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(other.with_name(other.name + suffix))
    sync_directory(path.parent)


def remove(path: Path) -> None:
    """Delete a database and the files beside it."""
    for suffix in ("", *BESIDE):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def copy_of(path: Path) -> Path:
    """Path of a complete copy about to replace a database."""
    return path.with_name(f"{path.name}.new")


def replace_by_copy(database: Database) -> None:
    """Replace a database by a copy of itself; programs that have it open keep reading the old file.

    The connection is closed. A kill at any time leaves one of the two files complete, which `finish_replacing` finds.

    Raises:
        IndexNotWritten: there is no space for a copy; nothing was changed.
        IndexLocked: a stalled program is opening the database.
    """
    path = database.path
    part, copy, old = path.with_name(f"{path.name}.part"), copy_of(path), path.with_name(f"{path.name}.replaced")
    remove(part)
    try:
        database.execute("VACUUM INTO ?", (str(part),))
        descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
        os.fsync(descriptor)
        os.close(descriptor)
        with replacing(path, alone=True, patience_seconds=REPLACE_PATIENCE_SECONDS):
            database.close()
            part.rename(copy)
            sync_directory(path.parent)
            move(path, old)
            copy.rename(path)
            sync_directory(path.parent)
    finally:
        remove(part)
    remove(old)


def finish_replacing(path: Path) -> None:
    """Complete a replacement that a killed engine left unfinished."""
    copy = copy_of(path)
    if copy.exists():
        with replacing(path, alone=True, patience_seconds=REPLACE_PATIENCE_SECONDS):
            if path.exists():
                copy.unlink()
            else:
                # Files beside it belong to the database that was moved away.
                remove(path)
                copy.rename(path)
            sync_directory(path.parent)
    remove(path.with_name(f"{path.name}.replaced"))
    remove(path.with_name(f"{path.name}.part"))
