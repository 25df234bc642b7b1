"""A report as one HTML file that needs no other: pictures within it, no script, no address of anything outside."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from typing import assert_never

from console.formatting import clean
from console.report_blocks import Block, Code, Heading, Items, Paragraph, Picture, Table

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .6rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: .875rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ccc; text-align: left; white-space: nowrap; }
th { border-bottom: 2px solid #1a1a1a; vertical-align: bottom; }
.right { text-align: right; }
figure { margin: 1.5rem 0; }
figure img { max-width: 100%; height: auto; }
figcaption { font-size: .875rem; color: #444; }
pre { background: #f3f3f3; padding: .7rem 1rem; overflow-x: auto; }
.warning { border-left: .3rem solid #1a1a1a; padding-left: .8rem; font-weight: bold; }
@media print { body { max-width: none; margin: 0; } figure, tr { break-inside: avoid; } }
""".strip()


def as_html(blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> str:
    """The whole report.

    Args:
        blocks: In order; the first heading is the title of the page.
        pictures: SVG by name, one for every Picture among the blocks.
    """
    title = next((block.text for block in blocks if isinstance(block, Heading)), "report")
    body = "\n".join(_block(block, pictures) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def escaped(text: str) -> str:
    """A text in which nothing is markup, in an attribute neither."""
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
            # Within an image of its own no style or id of one picture meets another's.
            content = base64.b64encode(pictures[block.name]).decode()
            return (
                f'<figure>\n<img alt="{escaped(block.title)}" src="data:image/svg+xml;base64,{content}">\n'
                f"<figcaption>{escaped(block.caption)}</figcaption>\n</figure>"
            )
        case Code():
            return "<pre>" + "\n".join(map(escaped, block.text.splitlines())) + "</pre>"
        case _:
            assert_never(block)


def _table(table: Table) -> str:
    def row(tag: str, cells: Sequence[str]) -> str:
        padded = [*cells, *[""] * (len(table.header) - len(cells))]
        sides = ["" if side == "<" else ' class="right"' for side in table.align]
        return (
            "<tr>" + "".join(f"<{tag}{side}>{escaped(cell)}</{tag}>" for side, cell in zip(sides, padded, strict=True))
        ) + "</tr>"

    rows = "\n".join(row("td", cells) for cells in table.rows)
    return f"<table>\n<thead>\n{row('th', table.header)}\n</thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
