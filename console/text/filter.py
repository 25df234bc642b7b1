"""Run filter of the console and `ls --where`: words, key:value pairs and comparisons, all of which must match."""

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
COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
MEANT = {"stopped": "cancelled (by `stop`) or stopped-early (by its stop rule)"}
"""Hints for invalid values that people expect to work."""
MOST_VALUES = 6
"""Values listed when no run matches a key."""

Test = Callable[[Run, float], bool]
"""Whether a run matches, given the monotonic time."""


class FilterError(UsageError):
    """A filter with a syntax error or an unknown key or value.

    Args:
        reason: What is wrong.
        text: The filter.
        at: Index of the offending character; len(text) if something is missing at the end.
    """

    def __init__(self, reason: str, text: str, at: int) -> None:
        shown = clean(f"{text[:at]}^{text[at:]}")
        super().__init__(f"filter, column {at + 1}: {reason}, at the ^ in: {shown}")
        self.reason = reason
        self.column = at + 1


def parse_filter(text: str) -> Test:
    """Parse a filter such as `arch:plain,he-plain depth>=56 !tag:bad test-error<10 "two words"`.

    A space means AND, a comma OR, a leading `!` NOT. `*` at either end of a value matches anything; quotes protect
    spaces and commas. A bare word is searched for in id, name, experiment, network, status, tags and note. A run that
    lacks the number asked for does not match.

    Raises:
        FilterError: a key or value is unknown, or something is missing; the message points at the place.
    """
    fits, error = parse_readable(text)
    if error is not None:
        raise error
    return fits


def parse_readable(text: str) -> tuple[Test, FilterError | None]:
    """Parse as many leading terms as are valid; also return the error of the first that is not."""
    tests: list[Test] = []
    try:
        for _, test in parse_terms(text):
            tests.append(test)
    except FilterError as refused:
        return partial(fits_all, tests), refused
    return partial(fits_all, tests), None


def parse_terms(text: str) -> Iterator[tuple[int, Test]]:
    """Yield each term's start index and test.

    Raises:
        FilterError: as `parse_filter`, on reaching an invalid term.
    """
    at = 0
    while (at := at + len(text[at:]) - len(text[at:].lstrip())) < len(text):
        begin, negated = at, text[at] == "!"
        test, at = parse_term(text, at + negated)
        yield begin, partial(differs, test) if negated else test


def parse_term(text: str, at: int) -> tuple[Test, int]:
    """Parse the term at an index; return its test and the index after it."""
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
        raise FilterError(f"unknown key {name!r}: {hint} {', '.join(KEYS)}", text, at)
    values: list[tuple[str, int]] = []
    end = found.end()
    if text[end:].strip() and text[end].isspace():
        raise FilterError(f"write {found[0]}{text[end:].split()[0]} without spaces", text, end)
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
    """Refuse a term that starts with an operator, as in `depth >= 20`.

    Raises:
        FilterError: it does, and a key precedes it or nothing follows; quoted, it is a plain word.
    """
    # The caller has consumed the `!` of `!=` as a negation.
    at -= text[max(0, at - 1) : at + 1] == "!="
    sign = SIGN.match(text, at)
    if sign is None:
        return
    name = "".join(text[:at].split()[-1:]).lower().removeprefix("!")
    value = "".join(text[sign.end() :].split()[:1])
    if name in KEYS:
        raise FilterError(f"write {name}{sign[0]}{value} without spaces", text, at)
    if sign[0] != ":" and text[sign.end() : sign.end() + 1].strip() == "":
        raise FilterError(f"{sign[0]} needs a key before and a value after it, without spaces", text, at)


def parse_value(text: str, at: int, *, stops: str) -> tuple[str, int]:
    """Parse a value or word, quoted or up to a space or stop character; also return the index after it.

    Raises:
        FilterError: the value is missing or a quote is not closed.
    """
    if text[at : at + 1] == '"':
        end = text.find('"', at + 1)
        if end < 0:
            raise FilterError("the quote is not closed", text, at)
        if text[end + 1 : end + 2] not in ("", " ", *stops):
            raise FilterError("missing space after the quote", text, end + 1)
        return text[at + 1 : end], end + 1
    end = at
    while end < len(text) and not text[end].isspace() and text[end] not in stops:
        end += 1
    if end == at:
        raise FilterError("missing value", text, at)
    return text[at:end], end


def parse_comparison(text: str, name: str, key: Key, sign: str, values: list[tuple[str, int]], at: int) -> Test:
    """Build a test that compares a run's number with a limit.

    Raises:
        FilterError: the key is not numeric, or there are several values.
    """
    if isinstance(key, Words):
        raise FilterError(f"{name} is not a number; use : or !=", text, at)
    if len(values) > 1:
        raise FilterError(f"{sign} takes a single number", text, values[1][1])
    limit = parse_number(text, name, key, *values[0])
    if limit is None:
        raise FilterError(f"{sign} takes a number, not *", text, values[0][1])
    return partial(compares, key, COMPARISONS[sign], limit)


def parse_number(text: str, name: str, key: Number, value: str, at: int) -> float | None:
    """Parse a number with an optional unit; `*` gives None, which stands for any.

    Raises:
        FilterError: the value is not a number, or the key does not take its unit.
    """
    if value == "*":
        return None
    found = NUMBER.fullmatch(value)
    if found is None:
        raise FilterError(f"{name} takes a number, as in {name}>=20, got {value!r}", text, at)
    number, unit = found.groups()
    if unit not in key.units:
        known = ", ".join(unit for unit in key.units if unit)
        raise FilterError(f"unknown unit {unit!r} for {name}: use {known}", text, at + len(number))
    return float(number) * key.units[unit]


def check_word(text: str, name: str, key: Words, value: str, at: int) -> None:
    """Refuse a value that no run can have.

    Raises:
        FilterError: the key has a fixed set of values that does not include this one.
    """
    if key.known and not any(fits(known, value) for known in key.known):
        near = [MEANT[value]] if value in MEANT else difflib.get_close_matches(value, key.known, n=1)
        hint = f"did you mean {near[0]}? Values are" if near else "values are"
        raise FilterError(f"unknown {name} {value!r}: {hint} {', '.join(key.known)}", text, at)


def no_match(text: str, runs: Sequence[Run], now: float) -> str:
    """Say that no run matches a valid filter, and why."""
    why = why_none(text, runs, now)
    return f"none of {len(runs)} runs matches {clean(text)!r}{f': {why}' if why else ''}"


def why_none(text: str, runs: Sequence[Run], now: float) -> str:
    """Explain why no run matches a valid filter, by listing the values of the first key that matches none.

    Empty if there is nothing helpful to add.
    """
    terms = list(parse_terms(text))
    for begin, test in terms:
        if any(test(run, now) for run in runs):
            continue
        found = KEY.match(text, begin)
        return "" if found is None else values_here(found[1].lower(), runs, now)
    return "each term matches some runs, but no run matches all of them" if len(terms) > 1 else ""


def values_here(name: str, runs: Sequence[Run], now: float) -> str:
    """Summarise a key's values among these runs; empty for free text such as notes."""
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
            # Four digits and no exponent, so that the value shown can be typed.
            ends = dict.fromkeys(f"{float(f'{end(numbers):.4g}'):.10g}" for end in (min, max) if numbers)
            values = " to ".join(ends)
    return f"{name} here is {values}" if values else f"no run here has a {name}"


def fits_all(tests: list[Test], run: Run, now: float) -> bool:
    """Whether a run passes every test."""
    return all(test(run, now) for test in tests)


def differs(test: Test, run: Run, now: float) -> bool:
    """Negation of a test."""
    return not test(run, now)


def holds(word: str, run: Run, now: float) -> bool:
    """Whether a bare word occurs in any of a run's texts."""
    texts = (run.id, run.name, run.experiment, catalog.label(run.spec.model), state(run, now), *run.tags, run.notes)
    return word in " ".join(map(clean, texts)).lower()


def has_word(key: Words, wanted: list[str], run: Run, now: float) -> bool:
    """Whether any of a run's values matches a wanted one."""
    return any(fits(value.lower(), one) for value in key.look(run, now) for one in wanted)


def has_number(key: Number, wanted: list[float | None], run: Run, _now: float) -> bool:
    """Whether a run's number is among those wanted; None accepts any."""
    number = key.look(run)
    return number is not None and any(one is None or number == one for one in wanted)


def compares(key: Number, comparison: Callable[[float, float], bool], limit: float, run: Run, _now: float) -> bool:
    """Whether a run's number satisfies the comparison with the limit."""
    number = key.look(run)
    return number is not None and comparison(number, limit)


def fits(value: str, wanted: str) -> bool:
    """Whether a value matches a pattern with an optional `*` at either end."""
    begin, end = wanted.endswith("*"), wanted.startswith("*")
    core = wanted.strip("*")
    if begin and end:
        return core in value
    if begin:
        return value.startswith(core)
    return value.endswith(core) if end else value == core
