"""Spans of time as people read them. Imports nothing heavy."""

from __future__ import annotations

import math

from engine.sizes import UNKNOWN


def duration(seconds: float | None) -> str:
    """A span of time in at most two units: 3.2 s, 41 s, 12m05, 2h13, 3 d 4 h."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 0:
        return "-" + duration(-seconds)
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s" if seconds else "0 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 24:
        return f"{hours}h{minutes:02}"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h"
