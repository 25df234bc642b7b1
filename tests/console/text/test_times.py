"""Parsing of times as people type them."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest

from console.text.times import clock_time, parse_until
from engine.base.errors import UsageError


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """An evening in Berlin, the day before clocks go back an hour."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    return datetime.fromtimestamp(1_792_868_400).astimezone()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("22:00", "2026-10-24 22:00"),
        ("08:00", "2026-10-25 08:00"),
        ("8:00", "2026-10-25 08:00"),
        ("2026-11-25 08:00", "2026-11-25 08:00"),
        ("2026-11-25T08:00", "2026-11-25 08:00"),
        ("+6h", "2026-10-25 02:00"),
        ("+90m", "2026-10-24 22:30"),
        ("+1.5h", "2026-10-24 22:30"),
        ("+1h30m", "2026-10-24 22:30"),
    ],
)
def test_times_of_day_dates_and_spans_are_read(now: datetime, word: str, expected: str):
    """A time of day means its next occurrence; a date is taken literally."""
    assert f"{now:%Y-%m-%d %H:%M}" == "2026-10-24 21:00"
    found = parse_until(word, now)

    assert f"{found.astimezone():%Y-%m-%d %H:%M}" == expected


def test_a_night_in_which_the_clocks_go_back_is_an_hour_longer(now: datetime):
    """From 21:00 to 08:00 it is twelve hours then."""
    assert parse_until("08:00", now) - now == timedelta(hours=12)


@pytest.mark.parametrize("word", ["25:99", "8", "morgen", "", "+", "+6", "-6h", "2026-13-01 08:00", "08:00:00", "+h"])
def test_an_invalid_time_is_refused_with_valid_examples(now: datetime, word: str):
    """The error names the value and the remedy."""
    with pytest.raises(UsageError) as raised:
        parse_until(word, now)

    assert repr(word) in str(raised.value)
    assert "such as 08:00, '2026-11-25 08:00' or +6h" in str(raised.value)


@pytest.mark.parametrize("word", ["2026-10-24 20:59", "+0h", "+0m"])
def test_a_time_that_has_passed_is_refused(now: datetime, word: str):
    """Nothing can finish by then."""
    with pytest.raises(UsageError, match="must be in the future"):
        parse_until(word, now)


def test_other_days_are_shown_with_their_date(now: datetime):
    """08:00 alone would be taken as today's."""
    assert clock_time(now, now) == "21:00"
    assert clock_time(parse_until("08:00", now), now) == "2026-10-25 08:00"
