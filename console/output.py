"""Standard output is data, standard error is narration."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

SCHEMA = 1
"""Of every JSON document that a command prints; changes when a field changes its meaning or goes."""


def print_json(document: dict[str, Any]) -> None:
    """Print a document for programs, with the version of its schema first."""
    encoded = msgspec.json.format(msgspec.json.encode({"schema": SCHEMA, **document}), indent=2)
    sys.stdout.write(encoded.decode() + "\n")
    sys.stdout.flush()


def narrate(text: str) -> None:
    """Tell a person what goes on."""
    print(text, file=sys.stderr, flush=True)
