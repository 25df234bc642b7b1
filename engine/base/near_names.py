"""Suggestions for mistyped or incomplete names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

MAX_COMPLETIONS = 4
"""Limit on suggested names that begin with what was typed."""


def hint(word: str, known: Sequence[str]) -> str:
    """Return "; did you mean ...?" for the end of an error: names that begin with the word, or else the closest one.

    Empty if no name is close.

    Args:
        word: What was typed; not one of the names.
        known: Valid names, without duplicates.
    """
    found = [name for name in known if word and name.startswith(word)]
    near = found[:MAX_COMPLETIONS] or difflib.get_close_matches(word, known, n=1)
    if not near:
        return ""
    more = f" or {len(found) - len(near)} more" if len(found) > len(near) else ""
    return f"; did you mean {', '.join(near)}{more}?"
