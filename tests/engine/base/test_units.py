"""Parsing of sizes as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.base.units import parse_size, size_as_typed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6GiB", 6 << 30),
        ("6144MiB", 6 << 30),
        (" 6 gib ", 6 << 30),
        ("6GB", 6_000_000_000),
        ("1.5GiB", 3 << 29),
        ("0.5kb", 500),
        ("6442450944", 6 << 30),
        ("12 bytes", 12),
    ],
)
def test_a_size_is_read_with_its_unit(text: str, expected: int):
    """Powers of 1024 have an i, those of 1000 do not."""
    assert parse_size(text, "memory limit") == expected


@pytest.mark.parametrize("text", ["", "GiB", "six GiB", "6Gig", "-6GiB", "6,5GiB", "6GiB 1", "nan", "1e3", "0x10"])
def test_an_invalid_size_is_refused(text: str):
    """In one line with the value and examples."""
    with pytest.raises(ValueError, match="memory limit must be a size such as 6GiB") as refused:
        parse_size(text, "memory limit")

    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("text", ["0", "0GiB", "0.1 bytes"])
def test_nothing_at_all_is_refused(text: str):
    """A limit of zero would forbid all training."""
    with pytest.raises(ValueError, match="memory limit must be at least 1 byte"):
        parse_size(text, "memory limit")


@given(st.integers(1, 1 << 50))
def test_what_is_typed_again_is_the_same_to_the_byte(size: int):
    """A cloned run's form shows its limit this way."""
    assert parse_size(size_as_typed(size), "memory limit") == size
