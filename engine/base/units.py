"""Durations and amounts of memory as people write and read them. Imports nothing heavy."""

from __future__ import annotations

import math
import re


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


UNKNOWN = "-"
"""What stands for an amount that is not known."""
UNITS: dict[str, int] = {
    "": 1,
    "b": 1,
    "bytes": 1,
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", start=1)},
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", start=1)},
}
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([a-z]*)", re.IGNORECASE)


def parse_size(text: str, what: str) -> int:
    """Bytes of a size such as `6GiB`, `6144 MiB`, `6.5GB` or `6442450944`.

    Args:
        text: As typed; letters of either case.
        what: Its name, for the message.

    Raises:
        ValueError: it is no size, or none at all; the text names the value and what is expected.
    """
    found = SIZE.fullmatch(text.strip())
    if found is None or found[2].lower() not in UNITS:
        raise ValueError(f"{what} must be a size such as 6GiB, 6144MiB, 6GB or a number of bytes, got {text!r}")
    size = math.floor(float(found[1]) * UNITS[found[2].lower()])
    if size < 1:
        raise ValueError(f"{what} must be at least 1 byte, or left out for none, got {text!r}")
    return size


def size_as_typed(size: int) -> str:
    """A size as `parse_size` reads it back to the byte: `6GiB`, `6144MiB`, else the number."""
    for unit in ("GiB", "MiB"):
        if size % UNITS[unit.lower()] == 0:
            return f"{size // UNITS[unit.lower()]}{unit}"
    return str(size)


def byte_size(num_bytes: float | None) -> str:
    """Memory in three digits, in powers of 1024: 512 B, 1.50 GiB, 139 GiB."""
    if num_bytes is None or not math.isfinite(num_bytes):
        return UNKNOWN
    if abs(num_bytes) < 1024:
        return f"{num_bytes:.0f} B"
    return in_three_digits(num_bytes, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))


def in_three_digits(value: float, base: int, units: tuple[str, ...]) -> str:
    """A value in the largest unit of which there is at least one, as it reads after rounding."""
    unit = 0
    # 999.5 of a unit would read 1000.
    while abs(value) >= min(base, 999.5) and unit < len(units) - 1:
        value, unit = value / base, unit + 1
    size = abs(value)
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:.{digits}f} {units[unit]}"
