"""Parse times as people type them: 08:00, 2026-11-25 08:00, +6h."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from engine.base.errors import UsageError

SPAN = re.compile(r"\+(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?")
MAX_SPAN = timedelta(days=3650)


def parse_until(word: str, now: datetime) -> datetime:
    """Parse the argument of `--until`; a time of day means its next occurrence.

    Args:
        word: Local time such as 08:00 or 2026-11-25 08:00, or a span such as +6h, +90m or +1d12h.
        now: With a time zone.

    Raises:
        UsageError: the argument is malformed or not in the future.
    """
    text = word.strip()
    if (span := SPAN.fullmatch(text)) and any(span.groups()):
        days, hours, minutes = (float(part or 0) for part in span.groups())
        ahead = timedelta(minutes=min(minutes + 60 * (hours + 24 * days), MAX_SPAN / timedelta(minutes=1)))
        if not ahead:
            raise UsageError(f"--until must be in the future, got {word!r}; use a span such as +6h")
        return now + ahead
    try:
        return of_day(text, now) if re.fullmatch(r"\d{1,2}:\d{2}", text) else of_date(text, word, now)
    except (ValueError, OverflowError):
        raise UsageError(f"--until must be a time such as 08:00, '2026-11-25 08:00' or +6h, got {word!r}") from None


def parse_since(word: str, now: datetime) -> datetime:
    """Parse the argument of `--since`; a time of day means its last occurrence.

    Args:
        word: A span such as 12h, 90m or 3d, a local time such as 08:00, a date, or date and time.
        now: With a time zone.

    Raises:
        UsageError: the argument is malformed or lies in the future.
    """
    text = word.strip()
    if (span := SPAN.fullmatch(f"+{text.removeprefix('+')}")) and any(span.groups()):
        days, hours, minutes = (float(part or 0) for part in span.groups())
        return now - timedelta(minutes=min(minutes + 60 * (hours + 24 * days), MAX_SPAN / timedelta(minutes=1)))
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", text):
            hour, minute = map(int, text.split(":"))
            today = now.replace(tzinfo=None, hour=hour, minute=minute, second=0, microsecond=0)
            return today.astimezone() if today.astimezone() <= now else (today - timedelta(days=1)).astimezone()
        form = "%Y-%m-%d" if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else "%Y-%m-%d %H:%M"
        moment = datetime.strptime(text.replace("T", " "), form).astimezone()
    except (ValueError, OverflowError):
        raise UsageError(f"--since must be 12h, 3d, 08:00, 2026-11-24 or '2026-11-24 08:00', got {word!r}") from None
    if moment > now:
        raise UsageError(f"--since must be in the past, got {word!r}; it is now {now:%Y-%m-%d %H:%M}")
    return moment


def of_day(text: str, now: datetime) -> datetime:
    """Next occurrence of a local time of day."""
    hour, minute = map(int, text.split(":"))
    today = now.replace(tzinfo=None, hour=hour, minute=minute, second=0, microsecond=0)
    # Add a calendar day, not 24 hours: days with a clock change differ.
    moment = today.astimezone()
    return moment if moment > now else (today + timedelta(days=1)).astimezone()


def of_date(text: str, word: str, now: datetime) -> datetime:
    """Parse a local date and time.

    Raises:
        ValueError: the text is not a date and time.
        UsageError: the moment has passed.
    """
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}[ T]\d{1,2}:\d{2}", text):
        raise ValueError(text)
    moment = datetime.strptime(text.replace("T", " "), "%Y-%m-%d %H:%M").astimezone()
    if moment <= now:
        raise UsageError(f"--until must be in the future, got {word!r}; it is now {now:%Y-%m-%d %H:%M}")
    return moment


def clock_time(moment: datetime, now: datetime) -> str:
    """Time of day, preceded by the date unless it is today."""
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"
