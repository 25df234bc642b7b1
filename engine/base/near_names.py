"""Which of the names that there are a mistyped or unfinished one may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

MOST_BEGINNINGS = 4
"""Names that are shown of those that begin with what was typed."""


def hint(word: str, known: Sequence[str]) -> str:
    """A question for the end of an error: what begins with the word, or else what is nearest; empty where nothing is.

    Args:
        word: That is none of the names.
        known: The names, each once.
    """
    found = [name for name in known if word and name.startswith(word)]
    near = found[:MOST_BEGINNINGS] or difflib.get_close_matches(word, known, n=1)
    if not near:
        return ""
    more = f" or {len(found) - len(near)} more" if len(found) > len(near) else ""
    return f"; did you mean {', '.join(near)}{more}?"
