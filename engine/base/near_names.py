"""Suggestions for mistyped or incomplete names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

MAX_COMPLETIONS = 4
"""Limit on suggested names that begin with what was typed."""


def hint(word: str, known: Sequence[str], meant: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return "; did you mean ...?" for the end of an error: names that begin with the word, or else the closest one.

    Empty if no name is close.

    Args:
        word: What was typed; not one of the names.
        known: Valid names, without duplicates.
        meant: What to suggest for a name; None, or without an entry, the name itself.
    """

    def suggested(names: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(one for name in names for one in (meant or {}).get(name, (name,))))

    found = suggested([name for name in known if word and name.startswith(word)])
    near = found[:MAX_COMPLETIONS] or suggested(difflib.get_close_matches(word, known, n=1))
    if not near:
        return ""
    more = f" or {len(found) - len(near)} more" if len(found) > len(near) else ""
    return f"; did you mean {', '.join(near)}{more}?"
