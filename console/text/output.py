"""Standard output is data, standard error is narration."""

from __future__ import annotations

import re
import sys
from typing import Any

import msgspec

from console.text.formatting import clean_lines

SCHEMA = 1
"""Of every JSON document that a command prints; changes when a field changes its meaning or goes."""

COMMANDS_TO_TERMINALS = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that move, hide or turn text rather than stand in it; JSON has another word for each."""


def print_json(document: dict[str, Any]) -> None:
    """Print a document for programs, with the version of its schema first."""
    encoded = msgspec.json.format(msgspec.json.encode({"schema": SCHEMA, **document}), indent=2)
    # The encoder writes those from 0x80 on as they are, and a terminal may take them for commands.
    sys.stdout.write(COMMANDS_TO_TERMINALS.sub(lambda one: f"\\u{ord(one[0]):04x}", encoded.decode()) + "\n")
    sys.stdout.flush()


def narrate(text: str) -> None:
    """Tell a person what goes on; names and errors from outside may be part of it."""
    print(clean_lines(text), file=sys.stderr, flush=True)


def narrate_behind_ctrl_c(text: str) -> None:
    """Tell what was left by Ctrl-C, on a line of its own: a terminal has echoed `^C` before it."""
    narrate(f"\n{text}" if sys.stderr.isatty() else text)
