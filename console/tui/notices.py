"""Notices for the user: at most one is shown, on the line of the key bar; the latest can be read in full later."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

SECONDS_SHOWN = 5.0
MOST_KEPT = 50
SEVERITIES = ("information", "warning", "error")
"""From the least to the most severe."""


@dataclass(eq=False, slots=True)
class Notice:
    """A message to the user."""

    text: str
    severity: str = SEVERITIES[0]
    at: float = field(default_factory=time.time)
    """Seconds since 1970."""
    ends: float = 0.0
    """On the monotonic clock."""


class Notices:
    """The notices of one console, oldest first."""

    def __init__(self) -> None:
        self._kept: deque[Notice] = deque(maxlen=MOST_KEPT)

    def __iter__(self) -> Iterator[Notice]:
        return iter(self._kept)

    def add(self, text: str, severity: str = SEVERITIES[0], *, seconds: float | None = None) -> Notice:
        """Add a notice and show it, unless a more severe one is being shown; the same text again only lasts longer."""
        for same in [one for one in self.active() if (one.text, one.severity) == (text, severity)]:
            self._kept.remove(same)
        ends = time.monotonic() + (SECONDS_SHOWN if seconds is None else seconds)
        notice = Notice(text, severity, ends=ends)
        self._kept.append(notice)
        return notice

    def replace(self, old: Notice | None, text: str, severity: str) -> Notice:
        """Add a notice that says all an older one said; the older one goes if it is still being shown."""
        if old is not None and old in self.active():
            self._kept.remove(old)
        return self.add(text, severity)

    def active(self) -> list[Notice]:
        """Return the notices whose time has not run out."""
        now = time.monotonic()
        return [one for one in self._kept if one.ends > now]

    def shown(self) -> tuple[Notice, int] | None:
        """Return the newest of the most severe notices, and the number of others that are still active."""
        active = self.active()
        if not active:
            return None
        # `max` takes the first of equals.
        first = max(reversed(active), key=lambda one: SEVERITIES.index(one.severity))
        return first, len(active) - 1

    def seconds_left(self) -> float | None:
        """Return the seconds until another notice is shown, or none; None if none is shown now."""
        ends = [one.ends for one in self.active()]
        return max(min(ends) - time.monotonic(), 0.01) if ends else None
