"""What a report is made of, whatever it is written as: plain texts in an order, nothing of them markup."""

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
    """A few sentences; a warning stands out."""

    text: str
    warns: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """Sentences that belong together, in no order."""

    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """Cells under a header; a row may be shorter than it."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str
    """A column a character: `<` or `>`."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure, as a file beside the report or within it."""

    name: str
    """Of its files, without their endings."""
    title: str
    """Where the picture cannot be seen, in its stead."""
    caption: str
    """What it shows, with units and the number of seeds."""


@dataclass(frozen=True, slots=True)
class Code:
    """Words to be typed, or a file's content."""

    text: str


Block = Heading | Paragraph | Items | Table | Picture | Code
