"""Durations and sizes in readable form. Imports nothing heavy."""

from __future__ import annotations

import math
import re


def duration(seconds: float | None) -> str:
    """Format a duration in at most two units: 3.2 s, 41 s, 12m05, 2h13, 3 d 4 h."""
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


UNKNOWN = "-"
"""Placeholder for an unknown amount."""
UNITS: dict[str, int] = {
    "": 1,
    "b": 1,
    "bytes": 1,
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", start=1)},
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", start=1)},
}
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([a-z]*)", re.IGNORECASE)


def parse_size(text: str, what: str) -> int:
    """Parse a size such as `6GiB`, `6144 MiB`, `6.5GB` or `6442450944` into bytes.

    Args:
        text: As typed; case does not matter.
        what: Name of the value in the error.

    Raises:
        ValueError: the text is not a size, or is less than 1 byte.
    """
    found = SIZE.fullmatch(text.strip())
    if found is None or found[2].lower() not in UNITS:
        raise ValueError(f"{what} must be a size such as 6GiB, 6144MiB, 6GB or a number of bytes, got {text!r}")
    size = math.floor(float(found[1]) * UNITS[found[2].lower()])
    if size < 1:
        raise ValueError(f"{what} must be at least 1 byte, or left out for none, got {text!r}")
    return size


def size_as_typed(size: int) -> str:
    """Format a size so that `parse_size` gives it back exactly: `6GiB`, `6144MiB`, or the number of bytes."""
    for unit in ("GiB", "MiB"):
        if size % UNITS[unit.lower()] == 0:
            return f"{size // UNITS[unit.lower()]}{unit}"
    return str(size)


def byte_size(num_bytes: float | None) -> str:
    """Format bytes with three digits in powers of 1024: 512 B, 1.50 GiB, 139 GiB."""
    if num_bytes is None or not math.isfinite(num_bytes):
        return UNKNOWN
    if abs(num_bytes) < 1024:
        return f"{num_bytes:.0f} B"
    return in_three_digits(num_bytes, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))


def in_three_digits(value: float, base: int, units: tuple[str, ...]) -> str:
    """Format a value with three digits in the largest unit that keeps it at 1 or above after rounding."""
    unit = 0
    # 999.5 of a unit would read 1000.
    while abs(value) >= min(base, 999.5) and unit < len(units) - 1:
        value, unit = value / base, unit + 1
    size = abs(value)
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:.{digits}f} {units[unit]}"
