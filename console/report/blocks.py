"""Blocks of a report, independent of its format: plain texts without markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heading:
    """A title; level 1 is the report's own."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Paragraph of text; a warning is highlighted."""

    text: str
    warns: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """Unordered list."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """Table with a header; rows may be shorter than it."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str
    """One character for each column: `<` or `>`."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Figure, in a file of its own or embedded in the report."""

    name: str
    """File name without suffix."""
    title: str
    """Alternative text."""
    caption: str
    """Caption, with units and number of seeds."""


@dataclass(frozen=True, slots=True)
class Code:
    """Commands to type, or the contents of a file."""

    text: str


Block = Heading | Paragraph | Items | Table | Picture | Code
