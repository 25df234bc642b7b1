"""The filter of runs, in the console and of `ls --where`: words, key:value pairs and comparisons; all must fit."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from console.text.filter_keys import KEYS, Key, Number, Words
from console.text.formatting import clean
from console.text.status import state
from engine.base.errors import UsageError
from engine.runs.run import Run
from models import catalog

KEY = re.compile(r"([a-z][a-z-]*)(:|<=|>=|!=|=|<|>)", re.IGNORECASE | re.ASCII)
SIGN = re.compile(r":|<=|>=|!=|=|<|>")
NUMBER = re.compile(r"(-?\d+(?:\.\d*)?(?:e-?\d+)?)([a-z%]*)")
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
MEANT = {"stopped": "cancelled, as `stop` leaves a run, or stopped-early, by its own rule"}
"""Words that are no value, and sound like one that means something else."""
MOST_VALUES = 6
"""Values of a key that are named where none fits."""

Test = Callable[[Run, float], bool]
"""Whether a run fits, at a time of the monotonic clock."""


class FilterError(UsageError):
    """A filter that cannot be read.

    Args:
        reason: What is wrong.
        text: The filter.
        at: Index of the character where it is wrong; len(text) where something is missing at the end.
    """

    def __init__(self, reason: str, text: str, at: int) -> None:
        shown = clean(f"{text[:at]}^{text[at:]}")
        super().__init__(f"filter, column {at + 1}: {reason}, at the ^ in: {shown}")
        self.reason = reason
        self.column = at + 1


def parse_filter(text: str) -> Test:
    """What a run must be to be shown: `arch:plain,he-plain depth>=56 !tag:bad test-error<10 "two words"`.

    A space means and, a comma or, `!` in front not; `*` at either end of a value stands for anything, and quotes keep
    spaces and commas together. A bare word is looked for in id, name, experiment, network, status, tags and note. A
    number that a run does not have fits nothing.

    Raises:
        FilterError: a key or value is not known, or something is missing; the text points at the place.
    """
    fits, error = parse_readable(text)
    if error is not None:
        raise error
    return fits


def parse_readable(text: str) -> tuple[Test, FilterError | None]:
    """What the terms ask for that stand before the first that cannot be read, and what is wrong with that one."""
    tests: list[Test] = []
    try:
        for _, test in parse_terms(text):
            tests.append(test)
    except FilterError as refused:
        return partial(fits_all, tests), refused
    return partial(fits_all, tests), None


def parse_terms(text: str) -> Iterator[tuple[int, Test]]:
    """Each term: the index where it begins, and what it asks for.

    Raises:
        FilterError: as `parse_filter`, once the term is reached that cannot be read.
    """
    at = 0
    while (at := at + len(text[at:]) - len(text[at:].lstrip())) < len(text):
        begin, unlike = at, text[at] == "!"
        test, at = parse_term(text, at + unlike)
        yield begin, partial(differs, test) if unlike else test


def parse_term(text: str, at: int) -> tuple[Test, int]:
    """One term that begins at an index, and the index behind it."""
    found = KEY.match(text, at)
    if found is None:
        check_spaces(text, at)
        word, end = parse_value(text, at, stops="")
        return partial(holds, word.lower()), end
    name, sign = found[1].lower(), found[2]
    key = KEYS.get(name)
    if key is None:
        near = difflib.get_close_matches(name, KEYS, n=1)
        hint = f"did you mean {near[0]}? Keys are" if near else "keys are"
        raise FilterError(f"key {name!r} is not known: {hint} {', '.join(KEYS)}", text, at)
    values: list[tuple[str, int]] = []
    end = found.end()
    if text[end:].strip() and text[end].isspace():
        raise FilterError(f"{found[0]}{text[end:].split()[0]} is written without spaces", text, end)
    while True:
        begin = end
        value, end = parse_value(text, begin, stops=",")
        values.append((value.lower(), begin))
        if text[end : end + 1] != ",":
            break
        end += 1
    if sign in COMPARISONS:
        return parse_comparison(text, name, key, sign, values, found.start(2)), end
    if isinstance(key, Number):
        equal: Test = partial(has_number, key, [parse_number(text, name, key, *value) for value in values])
    else:
        for value, begin in values:
            check_word(text, name, key, value, begin)
        equal = partial(has_word, key, [f"*{value}*" if key.within else value for value, _ in values])
    return partial(differs, equal) if sign == "!=" else equal, end


def check_spaces(text: str, at: int) -> None:
    """Refuse a term that begins with what stands between a key and its value, as in `depth >= 20`.

    Raises:
        FilterError: it does, and a key is before it or nothing behind it; in quotes it is a word like any other.
    """
    # The `!` of `!=` has been taken for a not.
    at -= text[max(0, at - 1) : at + 1] == "!="
    sign = SIGN.match(text, at)
    if sign is None:
        return
    name = "".join(text[:at].split()[-1:]).lower().removeprefix("!")
    value = "".join(text[sign.end() :].split()[:1])
    if name in KEYS:
        raise FilterError(f"{name}{sign[0]}{value} is written without spaces", text, at)
    if sign[0] != ":" and text[sign.end() : sign.end() + 1].strip() == "":
        raise FilterError(f"{sign[0]} stands between a key and a value, without spaces", text, at)


def parse_value(text: str, at: int, *, stops: str) -> tuple[str, int]:
    """A value or word at an index, in quotes or up to a space or one of the stops; and the index behind it.

    Raises:
        FilterError: nothing stands there, or a quote is not closed.
    """
    if text[at : at + 1] == '"':
        end = text.find('"', at + 1)
        if end < 0:
            raise FilterError("the quote is not closed", text, at)
        if text[end + 1 : end + 2] not in ("", " ", *stops):
            raise FilterError("a space is missing behind the quote", text, end + 1)
        return text[at + 1 : end], end + 1
    end = at
    while end < len(text) and not text[end].isspace() and text[end] not in stops:
        end += 1
    if end == at:
        raise FilterError("a value is missing", text, at)
    return text[at:end], end


def parse_comparison(text: str, name: str, key: Key, sign: str, values: list[tuple[str, int]], at: int) -> Test:
    """A number that is to be above or below another.

    Raises:
        FilterError: the key is no number, or there are several values.
    """
    if isinstance(key, Words):
        raise FilterError(f"{name} is no number: only : and != compare it", text, at)
    if len(values) > 1:
        raise FilterError(f"{sign} compares with one number", text, values[1][1])
    limit = parse_number(text, name, key, *values[0])
    if limit is None:
        raise FilterError(f"{sign} compares with a number, not with *", text, values[0][1])
    return partial(compares, key, COMPARISONS[sign], limit)


def parse_number(text: str, name: str, key: Number, value: str, at: int) -> float | None:
    """A number with its unit; None stands for any.

    Raises:
        FilterError: it is no number, or the unit is not the key's.
    """
    if value == "*":
        return None
    found = NUMBER.fullmatch(value)
    if found is None:
        raise FilterError(f"{name} is a number such as {name}>=20, got {value!r}", text, at)
    number, unit = found.groups()
    if unit not in key.units:
        known = ", ".join(unit for unit in key.units if unit)
        raise FilterError(f"{unit!r} is no unit of {name}: there are {known}", text, at + len(number))
    return float(number) * key.units[unit]


def check_word(text: str, name: str, key: Words, value: str, at: int) -> None:
    """Refuse a value that no run can have.

    Raises:
        FilterError: the key has a fixed set of values, and this is none of them.
    """
    if key.known and not any(fits(known, value) for known in key.known):
        near = [MEANT[value]] if value in MEANT else difflib.get_close_matches(value, key.known, n=1)
        hint = f"did you mean {near[0]}? There are" if near else "there are"
        raise FilterError(f"{name} is never {value!r}: {hint} {', '.join(key.known)}", text, at)


def why_none(text: str, runs: Sequence[Run], now: float) -> str:
    """Why none of these runs fits a filter that can be read: what there is of the first key that none of them fits.

    Empty where nothing better can be said than that none fits.
    """
    terms = list(parse_terms(text))
    for begin, test in terms:
        if any(test(run, now) for run in runs):
            continue
        found = KEY.match(text, begin)
        return "" if found is None else values_here(found[1].lower(), runs, now)
    return "each part fits some, all of it none" if len(terms) > 1 else ""


def values_here(name: str, runs: Sequence[Run], now: float) -> str:
    """What runs have of a key, in a few words; empty of a key whose values are whole sentences."""
    match KEYS[name]:
        case Words(within=True):
            return ""
        case Words() as key:
            shown = sorted({clean(word) for run in runs for word in key.look(run, now) if word})
            if len(shown) > MOST_VALUES:
                shown[MOST_VALUES - 1 :] = [f"one of {len(shown) - MOST_VALUES + 1} others"]
            values = " or ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))
        case Number() as key:
            numbers = [number for run in runs if (number := key.look(run)) is not None]
            # Four digits without an exponent, so that what is shown can be typed.
            ends = dict.fromkeys(f"{float(f'{end(numbers):.4g}'):.10g}" for end in (min, max) if numbers)
            values = " to ".join(ends)
    return f"{name} here is {values}" if values else f"no run here has a {name}"


def fits_all(tests: list[Test], run: Run, now: float) -> bool:
    """Whether a run fits every term."""
    return all(test(run, now) for test in tests)


def differs(test: Test, run: Run, now: float) -> bool:
    """Whether a run does not fit."""
    return not test(run, now)


def holds(word: str, run: Run, now: float) -> bool:
    """Whether a bare word is found anywhere."""
    texts = (run.id, run.name, run.experiment, catalog.label(run.spec.model), state(run, now), *run.tags, run.notes)
    return word in " ".join(map(clean, texts)).lower()


def has_word(key: Words, wanted: list[str], run: Run, now: float) -> bool:
    """Whether one of a run's words is one of those."""
    return any(fits(value.lower(), one) for value in key.look(run, now) for one in wanted)


def has_number(key: Number, wanted: list[float | None], run: Run, _now: float) -> bool:
    """Whether a run's number is one of those, or any where one of them is None."""
    number = key.look(run)
    return number is not None and any(one is None or number == one for one in wanted)


def compares(key: Number, comparison: Callable[[float, float], bool], limit: float, run: Run, _now: float) -> bool:
    """Whether a run has a number on that side of the limit."""
    number = key.look(run)
    return number is not None and comparison(number, limit)


def fits(value: str, wanted: str) -> bool:
    """Whether a value is what was wanted, with `*` at either end for anything."""
    begin, end = wanted.endswith("*"), wanted.startswith("*")
    core = wanted.strip("*")
    if begin and end:
        return core in value
    if begin:
        return value.startswith(core)
    return value.endswith(core) if end else value == core
