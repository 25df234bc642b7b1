"""Options shared by commands: those of a run, from the table in `planning.options`, and common arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, get_type_hints

import typer

from console.planning.option import Option
from console.planning.options import BY_NAME, OPTIONS, RunOptions, flag_named
from engine.base.errors import UsageError

METAVARS = {"text": "NAME", "whole": "N", "number": "X", "size": "SIZE"}
TYPES: dict[str, type] = {"text": str, "whole": int, "number": float, "yes/no": bool, "size": str}


def takes_runs(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the table to a command, which receives them as its first argument, a RunOptions.

    If the command has an option `listed` and it is given, the first argument is None and no table option is allowed.
    """
    _, *own = inspect.signature(command).parameters.values()

    def with_options(**given: Any) -> None:
        typed = {name: given.pop(name) for name in BY_NAME}
        typed = {name: value for name, value in typed.items() if value not in (None, [])}
        if given.get("listed") is None:
            with errors_naming_options():
                command(parse_options(typed), **given)
            return
        refuse_with_list(list(typed))
        command(None, **given)

    hints = get_type_hints(command, include_extras=True)
    parameters = [
        *map(parameter_of, OPTIONS),
        *(one.replace(annotation=hints[one.name], kind=inspect.Parameter.KEYWORD_ONLY) for one in own),
    ]
    with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
    # Typer reads both attributes.
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def parameter_of(option: Option) -> inspect.Parameter:
    """Signature parameter from which Typer makes an option."""
    kind: Any = list[str] if option.many else TYPES[option.kind]
    # The default is only shown: one typed and one left out are different to `--from`.
    default = f"  [default: {option.text(option.default)}]" if option.default not in (None, (), False) else ""
    metavar = None if option.kind == "yes/no" else METAVARS[option.kind] + ",..." * option.many
    declared = typer.Option(*option.declared, help=f"{option.help}{default}", metavar=metavar)
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, declared]
    )


def parse_options(typed: dict[str, Any]) -> RunOptions:
    """Parse the values of options by name.

    Raises:
        UsageError: no architecture is given, or a value cannot be parsed.
    """
    values = {name: value_of(BY_NAME[name], value) for name, value in typed.items()}
    if not values.get("architectures"):
        raise UsageError("an architecture is needed, such as -a resnet,plain")
    return RunOptions(**values)


def value_of(option: Option, typed: Any) -> Any:
    """Parse an option's value as received from Typer."""
    if option.many:
        return option.parse(",".join(typed))
    return option.parse(typed) if isinstance(typed, str) else typed


def refuse_with_list(names: list[str]) -> None:
    """Refuse options beside `--from`, whose file specifies runs completely.

    Raises:
        UsageError: `names` is not empty.
    """
    if names:
        flags = ", ".join(BY_NAME[name].flag for name in names)
        raise UsageError(f"--from trains runs exactly as the file specifies: leave out {flags}")


@contextmanager
def errors_naming_options() -> Iterator[None]:
    """Replace the field by its command-line option in validation errors.

    Raises:
        UsageError: an InvalidField was raised inside.
    """
    from engine.spec.errors import InvalidField

    try:
        yield
    except InvalidField as error:
        raise UsageError(flag_named(error)) from error


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
LastOption = Annotated[
    int | None, typer.Option("--last", min=2, metavar="N", help="Also show means of the last N epochs, such as 5.")
]
RunArguments = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Ids, beginnings of ids, names, or experiment/name.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="An id, the beginning of one, or a name.")]
ClaimOption = Annotated[
    list[str] | None,
    typer.Option("--claim", metavar="A:B[:METRIC]", help="Another claim, decided on before training."),
]
RunsOrExperiments = Annotated[
    list[str] | None, typer.Argument(metavar="[RUN|EXPERIMENT]...", help="Default: the newest experiment.")
]
ExperimentOption = Annotated[
    str | None, typer.Option("-e", "--experiment", help="Experiment; an existing one gets these runs, too.")
]
