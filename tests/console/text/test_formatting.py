"""Numbers and names as they appear in tables and sentences."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from console.text import formatting
from console.text.formatting import (
    ago,
    byte_size,
    clean,
    count,
    cut_in_the_middle,
    duration,
    mean_std,
    percent,
    progress_bar,
    supports_colour,
    supports_unicode,
    table,
)

floats = st.floats(allow_nan=True, allow_infinity=True)


@given(st.text(st.characters(), max_size=80))
def test_clean_text_can_do_nothing_to_a_terminal(text: str):
    """Names and logs come from outside and get printed."""
    cleaned = clean(text)

    assert all(unicodedata.category(character)[0] != "C" for character in cleaned)
    assert not set("\u2028\u2029") & set(cleaned)
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resnet110 ± 漢字", "resnet110 ± 漢字"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1b]0;owned\x07name", "name"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\tb\r\nc", "a b  c"),
        ("abc\u202edcba\u2066", "abcdcba"),
        ("zero\u200bwidth\ufeff\u00ad", "zerowidth"),
        ("half \ud800 pair", "half  pair"),
        ("\x1b]never ended", "never ended"),
    ],
)
def test_clean_keeps_what_is_written(text: str, expected: str):
    """Only characters with effects are removed, not readable ones."""
    assert clean(text) == expected


def test_cleaning_takes_time_in_proportion():
    """A log line of megabytes with unfinished escapes must not stop the console."""
    assert len(clean("\x1b]" * 200_000)) <= 400_000
    assert len(clean("\x1b[" + "1" * 400_000)) <= 400_002


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (0.25, "0.2 s"),
        (3.21, "3.2 s"),
        (9.96, "10 s"),
        (41, "41 s"),
        (59.7, "1m00"),
        (725, "12m05"),
        (3599.7, "1h00"),
        (7980, "2h13"),
        (86_399, "1 d 0 h"),
        (3 * 86_400 + 4 * 3600, "3 d 4 h"),
        (-41, "-41 s"),
        (None, "-"),
        (math.inf, "-"),
    ],
)
def test_duration_reads_in_two_units(seconds: float | None, expected: str):
    """Rounding carries over: never 60 s or 24h00."""
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (272_474, "272 k"),
        (999_600, "1.00 M"),
        (1_730_714, "1.73 M"),
        (555_422_720, "555 M"),
        (-1500, "-1.50 k"),
        (math.nan, "-"),
        (None, "-"),
    ],
)
def test_count_has_three_digits(number: float | None, expected: str):
    """As papers write parameters and MACs."""
    assert count(number) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1.5 * 2**30, "1.50 GiB"), (139 * 2**30, "139 GiB")],
)
def test_byte_size_is_binary(size: float, expected: str):
    """Memory is measured in powers of 1024."""
    assert byte_size(size) == expected


def test_mean_says_over_how_many():
    """A single seed has no spread and must not appear to have one."""
    assert mean_std([8.2, 7.96, 8.08]) == "8.08 ± 0.12 (n=3)"
    assert mean_std([8.08]) == "8.08 (n=1)"
    assert mean_std([]) == "-"
    assert mean_std([1.0, math.nan]) == "not finite (n=2)"


@given(floats)
def test_any_float_is_formatted(value: float):
    """A figure that cannot be shown must not end a command."""
    for text in (duration(value), count(value), byte_size(value), percent(value), ago(value)):
        assert text
        assert text.isascii()
    assert mean_std([value, 1.0, -1.0])


def test_percent_and_ago_read_naturally():
    """Shares are in percent throughout."""
    assert percent(8.084) == "8.08 %"
    assert percent(90, 0) == "90 %"
    assert percent(None) == "-"
    assert [ago(seconds) for seconds in (3, 30, 300, 7200, 300_000)] == [
        "just now",
        "30 s ago",
        "5 min ago",
        "2 h ago",
        "3 d ago",
    ]


def test_table_aligns_by_cells():
    """A wide character takes two cells, so counting characters would misalign columns."""
    text = table(["name", "error"], [["漢字", "8.1"], ["plain", "10.25"]], align="<>")

    assert text.split("\n") == ["name   error", "漢字     8.1", "plain  10.25"]


cells = st.text(max_size=30)


@given(
    rows=st.lists(st.tuples(cells, cells, cells), max_size=6),
    width=st.none() | st.integers(0, 60),
)
def test_table_is_never_wider_than_asked(rows: list[tuple[str, str, str]], width: int | None):
    """Rows must not wrap."""
    text = table(["name", "status", "test error"], rows, align="<<>", max_width=width)

    lines = text.split("\n")
    assert len(lines) == 1 + len(rows)
    assert width is None or all(cell_len(line) <= width for line in lines)


def test_table_cuts_its_widest_column_first():
    """Numbers stay whole as long as a long name can be cut."""
    text = table(["run", "error"], [["a name that goes on and on", "8.08 %"]], align="<>", max_width=20)

    assert text.split("\n")[1] == "a name that…  8.08 %"


def test_table_refuses_ragged_rows():
    """A missing cell would shift figures under other titles."""
    with pytest.raises(ValueError, match=r"got \[1, 2\]"):
        table(["a", "b"], [["1"]], align="<<")


def test_progress_bar_is_full_only_at_the_end():
    """A full bar at 99 % would be misleading."""
    assert progress_bar(0.7, 6) == "▇▇▇▇▁▁"
    assert progress_bar(0.999, 6) == "▇▇▇▇▇▁"
    assert progress_bar(1.0, 6, unicode=False) == "######"
    assert progress_bar(0.29, 100).count("▇") == 29
    assert progress_bar(math.nan, 4) == progress_bar(None, 4) == progress_bar(-1, 4) == "▁▁▁▁"
    assert progress_bar(0.5, -1) == ""


class Stream(io.StringIO):
    """A stream with an encoding, on a terminal or not."""

    def __init__(self, encoding: str, *, tty: bool) -> None:
        super().__init__()
        self._encoding, self._tty = encoding, tty

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._tty


@pytest.mark.parametrize(
    ("encoding", "environ", "expected"),
    [
        ("utf-8", {"LANG": "en_US.UTF-8"}, True),
        ("utf-8", {}, True),
        ("utf-8", {"LANG": "C"}, False),
        ("utf-8", {"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
        ("utf-8", {"LC_CTYPE": "C.UTF-8"}, True),
        ("utf-8", {"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, True),
        ("utf-8", {"LANG": "en_US.UTF-8", "LC_ALL": "POSIX"}, False),
        ("utf-8", {"LANG": "C.utf8"}, True),
        ("ascii", {"LANG": "en_US.UTF-8"}, False),
        ("iso-8859-1", {"LANG": "de_DE.ISO-8859-1"}, False),
        ("utf-8", {"LANG": "en_US.UTF-8", "TERM": "linux"}, False),
    ],
)
def test_unicode_follows_locale_and_encoding(encoding: str, environ: dict[str, str], expected: bool):
    """Plain ASCII is better than question marks."""
    assert supports_unicode(Stream(encoding, tty=True), environ) is expected


@pytest.mark.parametrize(
    ("tty", "environ", "expected"),
    [
        (True, {"TERM": "xterm-256color"}, True),
        (False, {"TERM": "xterm-256color"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "0"}, False),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_follows_the_conventions(tty: bool, environ: dict[str, str], expected: bool):
    """NO_COLOR is set by the user and overrides the rest."""
    assert supports_colour(Stream("utf-8", tty=tty), environ) is expected


def test_formatting_loads_nothing_heavy():
    """Every command imports it, even `ls` in a script."""
    heavy = {"rich", "textual", "numpy", "plotext", "torch"}
    program = f"import sys, {formatting.__name__}; print({heavy} & set(sys.modules))"

    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert output.strip() == "set()"


def test_a_name_is_cut_in_its_middle():
    """Two seeds of a network stay distinguishable."""
    assert cut_in_the_middle("he-plain56-w8-nonorm-s1", 17) == "he-plain56-w8…-s1"
    assert cut_in_the_middle("he-plain56-w8-nonorm-s1", 17, unicode=False) == "he-plain56-w8~-s1"
    assert cut_in_the_middle("resnet20-s0", 17) == "resnet20-s0"
