"""Which words may be said about a run: names of runs and experiments, tags, notes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from engine.base.errors import UsageError

MAX_NAME_CHARACTERS = 300
MAX_TAG_CHARACTERS = 40
MAX_TAGS = 20
MAX_NOTE_CHARACTERS = 2000
NOT_IN_A_TAG = re.compile(r"""[\s,:"'()*]""")
"""What separates words and values in a filter, or stands for others there."""


def check_label(name: str, what: str) -> None:
    """Refuse what could not be shown in a table or typed in a shell.

    Raises:
        UsageError: the name is empty, too long, or has white space at an end or control characters anywhere.
    """
    if not name or name != name.strip() or re.search(r"[\x00-\x1f\x7f-\x9f]", name):
        raise UsageError(f"{what} must be printable and not empty, got {name!r}")
    if len(name) > MAX_NAME_CHARACTERS:
        raise UsageError(f"{what} must have at most {MAX_NAME_CHARACTERS} characters, got {len(name)}")


def check_tag(tag: str) -> None:
    """Refuse what a filter could not look for.

    Raises:
        UsageError: the tag is no single printable word, or begins as the sign that adds or takes away.
    """
    check_label(tag, "a tag")
    if NOT_IN_A_TAG.search(tag) or tag[0] in "+-!":
        raise UsageError(f"a tag must be one word without , : * quotes and brackets, not begun by + - !, got {tag!r}")
    if len(tag) > MAX_TAG_CHARACTERS:
        raise UsageError(f"a tag must have at most {MAX_TAG_CHARACTERS} characters, got {len(tag)}")


def changed_tags(tags: Iterable[str], add: Iterable[str], remove: Iterable[str]) -> tuple[str, ...]:
    """A run's tags after some were taken away and some added, sorted; upper and lower case are one tag.

    Raises:
        UsageError: there would be too many.
    """
    gone = {tag.casefold() for tag in (*remove, *add)}
    added = {tag.casefold(): tag for tag in add}
    changed = sorted([*(tag for tag in tags if tag.casefold() not in gone), *added.values()])
    if len(changed) > MAX_TAGS:
        raise UsageError(f"a run must have at most {MAX_TAGS} tags, got {len(changed)}")
    return tuple(changed)


def cleaned_note(text: str) -> str:
    """A note in one line without control characters; what would move a cursor or hide text is gone.

    Raises:
        UsageError: it is too long.
    """
    spaced = " ".join(text.split())
    note = "".join(character for character in spaced if unicodedata.category(character)[0] != "C")
    if len(note) > MAX_NOTE_CHARACTERS:
        raise UsageError(f"a note must have at most {MAX_NOTE_CHARACTERS} characters, got {len(note)}")
    return note
