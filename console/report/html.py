"""Render a report as one self-contained HTML file: embedded figures, no scripts, no external links."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import assert_never

from console.report.blocks import Block, Code, Heading, Items, Paragraph, Picture, Table
from console.text.formatting import clean

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 76rem; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .6rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
figure .wide { margin: 0; }
table { border-collapse: separate; border-spacing: 0; font-size: .8125rem; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 8px; line-height: 20px; border-bottom: 1px solid #ccc; text-align: left; }
th { border-bottom: 2px solid #1a1a1a; vertical-align: bottom; }
td { white-space: nowrap; vertical-align: top; }
td.words { white-space: normal; overflow-wrap: anywhere; min-width: 9rem; }
th:first-child, td:first-child { position: sticky; left: 0; background: #fff; }
.right { text-align: right; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { font-size: .875rem; color: #444; }
pre { background: #f3f3f3; padding: .7rem 1rem; overflow-x: auto; }
@media screen and (max-width: 48rem) { figure img { max-width: none; width: 44rem; } }
.warning { border-left: .3rem solid #1a1a1a; padding-left: .8rem; font-weight: bold; }
@media print {
  body { max-width: none; margin: 0; padding: 0; font-size: 11pt; }
  h1, h2, h3 { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  .wide { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: 2px 4px; line-height: 1.3; }
  td.words { min-width: 6rem; }
  th:first-child, td:first-child { position: static; }
}
""".strip()

LONGEST_LINE, LONGEST_WORD = 20, 40
"""Length up to which a cell is kept on one line."""


def as_html(blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> str:
    """Render the whole report; the first heading is the page's title, and `pictures` holds the figures' SVG by name."""
    title = next((block.text for block in blocks if isinstance(block, Heading)), "report")
    body = "\n".join(_block(block, pictures) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def escaped(text: str) -> str:
    """Escape all markup in a text, also for attributes."""
    return html.escape(clean(text), quote=True)


def _block(block: Block, pictures: Mapping[str, bytes]) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{escaped(block.text)}</h{block.level}>"
        case Paragraph():
            return ('<p class="warning">' if block.warns else "<p>") + escaped(block.text) + "</p>"
        case Items():
            return "<ul>\n" + "\n".join(f"<li>{escaped(text)}</li>" for text in block.texts) + "\n</ul>"
        case Table():
            return _table(block)
        case Picture():
            # As separate images, the figures' styles and ids cannot collide.
            content = base64.b64encode(pictures[block.name]).decode()
            return (
                f'<figure>\n<div class="wide" tabindex="0">'
                f'<img alt="{escaped(block.title)}" src="data:image/svg+xml;base64,{content}"></div>\n'
                f"<figcaption>{escaped(block.caption)}</figcaption>\n</figure>"
            )
        case Code():
            return "<pre>" + "\n".join(map(escaped, block.text.splitlines())) + "</pre>"
        case _:
            assert_never(block)


def _table(table: Table) -> str:
    def row(tag: str, cells: Sequence[str]) -> str:
        padded = [*cells, *[""] * (len(table.header) - len(cells))]
        written = [
            f"<{tag}{_class(tag, side, cell)}>{escaped(cell).replace(' %', '&nbsp;%')}</{tag}>"
            for side, cell in zip(table.align, padded, strict=True)
        ]
        return f"<tr>{''.join(written)}</tr>"

    rows = "\n".join(row("td", cells) for cells in table.rows)
    # A table wider than the page scrolls by itself, also from the keyboard.
    return (
        '<div class="wide" tabindex="0">\n<table>\n<thead>\n'
        f"{row('th', table.header)}\n</thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )


def _class(tag: str, side: str, cell: str) -> str:
    """CSS class for alignment and wrapping: sentences wrap, numbers and names do not."""
    if side == ">":
        return ' class="right"'
    longest = LONGEST_LINE if " " in cell else LONGEST_WORD
    return ' class="words"' if tag == "td" and len(cell) > longest else ""
