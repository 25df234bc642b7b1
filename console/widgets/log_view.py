"""View of the end of a growing file, with search."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import RichLog

from console.text.formatting import clean
from engine.base.regular_files import OddFile, reading_regular

TAIL_BYTES = 256 << 10
"""Largest part of a log to load, from its end."""
MAX_LINES = 5_000


class LogView(RichLog):
    """A worker's log, as plain text."""

    HELP = "What the worker wrote to standard error. It follows the end; f holds it. / finds words, n the next place."

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "follow or hold", id="log.follow"),
        Binding("N", "next_match", "next match", id="log.next"),
    ]

    def __init__(self, path: Path, *, id: str | None = None) -> None:
        super().__init__(max_lines=MAX_LINES, markup=False, highlight=False, wrap=False, id=id)
        self._path = path
        self._offset: int | None = None
        self._texts: list[str] = []
        self._wanted = ""
        self._match = -1

    @property
    def content_text(self) -> str:
        """All loaded lines."""
        return "\n".join(self._texts)

    def read_more(self) -> None:
        """Append what was written since the last call; the first call loads the end of the file."""
        try:
            size = self._path.stat().st_size
            if self._offset is None:
                self._offset = max(0, size - TAIL_BYTES)
            if size < self._offset:
                # The file was cut at its beginning because it had grown too long.
                self._offset = max(0, size - TAIL_BYTES)
                self._texts.clear()
                self.clear()
            if size <= self._offset:
                return
            with reading_regular(self._path) as file:
                file.seek(self._offset)
                content = os.read(file.fileno(), TAIL_BYTES)
        except (FileNotFoundError, OddFile):
            return
        # Leave an incomplete line for the next call.
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        for line in complete.decode("utf-8", "replace").splitlines():
            text = clean(line)
            self._texts.append(text)
            self.write(Text(text))
        del self._texts[:-MAX_LINES]

    def find(self, words: str) -> int:
        """Search upwards from the end; returns the number of matching lines."""
        self._wanted, self._match = words.lower(), len(self._texts)
        self.action_next_match()
        return sum(self._wanted in text.lower() for text in self._texts) if words else 0

    def action_next_match(self) -> None:
        """Go to the previous match, wrapping around to the last."""
        if not self._wanted:
            return
        rows = [row for row, text in enumerate(self._texts) if self._wanted in text.lower()]
        if rows:
            self._match = max((row for row in rows if row < self._match), default=rows[-1])
            self.auto_scroll = False
            self.scroll_to(y=self._match, animate=False)

    def action_follow(self) -> None:
        """Toggle following the end of the file."""
        self.auto_scroll = not self.auto_scroll
        if self.auto_scroll:
            self.scroll_end(animate=False)
