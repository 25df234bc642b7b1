"""A line for what is wrong, above everything else; gone when all is well."""

from __future__ import annotations

from textual.widgets import Static

from console.text.formatting import clean


class Banner(Static):
    """What is wrong just now and what to do about it."""

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self.display = False
        self._said: list[str] = []

    def show(self, troubles: list[str]) -> None:
        """Say what is wrong; nothing where the list is empty."""
        if troubles != self._said:
            self._said = troubles
            self.update("\n".join(clean(trouble) for trouble in troubles))
            self.display = bool(troubles)
