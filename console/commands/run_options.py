"""The options that say which runs are meant, the same for every command that takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, get_type_hints

import typer

from console.planning.options import BY_NAME, OPTIONS, Asked, Option, flag_named

TYPES: dict[str, type] = {"text": str, "whole": int, "number": float, "yes/no": bool, "size": str}


def takes_runs(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the table before its own; it gets what they ask for as its first argument.

    A command with an option of the name `listed` gets None there where that option is given, which excludes the others.
    """
    _, *own = inspect.signature(command).parameters.values()

    def with_options(**given: Any) -> None:
        typed = {name: given.pop(name) for name in BY_NAME}
        # An option left out is None, or the default that --help shows.
        typed = {name: value for name, value in typed.items() if value not in (None, [], BY_NAME[name].default)}
        if given.get("listed") is None:
            with naming_options():
                command(asked_for(typed), **given)
            return
        refuse_beside_a_list(list(typed))
        command(None, **given)

    hints = get_type_hints(command, include_extras=True)
    parameters = [
        *map(parameter_of, OPTIONS),
        *(one.replace(annotation=hints[one.name], kind=inspect.Parameter.KEYWORD_ONLY) for one in own),
    ]
    with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
    # Typer reads both.
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def parameter_of(option: Option) -> inspect.Parameter:
    """An option as Typer reads it from a signature."""
    kind: Any = list[str] if option.many else TYPES[option.kind]
    default = None if option.many else option.default
    if default is None:
        kind = kind | None
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, typer.Option(*option.declared, help=option.help)],
    )


def asked_for(typed: dict[str, Any]) -> Asked:
    """What options ask for.

    Raises:
        UsageError: no architecture is named, or a text gives no value.
    """
    from engine.base.errors import UsageError

    values = {name: value_of(BY_NAME[name], value) for name, value in typed.items()}
    if not values.get("architectures"):
        raise UsageError("an architecture is needed: -a resnet,plain")
    return Asked(**values)


def value_of(option: Option, typed: Any) -> Any:
    """The value of an option from what Typer made of it."""
    if option.many:
        return option.parse(",".join(typed))
    return option.parse(typed) if isinstance(typed, str) else typed


def refuse_beside_a_list(names: list[str]) -> None:
    """Refuse options that would change what a list of runs says in full.

    Raises:
        UsageError: there are some.
    """
    from engine.base.errors import UsageError

    if names:
        words = ", ".join(BY_NAME[name].flag for name in names)
        raise UsageError(f"--from trains the runs as the file says: leave out {words}")


@contextmanager
def naming_options() -> Iterator[None]:
    """Name the option instead of the field in errors about one.

    Raises:
        UsageError: the one from within, in these words.
    """
    from engine.base.errors import UsageError
    from engine.spec.errors import InvalidField

    try:
        yield
    except InvalidField as error:
        raise UsageError(flag_named(error)) from error


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
RunArguments = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Ids, beginnings of ids, names, or experiment/name.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="An id, the beginning of one, or a name.")]
ExperimentOption = Annotated[
    str | None, typer.Option("-e", "--experiment", help="Its name; one that exists gets the runs added.")
]
