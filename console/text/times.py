"""Points in time as people write them: 08:00, 2026-11-25 08:00, +6h."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from engine.base.errors import UsageError

SPAN = re.compile(r"\+(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?")
MAX_SPAN = timedelta(days=3650)


def parse_until(word: str, now: datetime) -> datetime:
    """The moment that a word means, seen from another; a time of day is the next one.

    Args:
        word: Local time as 08:00 or 2026-11-25 08:00, or a span such as +6h, +90m or +1d12h.
        now: With a time zone.

    Raises:
        UsageError: it is none of these, or has passed.
    """
    text = word.strip()
    if (span := SPAN.fullmatch(text)) and any(span.groups()):
        days, hours, minutes = (float(part or 0) for part in span.groups())
        ahead = timedelta(minutes=min(minutes + 60 * (hours + 24 * days), MAX_SPAN / timedelta(minutes=1)))
        if not ahead:
            raise UsageError(f"--until must lie ahead, got {word!r}: a span such as +6h")
        return now + ahead
    try:
        return of_day(text, now) if re.fullmatch(r"\d{1,2}:\d{2}", text) else of_date(text, word, now)
    except (ValueError, OverflowError):
        raise UsageError(f"--until must be a time such as 08:00, '2026-11-25 08:00' or +6h, got {word!r}") from None


def parse_since(word: str, now: datetime) -> datetime:
    """The past moment that a word means, seen from another; a time of day is the last one.

    Args:
        word: A span such as 12h, 90m or 3d, local time as 08:00, a date, or both.
        now: With a time zone.

    Raises:
        UsageError: it is none of these, or has not come yet.
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
        raise UsageError(f"--since must be past, got {word!r}: it is {now:%Y-%m-%d %H:%M} now")
    return moment


def of_day(text: str, now: datetime) -> datetime:
    """The next time that the clock shows this."""
    hour, minute = map(int, text.split(":"))
    today = now.replace(tzinfo=None, hour=hour, minute=minute, second=0, microsecond=0)
    # Local times are counted by the calendar, whose days are not all 24 hours long.
    moment = today.astimezone()
    return moment if moment > now else (today + timedelta(days=1)).astimezone()


def of_date(text: str, word: str, now: datetime) -> datetime:
    """A date with a time of day.

    Raises:
        ValueError: it is no such thing.
        UsageError: it has passed.
    """
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}[ T]\d{1,2}:\d{2}", text):
        raise ValueError(text)
    moment = datetime.strptime(text.replace("T", " "), "%Y-%m-%d %H:%M").astimezone()
    if moment <= now:
        raise UsageError(f"--until must lie ahead, got {word!r}: it is {now:%Y-%m-%d %H:%M} now")
    return moment


def clock_words(moment: datetime, now: datetime) -> str:
    """A moment as a time of day; with the date where it is not today."""
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"
