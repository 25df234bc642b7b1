"""One option of a run: its declaration for Typer and the form, its parsing and its printing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from engine.base.paths import Home

Kind = Literal["text", "whole", "number", "yes/no", "size"]
Group = Literal["network", "run", "training", "data", "device"]
GROUPS: tuple[Group, ...] = ("network", "run", "training", "data", "device")
"""In the order of the form: what every experiment sets comes first."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of `train` and `plan`, usually also a field of the form."""

    name: str
    help: str
    """At most 60 characters."""
    group: Group
    """What it belongs to; the form shows it under this heading."""
    flags: tuple[str, ...] = ()
    """As typed, with a negation after a slash; default: derived from the name."""
    kind: Kind = "text"
    many: bool = False
    """Whether it takes a list: comma-separated, repeated, or both."""
    crossed: bool = False
    """Whether runs are made for each value, in every combination with the other lists."""
    default: Any = None
    fills: str = ""
    """Part and field of the spec that the option sets, such as `recipe.epochs`."""
    in_form: bool = True
    """Whether it is a field of the form; otherwise the command line alone has it."""
    rare: bool = False
    """Whether the form shows it only after its group is unfolded."""
    label: str = ""
    """Name in the form; default: the name without underscores."""
    placeholder: str = ""
    """Shown in an empty field of the form; recipe fields show the recipe's value instead."""
    enum: Callable[[], type[StrEnum]] | None = None
    """Enumeration of its values, loaded when needed; otherwise what it fills checks the text."""
    choices: Callable[[Home], Sequence[str]] | None = None
    """Values to choose from in the form; None makes a text field."""
    unset: str = ""
    """Label of the form's choice that leaves the option out."""
    wanted: str = ""
    """Description of valid numbers, for errors."""

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name.replace("_", " "))

    @property
    def declared(self) -> tuple[str, ...]:
        """Flags as declared to Typer."""
        return self.flags or ("--" + self.name.replace("_", "-"),)

    @property
    def flag(self) -> str:
        """The long flag, for errors."""
        return self.declared[-1].split("/")[0]

    @property
    def part(self) -> str:
        """Part of the spec: model, data, recipe or run."""
        return self.fills.partition(".")[0]

    @property
    def field(self) -> str:
        """Field within that part."""
        return self.fills.partition(".")[2]

    def parse(self, text: str) -> Any:
        """Parse a value.

        Raises:
            InvalidField: the text is not a valid value.
        """
        if not self.many:
            return self.parse_one(text.strip())
        return tuple(self.parse_one(word) for word in split_values([text]))

    def parse_one(self, word: str) -> Any:
        """Parse a single value, or one value of a list."""
        from engine.base.units import parse_size
        from engine.spec.errors import InvalidField

        try:
            match self.kind:
                case "whole":
                    if not word.isascii() or not word.isdigit():
                        wanted = "whole numbers such as 20,56" if self.many else "a whole number"
                        raise ValueError(f"{self.name} must be {wanted}, got {word!r}")
                    return int(word)
                case "number":
                    try:
                        return float(word)
                    except ValueError:
                        raise ValueError(f"{self.name} must be {self.wanted or 'a number'}, got {word!r}") from None
                case "yes/no":
                    if word not in ("yes", "no"):
                        raise ValueError(f"{self.name} must be yes or no, got {word!r}")
                    return word == "yes"
                case "size":
                    return parse_size(word, self.name)
                case "text":
                    return word if self.enum is None else self.member(word, self.enum())
        except ValueError as error:
            raise InvalidField(self.name, text=str(error)) from error

    def member(self, word: str, values: type[StrEnum]) -> StrEnum:
        """Parse the name of an enumeration's member."""
        if word not in list(values):
            unset = f", or left out for {self.unset}" if self.unset else ""
            raise ValueError(f"{self.name} must be one of {', '.join(values)}{unset}, got {word!r}")
        return values(word)

    def text(self, value: Any) -> str:
        """Format a value so that `parse` reads it back; None gives an empty text."""
        if value is None:
            return ""
        if self.many:
            return ",".join(map(self.text_of_one, value))
        return self.text_of_one(value)

    def text_of_one(self, value: Any) -> str:
        """Format a single value, or one value of a list."""
        from engine.base.units import size_as_typed

        if isinstance(value, bool):
            return "yes" if value else "no"
        return size_as_typed(value) if self.kind == "size" else str(value)

    def arguments(self, value: Any) -> list[str]:
        """Command-line arguments that set a value."""
        shown = self.declared[0] if len(self.declared[0]) == 2 else self.declared[-1]
        if self.kind != "yes/no":
            return [shown, self.text(value)]
        on, _, off = shown.partition("/")
        return [on] if value else [off] if off else []


def split_values(given: Sequence[str]) -> list[str]:
    """Split comma-separated and repeated values, in order."""
    return [part.strip() for text in given for part in text.split(",") if part.strip()]
