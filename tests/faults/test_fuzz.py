"""Every decoder accepts arbitrary bytes from disk or socket, or refuses them with its own error.

The inputs are arbitrary bytes, and depthscope's own output with a few bytes changed, which gets much further.
`tests/faults/fuzz.py` fuzzes the same targets by coverage, with atheris.
"""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.fuzz_targets import SEEDS, Targets


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Targets:
    return Targets(tmp_path_factory.mktemp("fuzz"))


NUMBERS = (b"9" * 30, b"-1", b"1e999", b"18446744073709551616", b"0", b"null", b"1e308", b'"1"')


@st.composite
def spoilt(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Generate a valid input with up to four numbers or bytes changed, removed or inserted."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        numbers = [found.span() for found in re.finditer(rb"-?[0-9][0-9.e+-]*", content)]
        if numbers and draw(st.booleans()):
            first, last = draw(st.sampled_from(numbers))
            content[first:last] = draw(st.sampled_from(NUMBERS))
        else:
            place = draw(st.integers(0, len(content)))
            content[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(content)


SLOW = ("weights", "archive")
"""Readers that take seconds for their examples."""
MUCH = settings(
    max_examples=int(os.environ.get("DEPTHSCOPE_FUZZ_EXAMPLES", "300")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in sorted(SEEDS)]
)
def test_any_bytes_are_taken_or_refused(name: str, targets: Targets):
    """Each decoder together with its consumer."""
    target = targets.by_name()[name]

    @MUCH
    @given(content=st.one_of(st.binary(max_size=300), spoilt(SEEDS[name])))
    def check(content: bytes) -> None:
        target(content)

    check()
