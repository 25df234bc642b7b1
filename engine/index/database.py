"""Connections to the index: what may go wrong with one in depthscope's words, and how another file takes its place.

The library is apsw because the SQLite behind many Pythons (3.7.0 to 3.51.2) can lose committed writes when a WAL is
reset under concurrent checkpoints; apsw brings a current one.

A database is replaced only by the engine, and by renames: who has it open goes on with the file that it opened. What
must not happen is that somebody opens the one and finds the WAL of the other beside it, so that readers open, and the
engine replaces, under one lock.
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

from engine.base.errors import DepthscopeError, UsageError
from engine.base.locks import lock
from engine.base.paths import open_private, sync_directory
from engine.runs.run import DISK_FULL

WAL_LIMIT_BYTES = 24 << 20
"""A WAL that is longer is brought into the database; where a reader that does not move forbids that, the database is
replaced by a copy, and the reader keeps the old one."""
MOST_WAL_BYTES = 56 << 20
"""Where neither is possible, nothing more is written: what waits stands in the run directories."""
WAL_KEPT_BYTES = 4 << 20
"""What is left of the WAL's file once all of it is in the database."""
REPLACE_PATIENCE_SECONDS = 1.0
REPLACE_AGAIN_SECONDS = 10.0
BESIDE = ("-wal", "-shm")

REMEDY = "`depthscope engine rebuild` builds it anew from the run directories and keeps the old file"


class IndexNotWritten(DepthscopeError):
    """The disk is full or the database locked; nothing of the change stands, and it can be made later."""


class IndexLocked(DepthscopeError):
    """Another program holds the database so that it cannot even be read."""


class DatabaseUnusable(UsageError):
    """The database is damaged, or of a schema that this version does not read."""


def sqlite_version() -> str:
    """The version of SQLite that apsw brings."""
    return apsw.sqlite_lib_version()


class Database:
    """One connection, whose errors are depthscope's.

    Args:
        path: The file; one that writes makes it where there is none.
        read_only: Whether it only reads.
        patience_seconds: How long it waits where the database is locked.

    Raises:
        DatabaseUnusable: the file is damaged.
        IndexLocked: it stayed locked.
        IndexNotWritten: it cannot be opened or made.
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
                # The first reading opens the WAL too, which must be this file's.
                self.user_version = int(self.value("PRAGMA user_version"))
            except BaseException:
                self._connection.close()
                raise

    def rows(self, query: str, *parameters: Any) -> list[Any]:
        """All rows of a statement."""
        with self._translated():
            return list(self._connection.execute(query, parameters))

    def value(self, query: str, *parameters: Any) -> Any:
        """The first column of a statement's first row."""
        return self.rows(query, *parameters)[0][0]

    def execute(self, statements: str, parameters: tuple[Any, ...] | None = None) -> list[Any]:
        """Do what one or more statements say."""
        with self._translated():
            return list(self._connection.execute(statements, parameters))

    def executemany(self, statement: str, parameters: list[tuple[Any, ...]]) -> None:
        with self._translated():
            for _ in self._connection.executemany(statement, parameters):
                pass

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and the write lock from the start."""
        if self.wal_bytes() > MOST_WAL_BYTES:
            raise IndexNotWritten(
                f"{self.path}-wal is longer than {MOST_WAL_BYTES >> 20} MiB, and a program that reads the database and"
                " does not move forbids to shorten it: let it go on, or end it"
            )
        with self._translated():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk makes SQLite roll back by itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def check(self) -> None:
        """Read every page once.

        Raises:
            DatabaseUnusable: one is damaged.
        """
        found = str(self.value("PRAGMA quick_check(1)"))
        if found != "ok":
            raise DatabaseUnusable(f"{self.path} is damaged ({found}): {REMEDY}")

    def has_moved(self) -> bool:
        """Whether another file stands in this one's place, or none."""
        try:
            return identity(self.path) != self.identity
        except OSError:
            return False

    def wal_bytes(self) -> int:
        """Length of the WAL's file; 0 where there is none."""
        try:
            return self.path.with_name(f"{self.path.name}-wal").stat().st_size
        except OSError:
            return 0

    def shorten_wal(self) -> bool:
        """Bring all of the WAL into the database and cut it; False where a reader still needs what would change."""
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
        # What closing would still like to write is not worth an error: the WAL keeps it.
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
            raise IndexNotWritten(f"{DISK_FULL}: {self.path} could not be written") from error
        except (
            apsw.IOError,
            apsw.ReadOnlyError,
            apsw.CantOpenError,
            apsw.PermissionsError,
            apsw.AuthError,
            apsw.NoLFSError,
        ) as error:
            if self._read_only:
                raise UsageError(f"{self.path} cannot be read ({error}): is its directory yours to write?") from error
            raise IndexNotWritten(f"the database could not be written: {error}") from error


def check_database(path: Path) -> None:
    """Read all of a database as it is on disk, which a connection that has pages in memory does not.

    Raises:
        DatabaseUnusable: it is damaged.
    """
    database = Database(path, read_only=True, patience_seconds=REPLACE_PATIENCE_SECONDS)
    try:
        database.check()
    finally:
        database.close()


def identity(path: Path) -> tuple[int, int] | None:
    """Which file stands at a path now; None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def lock_of(path: Path) -> Path:
    return path.with_name("index.lock")


@contextmanager
def replacing(path: Path, *, alone: bool, patience_seconds: float) -> Iterator[None]:
    """Hold the lock under which a database is opened by many, or replaced by one.

    Raises:
        IndexLocked: somebody held it for longer than that.
    """
    try:
        descriptor = open_private(lock_of(path), os.O_RDWR | os.O_CREAT if alone else os.O_RDONLY)
    except OSError:
        if alone:
            raise
        # No engine has replaced anything here yet, or none that can is at work.
        yield
        return
    try:
        if not lock(descriptor, patience_seconds=patience_seconds, shared=not alone):
            raise IndexLocked(f"{path} is being replaced or opened by a program that does not move")
        yield
    finally:
        os.close(descriptor)


def put_aside(path: Path) -> Path:
    """Move a database that cannot be used out of the way, its WAL with it; returns its new name."""
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
    """Give a database another name, and what lies beside it."""
    for suffix in ("", *BESIDE):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(other.with_name(other.name + suffix))
    sync_directory(path.parent)


def remove(path: Path) -> None:
    """Delete a database and what lies beside it."""
    for suffix in ("", *BESIDE):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def copy_of(path: Path) -> Path:
    """Where a complete copy waits to take a database's place."""
    return path.with_name(f"{path.name}.new")


def replace_by_copy(database: Database) -> None:
    """Put a copy of a database in its place; whoever has the old one open goes on reading that, and may take its time.

    The connection is closed; a kill at any instant leaves one of the two whole, which `finish_replacing` finds.

    Raises:
        IndexNotWritten: there is no room for a copy; all is as it was.
        IndexLocked: somebody is opening the database and does not come to an end.
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
    """Take up what an engine left that was killed while it replaced the database."""
    copy = copy_of(path)
    if copy.exists():
        with replacing(path, alone=True, patience_seconds=REPLACE_PATIENCE_SECONDS):
            if path.exists():
                copy.unlink()
            else:
                # What lies beside it is of the one that was moved away.
                remove(path)
                copy.rename(path)
            sync_directory(path.parent)
    remove(path.with_name(f"{path.name}.replaced"))
    remove(path.with_name(f"{path.name}.part"))
