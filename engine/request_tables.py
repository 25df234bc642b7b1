"""What requests leave in the index beside the runs: their answers, and labels on their way into run directories."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from engine.database import Database
from engine.runs.directory import Labels

NUM_REQUESTS_KEPT = 100_000
"""Replies of which a repetition is known; by their number and not by their age, for clocks are set."""


class RequestTables:
    """A part of the store; all that changes something is done in the caller's transaction."""

    _database: Database

    def answered(self, request: str) -> bytes | None:
        """The reply that a request was given already."""
        for (reply,) in self._database.rows("SELECT reply FROM requests WHERE id = ?", request):
            return bytes(reply)
        return None

    def remember_answer(self, request: str, reply: bytes) -> None:
        """Keep a reply for as long as a client may ask again."""
        self._database.execute("INSERT INTO requests (id, reply) VALUES (?,?)", (request, reply))
        self._database.execute(
            "DELETE FROM requests WHERE number <= (SELECT max(number) FROM requests) - ?", (NUM_REQUESTS_KEPT,)
        )

    def unwritten_labels(self) -> dict[str, Labels]:
        """Labels, by run id, that stand in the index and perhaps not in the run directory yet."""
        rows = self._database.execute("SELECT run, labels FROM unwritten_labels")
        return {run: msgspec.json.decode(labels, type=Labels) for run, labels in rows}

    def add_unwritten_labels(self, run: str, labels: Labels) -> None:
        """Keep what labels.json of a run is to say."""
        encoded = msgspec.json.encode(labels)
        self._database.execute("INSERT OR REPLACE INTO unwritten_labels VALUES (?,?)", (run, encoded))

    def forget_unwritten_labels(self, runs: Iterable[str]) -> None:
        """Their labels.json say so now."""
        self._database.executemany("DELETE FROM unwritten_labels WHERE run = ?", [(run,) for run in runs])
