"""Render a report as GitHub-flavoured Markdown; outside text is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import assert_never

from console.report.blocks import Block, Code, Heading, Items, Paragraph, Picture, Table
from console.text.formatting import clean

SPECIAL = re.compile(r"([\\`*_\[\]<>|~#&!])")
"""Characters that can start inline markup."""
WITHIN_WORD = re.compile(r"(?<=\w)\\_(?=\w)")
"""An underscore within a word is not markup, and file names read better unescaped."""


def as_markdown(blocks: Sequence[Block], *, figures: str) -> str:
    """Render the whole report; `figures` is the figures' directory, relative to the report."""
    return "\n\n".join(_block(block, figures) for block in blocks) + "\n"


def escaped(text: str) -> str:
    """Escape all markup in a text."""
    return WITHIN_WORD.sub("_", SPECIAL.sub(r"\\\1", clean(text)))


def _block(block: Block, figures: str) -> str:
    match block:
        case Heading():
            return "#" * block.level + " " + escaped(block.text)
        case Paragraph():
            return f"> **{escaped(block.text)}**" if block.warns else escaped(block.text)
        case Items():
            return "\n".join(f"- {escaped(text)}" for text in block.texts)
        case Table():
            return _table(block)
        case Picture():
            return f"![{escaped(block.title)}]({figures}/{block.name}.svg)\n\n*{escaped(block.caption)}*"
        case Code():
            return "\n".join("    " + clean(line) for line in block.text.splitlines())
        case _:
            assert_never(block)


def _table(table: Table) -> str:
    rules = ["---:" if side == ">" else "---" for side in table.align]
    rows = [[escaped(cell) for cell in row] + [""] * (len(table.header) - len(row)) for row in table.rows]
    lines = [[escaped(cell) for cell in table.header], rules, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
