"""Tables that leave out columns where there is no room, and prose wrapped to the same width."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from console.text.formatting import cells, table


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    texts: Sequence[str]
    side: str = ">"
    """"<" or ">"."""
    drop: int = 0
    """Turn in which it is left out where there is no room, 1 first; 0 for never."""


def fitted(columns: Sequence[Column], remarks: Sequence[str], width: int | None) -> str:
    """Table with as many columns as fit, and a remark on each row.

    Where the remarks do not fit beside the table, they become lines below it, each behind the first text of its row
    that is not empty.

    Args:
        columns: All columns, each with a text for every row.
        remarks: A text for every row, empty if there is nothing to say.
        width: Most cells of a line; None for no limit.
    """
    whole = as_table([*columns, Column("", remarks, "<")] if any(remarks) else columns)
    if is_within(whole, width):
        return whole
    below = [
        f"{next((one.texts[row] for one in columns if one.side == '<' and one.texts[row]), '')}: {remark}"
        for row, remark in enumerate(remarks)
        if remark
    ]
    shown = list(columns)
    for turn in sorted({one.drop for one in columns if one.drop}):
        if is_within(as_table(shown), width):
            break
        shown = [one for one in shown if one.drop != turn]
    return "\n".join([as_table(shown), *(wrapped(line, width) for line in below)])


def as_table(columns: Sequence[Column]) -> str:
    """All columns side by side."""
    rows = [list(row) for row in zip(*(one.texts for one in columns), strict=True)]
    return table([one.title for one in columns], rows, align="".join(one.side for one in columns)).rstrip()


def is_within(text: str, width: int | None) -> bool:
    """Whether no line is wider than the width."""
    return width is None or max(map(cells, text.splitlines()), default=0) <= width


def wrapped(text: str, width: int | None) -> str:
    """Wrap each line of prose between words; names stay whole."""
    if width is None:
        return text
    lines = (
        textwrap.wrap(line, max(width, 20), break_on_hyphens=False, subsequent_indent="  ") for line in text.split("\n")
    )
    return "\n".join("\n".join(line) for line in lines)
