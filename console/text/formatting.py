"""Numbers and outside text as people read them; imports nothing heavy, knows no terminal library."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TextIO

from engine.base.units import UNKNOWN as UNKNOWN
from engine.base.units import byte_size as byte_size

# Named again because amounts are read beside every other number; the engine writes them in its messages too.
from engine.base.units import duration as duration
from engine.base.units import in_three_digits

ESCAPE_SEQUENCE = re.compile(
    # A command to the terminal: CSI, a string (OSC, DCS, APC, PM, SOS) with what ends it, or a short escape.
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
BREAKS = dict.fromkeys(map(ord, "\t\n\v\f\r\x85\u2028\u2029"), " ")
BARS = "▁▂▃▄▅▆▇█"
BARS_IN_ASCII = "_.-=*#"


def clean(text: str) -> str:
    """Outside text as it may be printed: nothing in it moves the cursor, colours, hides or turns what is around it.

    Escape sequences go whole, line breaks and tabs become a space, and control characters (C0, DEL, C1), bidirectional
    and other format characters, variation selectors, lone surrogates, private and unassigned characters go.
    """
    if text.isascii() and text.isprintable():
        return text
    text = ESCAPE_SEQUENCE.sub("", text).translate(BREAKS)
    return "".join(character for character in text if is_plain(character))


def clean_lines(text: str) -> str:
    """Outside text of several lines as it may be printed: each as by `clean`."""
    return "\n".join(map(clean, text.split("\n")))


def is_plain(character: str) -> bool:
    """Whether a character only shows itself."""
    return unicodedata.category(character)[0] != "C" and not (
        "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    )


KEPT_AT_THE_END = 3
"""Characters of a name that is cut: -s0."""
LEAST_CELLS_OF_A_MIDDLE = 10


def cells(text: str) -> int:
    """Cells that a text takes in a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int, *, unicode: bool = True) -> str:
    """Text within so many cells; an ellipsis says where it was cut."""
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
    """A name within so many cells, with its end, where runs differ by their seeds."""
    if cells(text) <= width or width < LEAST_CELLS_OF_A_MIDDLE:
        return cut(text, width, unicode=unicode)
    end = text[-KEPT_AT_THE_END:]
    return cut(text[:-KEPT_AT_THE_END], width - cells(end), unicode=unicode) + end


def ago(seconds: float | None) -> str:
    """How long something is past: just now, 5 min ago, 2 h ago, 3 d ago."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now" if seconds < 10 else f"{int(seconds)} s ago"


def count(n: float | None) -> str:
    """A number of things in three digits: 999, 272 k, 1.73 M, 555 M, 41.2 G."""
    if n is None or not math.isfinite(n):
        return UNKNOWN
    if abs(n) < 1000:
        return f"{n:g}" if n == int(n) else f"{n:.3g}"
    return in_three_digits(n, 1000, ("", "k", "M", "G", "T", "P", "E"))


def percent(value: float | None, digits: int = 2) -> str:
    """A share that is in percent already: 8.08 %."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}f} %"


def mean_std(values: Sequence[float], digits: int = 2, *, unicode: bool = True) -> str:
    """Mean and sample standard deviation with the number of values: 8.08 ± 0.12 (n=3), 8.08 (n=1)."""
    number = len(values)
    if not number:
        return UNKNOWN
    if not all(map(math.isfinite, values)):
        return f"not finite (n={number})"
    mean = math.fsum(value / number for value in values)
    if number == 1:
        return f"{mean:.{digits}f} (n=1)"
    std = math.hypot(*(value - mean for value in values)) / math.sqrt(number - 1)
    return f"{mean:.{digits}f} {'±' if unicode else '+-'} {std:.{digits}f} (n={number})"


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    align: str,
    max_width: int | None = None,
    rule: bool = False,
    unicode: bool = True,
) -> str:
    """Columns of text, two spaces apart, measured in cells; outside text in it is cleaned.

    Args:
        header: A title for each column.
        rows: As many texts each.
        align: "<" or ">" for each column.
        max_width: Cells of a line; the widest columns are cut until it fits. None: as wide as need be.
        rule: Draw a line under the header.
        unicode: Whether signs other than ASCII may be added.

    Raises:
        ValueError: a row or align has another number of columns than the header, which would shift what follows.
    """
    lines = [[clean(text) for text in line] for line in (header, *rows)]
    if len(align) != len(header) or any(len(line) != len(header) for line in lines):
        found = sorted({len(align), *map(len, lines)})
        raise ValueError(f"header, align and every row must have the same number of columns, got {found}")
    widths = [max(map(cells, column)) for column in zip(*lines, strict=True)]
    if max_width is not None:
        widths = narrowed(widths, max_width - 2 * (len(widths) - 1))
    if rule:
        lines.insert(1, [("─" if unicode else "-") * width for width in widths])
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
    """Widths with the widest made narrower until all are within the room, or nothing is left to take."""
    widths = list(widths)
    while sum(widths) > room and max(widths) > 1:
        widest = max(widths)
        widths[widths.index(widest)] = widest - 1
    return widths


def aligned(text: str, width: int, side: str) -> str:
    """Text filled up with spaces to so many cells."""
    space = " " * (width - cells(text))
    return space + text if side == ">" else text + space


def progress_bar(fraction: float | None, width: int, unicode: bool = True) -> str:
    """A bar of so many cells, full only when all is done: ▇▇▇▇▁▁."""
    share = 0.0 if fraction is None or math.isnan(fraction) else min(max(fraction, 0.0), 1.0)
    # Half a millionth of a cell makes up for the rounding of shares such as 0.29 of 100.
    done = int(share * max(width, 0) + 5e-7)
    full, empty = ("▇", "▁") if unicode else ("#", ".")
    return full * done + empty * (max(width, 0) - done)


def sparkline(values: Sequence[float], *, unicode: bool = True) -> str:
    """A cell for each value, higher where it is greater; a space where it is not finite."""
    bars = BARS if unicode else BARS_IN_ASCII
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return " " * len(values)
    low, high = min(finite), max(finite)
    # Quarters, for the distance between two floats may exceed the largest; one value is in the middle.
    span = high / 4 - low / 4
    shares = ((value / 4 - low / 4) / span if span else 0.5 for value in values if math.isfinite(value))
    return "".join(
        bars[min(int(next(shares) * len(bars)), len(bars) - 1)] if math.isfinite(value) else " " for value in values
    )


def supports_unicode(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether braille dots and block characters reach the reader of a stream.

    The locale decides, and the stream's encoding. Python itself sets LC_CTYPE to C.UTF-8 where the locale is C
    (PEP 538), so beside LANG=C that says nothing. Without any locale set the encoding alone decides, as in most
    containers. The Linux console has no braille in its font.
    """
    if (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "").replace("_", "") not in (
        "utf8",
        "utf16",
    ):
        return False
    if environ.get("TERM") == "linux":
        return False
    language, kind = environ.get("LANG", ""), environ.get("LC_CTYPE", "")
    if kind.upper().replace("-", "") in ("C.UTF8", "UTF8") and language in ("C", "POSIX"):
        kind = ""
    locale = environ.get("LC_ALL") or kind or language
    return not locale or "UTF8" in locale.upper().replace("-", "")


def supports_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a stream takes ANSI colours: NO_COLOR says no, else FORCE_COLOR yes, else it must be a terminal.

    Source: no-color.org and force-color.org, in the order of CPython 3.13; FORCE_COLOR=0 forces nothing.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "") not in ("", "0"):
        return True
    return environ.get("TERM") != "dumb" and stream.isatty()
