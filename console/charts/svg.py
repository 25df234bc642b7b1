"""Export charts as SVG: text in a grid of cells, and Braille as dots, which many fonts lack or draw unevenly."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from html import escape

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME, TerminalTheme
from rich.text import Text
from textual.theme import Theme

CELL_WIDTH, CELL_HEIGHT, FONT_SIZE, BASELINE = 8.4, 18.0, 14, 13.5
MARGIN = 12.0
DOT_RADIUS = 1.1
FAINT = 0.55
"""Opacity of dim text and dots."""
FIRST_BRAILLE, LAST_BRAILLE = 0x2800, 0x28FF
DOTS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
"""Column and row in the cell of each bit of a Braille character."""


def chart_as_svg(lines: Sequence[str], *, width: int, theme: Theme) -> str:
    """Render lines with ANSI colours on the theme's dark or light background; `width` is the least number of cells."""
    colours = SVG_EXPORT_THEME if theme.dark else DEFAULT_TERMINAL_THEME
    parsed = [Text.from_ansi(line) for line in lines]
    cells = max([width, *(text.cell_len for text in parsed)])
    size = cells * CELL_WIDTH + 2 * MARGIN, len(lines) * CELL_HEIGHT + 2 * MARGIN
    console = Console(width=cells, file=io.StringIO(), force_terminal=True, color_system="256")
    body = [
        element
        for row, text in enumerate(parsed)
        for element in row_elements(text.render(console, end=""), row, colours)
    ]
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]:g}" height="{size[1]:g}"'
                f' viewBox="0 0 {size[0]:g} {size[1]:g}" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace"'
                f' font-size="{FONT_SIZE}" xml:space="preserve">'
            ),
            f'<rect width="100%" height="100%" fill="{colours.background_color.hex}"/>',
            *body,
            "</svg>\n",
        ]
    )


def row_elements(segments: Iterable[Segment], row: int, theme: TerminalTheme) -> list[str]:
    """Elements of a line: one text for every run of characters of one style, one path for its dots."""
    found = []
    column = 0
    for segment in segments:
        look = look_attributes(segment.style or Style.null(), theme)
        for text in runs_of_a_kind(segment.text):
            x, y = MARGIN + column * CELL_WIDTH, MARGIN + row * CELL_HEIGHT
            if is_braille(text[0]):
                found.append(f'<path d="{dots_path(text, x, y)}" {look}/>')
            elif text.strip():
                length = cell_len(text) * CELL_WIDTH
                place = f'x="{x:.1f}" y="{y + BASELINE:.1f}" textLength="{length:.1f}"'
                found.append(f"<text {place} {look}>{escape(text)}</text>")
            column += cell_len(text)
    return found


def runs_of_a_kind(text: str) -> list[str]:
    """Split text into Braille, spaces, and words of other characters, which keeps every word in its cells."""
    found: list[str] = []
    kind = None
    for character in text:
        this = "dots" if is_braille(character) else "space" if character == " " else "word"
        if this == kind:
            found[-1] += character
        else:
            found.append(character)
        kind = this
    return found


def is_braille(character: str) -> bool:
    """Whether a character is one of Braille's dots."""
    return FIRST_BRAILLE <= ord(character) <= LAST_BRAILLE


def dots_path(text: str, x: float, y: float) -> str:
    """Path of squares for the dots of Braille characters, from the cell at x, y to the right."""
    parts = []
    for index, character in enumerate(text):
        for bit, (across, down) in enumerate(DOTS):
            if ord(character) - FIRST_BRAILLE >> bit & 1:
                left = x + CELL_WIDTH * (index + (2 * across + 1) / 4) - DOT_RADIUS
                top = y + CELL_HEIGHT * (2 * down + 1) / 8 - DOT_RADIUS
                parts.append(f"M{left:.1f} {top:.1f}h{2 * DOT_RADIUS}v{2 * DOT_RADIUS}h-{2 * DOT_RADIUS}z")
    return "".join(parts)


def look_attributes(style: Style, theme: TerminalTheme) -> str:
    """Fill and opacity of a style."""
    colour = theme.foreground_color if style.color is None else style.color.get_truecolor(theme)
    return f'fill="{colour.hex}"' + (f' opacity="{FAINT}"' if style.dim else "")
