"""A wall clock that a test sets."""

from __future__ import annotations

from pathlib import Path


class Clock:
    """Wall clock of all processes with its environment.

    Args:
        path: File with the offset.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(0.0)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the processes that read it."""
        return {
            "PYTHONPATH": str(Path(__file__).with_name("set_clock")),
            "DEPTHSCOPE_TEST_CLOCK": str(self._path),
        }

    def set(self, offset_seconds: float) -> None:
        """Set the offset from the real clock, replacing the file atomically for concurrent readers."""
        beside = self._path.with_suffix(".new")
        beside.write_text(str(offset_seconds))
        beside.rename(self._path)
