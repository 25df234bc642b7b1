"""The filter of the run table: words, and key:value pairs, all of which must fit."""

from __future__ import annotations

from collections.abc import Callable

from console.formatting import clean
from console.states import state
from engine.errors import UsageError
from engine.run import Run
from models import catalog

KEYS: dict[str, Callable[[Run, float], str]] = {
    "arch": lambda run, _now: run.spec.model.architecture.value,
    "depth": lambda run, _now: str(run.spec.model.depth),
    "seed": lambda run, _now: str(run.spec.seed),
    "width": lambda run, _now: str(run.spec.model.width),
    "status": state,
    "exp": lambda run, _now: run.experiment,
    "name": lambda run, _now: run.name,
    "data": lambda run, _now: run.spec.data.name,
    "recipe": lambda run, _now: run.spec.recipe.name,
    "device": lambda run, _now: run.device or "",
}
"""What a key looks at, at a time of day. A value fits where it is equal, or begins or ends with `*` and fits there."""


def parse_filter(text: str) -> Callable[[Run, float], bool]:
    """What a run must be to be shown: `arch:plain,he-plain depth:56 status:running word`.

    A comma means or; a space means and; a bare word is looked for in id, name, experiment, network and status.

    Raises:
        UsageError: a key is not known; the text lists those there are.
    """
    tests: list[Callable[[Run, float], bool]] = []
    for word in text.lower().split():
        key, colon, value = word.partition(":")
        if not colon:
            tests.append(lambda run, now, word=word: word in haystack(run, now))  # type: ignore[misc]
        elif key not in KEYS:
            import difflib

            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {near[0]}? Keys are" if near else "keys are"
            raise UsageError(f"filter key {key!r} is not known: {hint} {', '.join(KEYS)}")
        elif value:
            wanted = tuple(part for part in value.split(",") if part)
            look = KEYS[key]
            tests.append(
                lambda run, now, look=look, wanted=wanted: any(fits(look(run, now).lower(), one) for one in wanted)  # type: ignore[misc]
            )
    return lambda run, now: all(test(run, now) for test in tests)


def haystack(run: Run, now: float) -> str:
    """Where a bare word is looked for."""
    return (
        f"{run.id} {clean(run.name)} {clean(run.experiment)} {catalog.label(run.spec.model)} {state(run, now)}".lower()
    )


def fits(value: str, wanted: str) -> bool:
    """Whether a value is what was wanted, with `*` at either end for anything."""
    begin, end = wanted.endswith("*"), wanted.startswith("*")
    core = wanted.strip("*")
    if begin and end:
        return core in value
    if begin:
        return value.startswith(core)
    return value.endswith(core) if end else value == core
