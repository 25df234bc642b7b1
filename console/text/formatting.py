"""Format numbers and untrusted text for people; imports nothing heavy and no terminal library."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TextIO

from engine.base.units import UNKNOWN as UNKNOWN
from engine.base.units import byte_size as byte_size

# Re-exported: amounts are formatted here like all other numbers, and in the engine's messages too.
from engine.base.units import duration as duration
from engine.base.units import in_three_digits

ESCAPE_SEQUENCE = re.compile(
    # CSI, a string (OSC, DCS, APC, PM, SOS) with its terminator, or a short escape.
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
BREAKS = dict.fromkeys(map(ord, "\t\n\v\f\r\x85\u2028\u2029"), " ")
BARS = "▁▂▃▄▅▆▇█"
BARS_IN_ASCII = "_.-=*#"


def clean(text: str) -> str:
    """Make untrusted text safe to print: it cannot move the cursor, or colour, hide or reorder other text.

    Line breaks and tabs become spaces. Removed are whole escape sequences, control characters (C0, DEL, C1),
    bidirectional and other format characters, variation selectors, lone surrogates, private and unassigned characters.
    """
    if text.isascii() and text.isprintable():
        return text
    text = ESCAPE_SEQUENCE.sub("", text).translate(BREAKS)
    return "".join(character for character in text if is_plain(character))


def clean_lines(text: str) -> str:
    """Apply `clean` to each line of a text."""
    return "\n".join(map(clean, text.split("\n")))


def is_plain(character: str) -> bool:
    """Whether a character has no effect other than being shown."""
    return unicodedata.category(character)[0] != "C" and not (
        "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    )


KEPT_AT_THE_END = 3
"""Trailing characters preserved when a name is cut: -s0."""
LEAST_CELLS_OF_A_MIDDLE = 10


def cells(text: str) -> int:
    """Width of a text in terminal cells."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int, *, unicode: bool = True) -> str:
    """Cut a text to a width in cells, ending in an ellipsis."""
    if cells(text) <= width:
        return text
    sign = "…" if unicode else "~"
    kept, used = [], 1
    for character in text:
        used += cells(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept).rstrip() + sign if width > 0 else ""


def cut_in_the_middle(text: str, width: int, *, unicode: bool = True) -> str:
    """Cut a name to a width but keep its end, where the seed is."""
    if cells(text) <= width or width < LEAST_CELLS_OF_A_MIDDLE:
        return cut(text, width, unicode=unicode)
    end = text[-KEPT_AT_THE_END:]
    return cut(text[:-KEPT_AT_THE_END], width - cells(end), unicode=unicode) + end


def ago(seconds: float | None) -> str:
    """Age in words: just now, 5 min ago, 2 h ago, 3 d ago."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now" if seconds < 10 else f"{int(seconds)} s ago"


def count(n: float | None) -> str:
    """Count in three digits: 999, 272 k, 1.73 M, 555 M, 41.2 G."""
    if n is None or not math.isfinite(n):
        return UNKNOWN
    if abs(n) < 1000:
        return f"{n:g}" if n == int(n) else f"{n:.3g}"
    return in_three_digits(n, 1000, ("", "k", "M", "G", "T", "P", "E"))


def percent(value: float | None, digits: int = 2) -> str:
    """Format a value already in percent: 8.08 %."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}f} %"


def mean_std(values: Sequence[float], *, unit: str = "") -> str:
    """Mean and sample standard deviation with the number of values: 8.08 ± 0.12 (n=3), 8.08 (n=1).

    Args:
        unit: Put behind the mean, with its space: 8.08 % ± 0.12 (n=3).
    """
    number = len(values)
    if not number:
        return UNKNOWN
    if not all(map(math.isfinite, values)):
        return f"not finite (n={number})"
    mean = math.fsum(value / number for value in values)
    if number == 1:
        return f"{mean:.2f}{unit} (n=1)"
    std = math.hypot(*(value - mean for value in values)) / math.sqrt(number - 1)
    return f"{mean:.2f}{unit} ± {std:.2f} (n={number})"


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    align: str,
    max_width: int | None = None,
    unicode: bool = True,
) -> str:
    """Align text in columns, two spaces apart and measured in cells; every text is cleaned.

    Args:
        header: A title for each column.
        rows: One text for each column.
        align: "<" or ">" for each column.
        max_width: Maximum cells of a line; the widest columns are cut to fit. None: no limit.
        unicode: Whether to use Unicode for the ellipsis.

    Raises:
        ValueError: a row or align differs from the header in its number of columns.
    """
    lines = [[clean(text) for text in line] for line in (header, *rows)]
    if len(align) != len(header) or any(len(line) != len(header) for line in lines):
        found = sorted({len(align), *map(len, lines)})
        raise ValueError(f"header, align and every row must have the same number of columns, got {found}")
    widths = [max(map(cells, column)) for column in zip(*lines, strict=True)]
    if max_width is not None:
        widths = narrowed(widths, max_width - 2 * (len(widths) - 1))
    texts = []
    for line in lines:
        parts = [
            aligned(cut(text, width, unicode=unicode), width, side)
            for text, width, side in zip(line, widths, align, strict=True)
        ]
        text = "  ".join(parts).rstrip()
        texts.append(text if max_width is None else cut(text, max_width, unicode=unicode))
    return "\n".join(texts)


def narrowed(widths: list[int], room: int) -> list[int]:
    """Shrink the widest columns until they fit the room or all are one cell wide."""
    widths = list(widths)
    while sum(widths) > room and max(widths) > 1:
        widest = max(widths)
        widths[widths.index(widest)] = widest - 1
    return widths


def aligned(text: str, width: int, side: str) -> str:
    """Pad a text with spaces to a width in cells."""
    space = " " * (width - cells(text))
    return space + text if side == ">" else text + space


def progress_bar(fraction: float | None, width: int, unicode: bool = True) -> str:
    """Progress bar of a width in cells, full only at 100 %: ▇▇▇▇▁▁."""
    share = 0.0 if fraction is None or math.isnan(fraction) else min(max(fraction, 0.0), 1.0)
    # Half a millionth of a cell absorbs rounding errors, as in 0.29 of 100.
    done = int(share * max(width, 0) + 5e-7)
    full, empty = ("▇", "▁") if unicode else ("#", ".")
    return full * done + empty * (max(width, 0) - done)


def supports_unicode(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream can show braille dots and block characters.

    The locale and the stream's encoding decide. Python itself sets LC_CTYPE to C.UTF-8 in the C locale (PEP 538), so
    beside LANG=C it is ignored. With no locale set, as in most containers, the encoding alone decides. The font of the
    Linux console has no braille.
    """
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "").replace("_", "")
    if encoding not in ("utf8", "utf16") or environ.get("TERM") == "linux":
        return False
    language, kind = environ.get("LANG", ""), environ.get("LC_CTYPE", "")
    if kind.upper().replace("-", "") in ("C.UTF8", "UTF8") and language in ("C", "POSIX"):
        kind = ""
    locale = environ.get("LC_ALL") or kind or language
    return not locale or "UTF8" in locale.upper().replace("-", "")


def can_redraw(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether lines of a stream can be drawn again; with TERM=dumb, as screen readers set it, each is said once."""
    return environ.get("TERM") != "dumb" and stream.isatty()


def supports_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to write ANSI colours: NO_COLOR forbids them, then FORCE_COLOR forces them, else only on a terminal.

    Source: no-color.org and force-color.org, in the order of CPython 3.13; FORCE_COLOR=0 forces nothing.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "") not in ("", "0"):
        return True
    return can_redraw(stream, environ)
