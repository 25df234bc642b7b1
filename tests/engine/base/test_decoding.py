"""Tests of decoding: every number of every stored struct is bounded, and all bad content raises one error."""

from __future__ import annotations

import time
import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from console.planning.spec_file import SpecList
from console.report.output_directory import Marker
from console.tui.view_state import ViewState
from engine.base.decoding import Count, Moment, Percent, Real, decode_json, decoder
from engine.control.protocol import AnyReply, AnyRequest, Envelope
from engine.control.queue_state import Queue
from engine.data.cache import DatasetInfo
from engine.estimates.probes import Kept
from engine.runs.directory import ExitRecord, Labels
from engine.runs.journal import AnyEvent
from engine.spec.run import RunSpec

DECODED: tuple[Any, ...] = (
    AnyEvent, Labels, ExitRecord, RunSpec, Queue, Kept, ViewState, AnyRequest, AnyReply, Envelope, DatasetInfo,
    SpecList, Marker,
)  # fmt: skip


class Inner(msgspec.Struct):
    counts: dict[str, tuple[int, ...]]


class Outer(msgspec.Struct):
    inner: Inner | None
    at: float
    step: Count


def unbounded(kind: Any, place: str) -> Iterator[str]:
    """Places in a type where a number without bounds is decoded."""
    if kind in (int, float):
        yield place
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for name, field in typing.get_type_hints(kind, include_extras=True).items():
            if name in kind.__struct_fields__:
                yield from unbounded(field, f"{kind.__name__}.{name}")
    elif typing.get_origin(kind) is typing.Annotated:
        meta = kind.__metadata__[0]
        is_number = kind.__origin__ in (int, float)
        if is_number and (meta.ge is None or (meta.le is None and meta.lt is None)):
            yield place
    else:
        assert kind is not Any
        for part in typing.get_args(kind):
            yield from unbounded(part, place)


@pytest.mark.parametrize("kind", DECODED, ids=str)
def test_every_number_of_a_decoded_struct_is_bounded(kind: Any) -> None:
    assert list(unbounded(kind, "")) == []


def test_the_search_for_unbounded_numbers_finds_them() -> None:
    assert list(unbounded(Outer, "")) == ["Inner.counts", "Outer.at"]
    assert isinstance(AnyEvent, types.UnionType)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (Count, b"-1"),
        (Count, b"9" * 30),
        (Count, b"9" * 5000),
        (Moment, b"1e300"),
        (Moment, b"-1e300"),
        (Percent, b"101"),
        (Real, b"1e999"),
        (Real, b"NaN"),
        (dict, b'{"a":' * 200_000),
        (ExitRecord, b'{"x":' + b"[" * 200_000),
        (str, b'"\xff"'),
        (str, b'"\\ud800"'),
        (Labels, b""),
    ],
)
def test_bad_content_raises_one_error(kind: Any, content: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_json(content, kind)


def test_every_moment_can_be_shown_as_a_date() -> None:
    decode = decoder(Moment)
    for content in ("0", "253370764800"):
        assert time.strftime("%Y-%m-%d", time.localtime(decode(content)))
