"""The index as a file that is read: opened read-only, followed when another takes its place, healed where asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from engine.index.database import REMEDY, Database, DatabaseUnusable
from engine.index.schema import REBUILDING_VERSION, SCHEMA_VERSION

READ_PATIENCE_SECONDS = 5.0

Version = tuple[tuple[int, int] | None, int]


class IndexReader:
    """A reading connection to the index, for queries that a subclass knows.

    Args:
        path: The database; where there is none, everything reads as empty.
        patience_seconds: How long a reading waits for a database that is locked.
        repair_index: Called to rebuild a damaged database before trying again; None raises instead.
        while_rebuilding: Whether it also reads a database into which the engine is still entering runs; to all others
            that is as good as none.

    Raises:
        DatabaseUnusable: its schema is another version's, or it is damaged.
        IndexLocked: it stayed locked.
    """

    def __init__(
        self,
        path: Path,
        *,
        patience_seconds: float = READ_PATIENCE_SECONDS,
        repair_index: Callable[[], None] | None = None,
        while_rebuilding: bool = False,
    ) -> None:
        self._path = path
        self._while_rebuilding = while_rebuilding
        self._patience_seconds = patience_seconds
        self._repair_index = repair_index
        self._database: Database | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read from the file that stands at the path now; from none where there is none."""
        try:
            self._open()
        except DatabaseUnusable:
            if self._repair_index is None:
                raise
            self._repair_index()
            self._open()

    def _open(self) -> None:
        self.close()
        if not self._path.exists():
            return
        self._database = Database(self._path, read_only=True, patience_seconds=self._patience_seconds)
        version = self._database.user_version
        if version == SCHEMA_VERSION or (version == REBUILDING_VERSION and self._while_rebuilding):
            return
        self.close()
        # 0: created by an engine that has not yet written its tables.
        if version not in (0, REBUILDING_VERSION):
            raise DatabaseUnusable(
                f"the database has schema version {version}, this depthscope uses {SCHEMA_VERSION}: {REMEDY}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether there is a database, and complete."""
        return self._database is not None

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def data_version(self) -> Version:
        """What changes when another connection has committed, or when another file has taken this one's place."""
        if self._database is None or self._database.has_moved():
            self.refresh()
        if self._database is None:
            return None, 0
        return self._database.identity, int(self._value("PRAGMA data_version"))

    def _rows(self, query: str, *parameters: Any) -> list[Any]:
        try:
            return self._read(query, *parameters)
        except DatabaseUnusable:
            if self._repair_index is None:
                raise
            self._repair_index()
            self._open()
            return self._read(query, *parameters)

    def _read(self, query: str, *parameters: Any) -> list[Any]:
        return [] if self._database is None else self._database.rows(query, *parameters)

    def _value(self, query: str) -> Any:
        return self._rows(query)[0][0]
