"""Write data to stdout and narration to stderr."""

from __future__ import annotations

import re
import sys
from typing import Any

import msgspec

from console.text.formatting import clean_lines

SCHEMA = 1
"""Version of every JSON document; raised when a field is removed or changes meaning."""

TERMINAL_CONTROLS = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that move, hide or reorder text on a terminal; JSON can escape each of them."""


def print_json(document: dict[str, Any]) -> None:
    """Print a JSON document, schema version first."""
    encoded = msgspec.json.format(msgspec.json.encode({"schema": SCHEMA, **document}), indent=2)
    # msgspec leaves characters from 0x80 up unescaped, and a terminal may act on them.
    sys.stdout.write(TERMINAL_CONTROLS.sub(lambda one: f"\\u{ord(one[0]):04x}", encoded.decode()) + "\n")
    sys.stdout.flush()


def narrate(text: str) -> None:
    """Print a message to stderr, cleaned: it may quote outside names and errors."""
    print(clean_lines(text), file=sys.stderr, flush=True)


def narrate_after_ctrl_c(text: str) -> None:
    """Print a message after Ctrl-C on a new line, since a terminal has echoed `^C`."""
    narrate(f"\n{text}" if sys.stderr.isatty() else text)
