"""Rules for labels: names of runs and experiments, tags, notes."""

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
"""Characters with a meaning in filters."""


def check_label(name: str, what: str) -> None:
    """Check that a name can be shown in a table and typed in a shell.

    Raises:
        UsageError: the name is empty or too long, begins or ends with whitespace, or has control characters.
    """
    if not name or name != name.strip() or re.search(r"[\x00-\x1f\x7f-\x9f]", name):
        raise UsageError(f"{what} must be printable and not empty, got {name!r}")
    if len(name) > MAX_NAME_CHARACTERS:
        raise UsageError(f"{what} must have at most {MAX_NAME_CHARACTERS} characters, got {len(name)}")


def check_run_name(name: str) -> None:
    """Check the new name of a run.

    Raises:
        UsageError: as `check_label`, or it has a slash, which separates experiment and run.
    """
    check_label(name, "a run's name")
    if "/" in name:
        raise UsageError(f"a run's name must not contain /, as in experiment/run, got {name!r}")


def check_tag(tag: str) -> None:
    """Check that a filter can search for a tag.

    Raises:
        UsageError: the tag is not a single printable word, or begins with + - or !.
    """
    check_label(tag, "a tag")
    if NOT_IN_A_TAG.search(tag) or tag[0] in "+-!":
        raise UsageError(
            f"a tag must be one word without , : * quotes or brackets, not starting with + - !, got {tag!r}"
        )
    if len(tag) > MAX_TAG_CHARACTERS:
        raise UsageError(f"a tag must have at most {MAX_TAG_CHARACTERS} characters, got {len(tag)}")


def changed_tags(tags: Iterable[str], add: Iterable[str], remove: Iterable[str]) -> tuple[str, ...]:
    """Return a run's tags, sorted, after removing and adding some; case is ignored when matching.

    Raises:
        UsageError: the run would have too many tags.
    """
    gone = {tag.casefold() for tag in (*remove, *add)}
    added = {tag.casefold(): tag for tag in add}
    changed = sorted([*(tag for tag in tags if tag.casefold() not in gone), *added.values()])
    if len(changed) > MAX_TAGS:
        raise UsageError(f"a run must have at most {MAX_TAGS} tags, got {len(changed)}")
    return tuple(changed)


def cleaned_note(text: str) -> str:
    """Return a note on one line, without control characters.

    Raises:
        UsageError: the note is too long.
    """
    spaced = " ".join(text.split())
    note = "".join(character for character in spaced if unicodedata.category(character)[0] != "C")
    if len(note) > MAX_NOTE_CHARACTERS:
        raise UsageError(f"a note must have at most {MAX_NOTE_CHARACTERS} characters, got {len(note)}")
    return note
