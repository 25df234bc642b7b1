"""Read-only connection to the index that follows the file when it is replaced, and can have it repaired."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from engine.index.database import REMEDY, Database, DatabaseUnusable
from engine.index.schema import REBUILDING_VERSION, SCHEMA_VERSION

READ_PATIENCE_SECONDS = 5.0

Version = tuple[tuple[int, int] | None, int]


class IndexReader:
    """Read-only connection to the index; subclasses add queries.

    Args:
        path: Database; without a file, everything reads as empty.
        patience_seconds: How long to wait for a locked database.
        repair_index: Called to rebuild a damaged database before trying again; None raises instead.
        while_rebuilding: Whether to read a database that the engine is still filling, which others ignore.

    Raises:
        DatabaseUnusable: the database is damaged or has another schema version.
        IndexLocked: the database stayed locked.
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
        """Reopen the file that is at the path now, if any."""
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
        # Version 0: created by an engine that has not written its tables yet.
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
        """Whether there is a complete database."""
        return self._database is not None

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def data_version(self) -> Version:
        """Version that changes when another connection commits or the file is replaced."""
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
