"""What a user has said about runs, as it is shown, and as it is typed."""

from __future__ import annotations

from collections.abc import Sequence

from console.formatting import cells, clean, cut, cut_in_the_middle
from engine.base.errors import UsageError
from engine.runs.run import Run
from engine.spec.labels import check_tag

NOTE_CELLS = 40
"""Of a note in a table; `show` has all of it."""


def star(run: Run, *, unicode: bool = True) -> str:
    """The sign of a starred run, with a space behind it; empty of another."""
    return ("★ " if unicode else "* ") if run.starred else ""


def tags_and_note(run: Run, *, unicode: bool = True) -> str:
    """Tags, then the note in quotes; empty where there is neither."""
    note = f'"{cut(clean(run.notes), NOTE_CELLS, unicode=unicode)}"' if run.notes else ""
    return " ".join([*(f"+{clean(tag)}" for tag in run.tags), *([note] if note else [])])


def name_and_labels(run: Run, *, unicode: bool = True) -> str:
    """Name with star, tags and note, the most important first, so that it can be cut."""
    return f"{star(run, unicode=unicode)}{clean(run.name)}  {tags_and_note(run, unicode=unicode)}".rstrip()


def fitted_name_and_labels(run: Run, width: int, *, unicode: bool = True) -> str:
    """The same within so many cells: tags and note go first, then the middle of the name, and its seed stays."""
    name = f"{star(run, unicode=unicode)}{clean(run.name)}"
    if cells(name) > width:
        return cut_in_the_middle(name, width, unicode=unicode)
    return cut(name_and_labels(run, unicode=unicode), width, unicode=unicode)


def parse_tags(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tags to add and to take away, from `+word` and `-word`.

    Raises:
        UsageError: a word has no sign, cannot be a tag, or is both added and taken away.
    """
    for word in words:
        if word[:1] not in ("+", "-"):
            raise UsageError(f"a tag is added as +{word} and taken away as -{word}")
        check_tag(word[1:])
    add = tuple(word[1:] for word in words if word[0] == "+")
    remove = tuple(word[1:] for word in words if word[0] == "-")
    for tag in add:
        if tag in remove:
            raise UsageError(f"tag {tag!r} is both added and taken away")
    return add, remove
