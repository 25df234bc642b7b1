"""What is claimed of depth, from runs that were really trained: only what several seeds agree on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from console.groups import group_runs
from console.report import comparison_text
from console.verdict import Claim, read_epochs, verdict_line, verdicts
from engine.queries import Reader
from engine.run import Run
from tests.recorded_runs import recorded_home


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Over the recorded quickstart, of one seed."""
    with Reader(recorded_home(tmp_path / "home", "quickstart").database) as found:
        yield found


def test_nothing_is_claimed_from_one_seed(reader: Reader):
    """The recorded quickstart: 32 points between plain-44 and plain-8, and still one seed shows no spread."""
    runs = reader.runs()
    (verdict,) = verdicts(group_runs(runs), read_epochs(reader, runs))

    assert verdict.claim is Claim.ONE_SEED
    assert verdict.line == (
        "no claim from one seed: he-plain44-w8 trains 32.4 points worse than he-plain8-w8;"
        " with shortcuts 11.1 points better"
    )


def test_gap_is_plain_minus_residual_by_epoch(reader: Reader):
    """As the journals have it: 87.20 - 39.60 in the last epoch of depth 44, nothing in the first."""
    runs = reader.runs()
    lines = comparison_text(runs, read_epochs(reader, runs)).splitlines()

    assert "   44  he-resnet44-w8  he-plain44-w8      39.60 (n=1)   87.20 (n=1)  +47.60 (n=1)  +42.10 (n=1)" in lines
    assert "depth  by epoch      1     2      3      4      5      6" in lines
    assert "   44  train gap  -0.3  +4.8  +16.2  +22.0  +31.1  +42.1" in lines
    assert "       test gap   +0.0  +0.0  +21.5  +25.0  +36.9  +47.6" in lines


def test_what_has_not_begun_is_no_evidence(reader: Reader):
    """A comparison of runs without an epoch says nothing, and does not fail."""
    runs: list[Run] = reader.runs()

    assert verdict_line(group_runs(runs), {}) is None
    assert "he-plain44-w8" in comparison_text(runs, {})
