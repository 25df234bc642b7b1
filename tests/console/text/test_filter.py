"""The run filter: matches, and positions of errors."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from console.text.filter import FilterError, parse_filter, why_none
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.runs.run import Run
from tests import samples


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """The small sample with some labels."""
    home = Home(Path(tmp_path_factory.mktemp("home"))).create()
    samples.fill_small(home)
    with Reader(home.database) as reader:
        found = reader.runs()
    labels = {
        "he-resnet56-s0": {"starred": True, "tags": ("baseline", "good"), "notes": "the best, so far"},
        "he-plain56-s0": {"tags": ("bad",), "notes": "stalls"},
    }
    return [msgspec.structs.replace(run, **labels.get(run.name, {})) for run in found]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", range(1, 14)),
        ("tag:good", [3]),
        ("tag:good,bad", [3, 4]),
        ("tag:*", [3, 4]),
        ("!tag:* exp:depths", [1, 2, 5, 6]),
        ("star:yes", [3]),
        ("note:best", [3]),
        ('note:"best, so"', [3]),
        ("STALLS", [4]),
        ("+good", []),
        ("outcome:diverged,failed", [11, 12]),
        ("outcome:none status:running", [7, 8]),
        ("outcome!=succeeded status:finished", [11, 12, 13]),
        ("test-error<8 status:finished", [3]),
        ("test-error>=8.1% test-error<9.1 outcome:succeeded", [1, 2, 5, 6]),
        ("epochs>=50 epochs<100", [7]),
        ("depth>=110", [7, 8, 9, 10]),
        ("depth:20,152", [1, 2, 5, 6, 10]),
        ("depth!=20 arch:he-*", [3, 4]),
        ("!depth:20 arch:he-*", [3, 4]),
        ("parameters>50M depth=110", [7, 8, 9]),
        ("time<10m", [11, 12]),
        ("test-error>0 depth=110", [7, 8]),
        ("!test-error:* depth=110", [9]),
        ("arch=plain status:paused", [10]),
        ("arch:plain exp:depths", [2, 4]),
        ("arch:resnet exp:depths", [1, 3, 5, 6]),
        ("arch:resnet depth:110", [7, 9]),
        ("arch:plain !arch:he-plain depth:56,110", [8, 11]),
        ("arch:he-plain", [2, 4]),
        ("arch!=plain depth:56", [3, 12]),
        ("  seed:1   ", [5]),
        ("!plain !preact exp:deep", [7]),
    ],
)
def test_what_fits(text: str, numbers: list[int], runs: list[Run]):
    """Runs without the number match no comparison; several keys must all match."""
    fits = parse_filter(text)

    assert [run.position for run in runs if fits(run, time.monotonic())] == list(numbers)


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        ("dept:20", 1, "unknown key 'dept': did you mean depth?"),
        ("arch:plain tga:x", 12, "unknown key 'tga': did you mean tag?"),
        ("arch:plain !tga:x", 13, "unknown key 'tga': did you mean tag?"),
        ("tag:", 5, "missing value"),
        ("tag:a,", 7, "missing value"),
        ("tag:a,,b", 7, "missing value"),
        ("word !", 7, "missing value"),
        ('note:"open', 6, "the quote is not closed"),
        ('note:"a"b', 9, "missing space after the quote"),
        ("test-error<ten", 12, "test-error takes a number, as in test-error>=20, got 'ten'"),
        ("test-error<10k", 14, "unknown unit 'k' for test-error: use %"),
        ("depth:20,x", 10, "depth takes a number"),
        ("depth>20,56", 10, "> takes a single number"),
        ("depth>*", 7, "> takes a number, not *"),
        ("name<3", 5, "name is not a number; use : or !="),
        ("x outcome:fail", 11, "unknown outcome 'fail': did you mean failed? Values are succeeded"),
        ("outcome:stopped", 9, "unknown outcome 'stopped': did you mean cancelled (by `stop`) or"),
        ("depth >= 20", 7, "write depth>=20 without spaces"),
        ("arch:plain Depth >=20", 18, "write depth>=20 without spaces"),
        ("depth>= 20", 8, "write depth>=20 without spaces"),
        ("depth != 20", 7, "write depth!=20 without spaces"),
        ("plain < 20", 7, "< needs a key before and a value after it, without spaces"),
        ("star:maybe", 6, "unknown star 'maybe': values are yes, no"),
        ("İ dept:20", 3, "unknown key 'dept'"),
    ],
)
def test_a_filter_that_cannot_be_read_points_at_the_place(text: str, column: int, reason: str):
    """By its column, and with a caret in a line below."""
    with pytest.raises(FilterError) as refused:
        parse_filter(text)

    assert refused.value.column == column
    assert refused.value.reason.startswith(reason)
    assert str(refused.value).endswith(f"at the ^ in: {text[: column - 1]}^{text[column - 1 :]}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("arch:resnet depth>=20 seed:7", "seed here is 0 to 2"),
        ("depth>1k", "depth here is 18 to 152"),
        ("exp:nowhere depth>1k", "exp here is broken, deep or depths"),
        ("tag:best", "tag here is bad, baseline or good"),
        ("star:yes arch:plain", "each term matches some runs, but no run matches all of them"),
        ("note:dull", ""),
        ("nowhere", ""),
        ("!name:*", ""),
        ('">="', ""),
    ],
)
def test_without_matches_existing_values_are_listed(text: str, why: str, runs: list[Run]):
    """For the first key without a match."""
    now = time.monotonic()

    assert not any(parse_filter(text)(run, now) for run in runs)
    assert why_none(text, runs, now) == why


def test_of_many_values_few_are_named(runs: list[Run]):
    """The rest are counted; a key without values is reported as such."""
    many = [msgspec.structs.replace(run, name=f"n{position:02}") for position, run in enumerate(runs)]

    thin = [run for run in runs if run.experiment == "depths"]

    assert why_none("ARCH:preact depth>=30", thin, 0.0) == "arch here is he-plain, he-resnet, plain or resnet"
    assert why_none("name:x", many, 0.0) == "name here is n00, n01, n02, n03, n04 or one of 8 others"
    assert why_none("tag:x", [msgspec.structs.replace(run, tags=()) for run in runs], 0.0) == "no run here has a tag"
