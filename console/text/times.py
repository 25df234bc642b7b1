"""Parse times as people type them: 08:00, 2026-11-25 08:00, +6h."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from engine.base.errors import UsageError

SPAN = re.compile(r"\+(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?")
MAX_SPAN = timedelta(days=3650)
TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}")


def parse_until(word: str, now: datetime) -> datetime:
    """Parse the argument of `--until`; a time of day means its next occurrence.

    Args:
        word: Local time such as 08:00 or 2026-11-25 08:00, or a span such as +6h, +90m or +1d12h.
        now: With a time zone.

    Raises:
        UsageError: the argument is malformed or not in the future.
    """
    text = word.strip()
    ahead = parse_span(text)
    if ahead is not None and not ahead:
        raise UsageError(f"--until must be in the future, got {word!r}; use a span such as +6h")
    if ahead is not None:
        return now + ahead
    try:
        if TIME_OF_DAY.fullmatch(text):
            today = at_time_of_day(text, now)
            return today if today > now else at_time_of_day(text, now, days=1)
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}[ T]\d{1,2}:\d{2}", text):
            raise ValueError(text)
        moment = datetime.strptime(text.replace("T", " "), "%Y-%m-%d %H:%M").astimezone()
    except (ValueError, OverflowError):
        raise UsageError(f"--until must be a time such as 08:00, '2026-11-25 08:00' or +6h, got {word!r}") from None
    if moment <= now:
        raise UsageError(f"--until must be in the future, got {word!r}; it is now {now:%Y-%m-%d %H:%M}")
    return moment


def parse_since(word: str, now: datetime) -> datetime:
    """Parse the argument of `--since`; a time of day means its last occurrence.

    Args:
        word: A span such as 12h, 90m or 3d, a local time such as 08:00, a date, or date and time.
        now: With a time zone.

    Raises:
        UsageError: the argument is malformed or lies in the future.
    """
    text = word.strip()
    if (ago := parse_span(f"+{text.removeprefix('+')}")) is not None:
        return now - ago
    try:
        if TIME_OF_DAY.fullmatch(text):
            today = at_time_of_day(text, now)
            return today if today <= now else at_time_of_day(text, now, days=-1)
        form = "%Y-%m-%d" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else "%Y-%m-%d %H:%M"
        moment = datetime.strptime(text.replace("T", " "), form).astimezone()
    except (ValueError, OverflowError):
        raise UsageError(f"--since must be 12h, 3d, 08:00, 2026-11-24 or '2026-11-24 08:00', got {word!r}") from None
    if moment > now:
        raise UsageError(f"--since must be in the past, got {word!r}; it is now {now:%Y-%m-%d %H:%M}")
    return moment


def parse_span(text: str) -> timedelta | None:
    """Parse a span such as +1d12h, at most ten years; None if the text is not a span."""
    found = SPAN.fullmatch(text)
    if found is None or not any(found.groups()):
        return None
    days, hours, minutes = (float(part or 0) for part in found.groups())
    return timedelta(minutes=min(minutes + 60 * (hours + 24 * days), MAX_SPAN / timedelta(minutes=1)))


def at_time_of_day(text: str, now: datetime, *, days: int = 0) -> datetime:
    """Local time of day, so many calendar days from today: with a clock change, days differ from 24 hours."""
    hour, minute = map(int, text.split(":"))
    today = now.replace(tzinfo=None, hour=hour, minute=minute, second=0, microsecond=0)
    return (today + timedelta(days=days)).astimezone()


def clock_time(moment: datetime, now: datetime) -> str:
    """Time of day, preceded by the date unless it is today."""
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"
