"""Export charts as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME
from rich.text import Text
from textual.theme import Theme


def chart_as_svg(lines: Sequence[str], *, width: int, theme: Theme) -> str:
    """Render lines with ANSI colours as SVG with rich, cell by cell, on the theme's dark or light background."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="256")
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, crop=True)
    return console.export_svg(title="depthscope", theme=SVG_EXPORT_THEME if theme.dark else DEFAULT_TERMINAL_THEME)
