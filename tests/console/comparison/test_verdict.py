"""Claims about depth from recorded runs: only what several seeds agree on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from console.comparison.claim_text import DOUBTS, conclusion_line, verdict_line
from console.comparison.claims import Difference
from console.comparison.description import comparison_document, description
from console.comparison.groups import group_runs
from console.comparison.tables import comparison_text, final_table
from console.comparison.verdict import Claim, conclude, read_epochs, read_gradients
from console.text.formatting import UNKNOWN, duration
from engine.analysis.paired_test import Contrast, Sign
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.run import Run
from tests import samples
from tests.recorded_runs import recorded_home


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Reader of the recorded quickstart with one seed."""
    with Reader(recorded_home(tmp_path / "home", "quickstart").database) as found:
        yield found


def test_nothing_is_claimed_from_one_seed(reader: Reader):
    """32 points between plain-44 and plain-8 in the recorded quickstart, but one seed shows no spread."""
    runs = reader.runs()
    (verdict,) = conclude(group_runs(runs), read_epochs(reader, runs)).verdicts

    assert verdict.claim is Claim.ONE_SEED
    assert verdict_line(verdict) == (
        "he-plain44-w8 trains 32.4 points worse than he-plain8-w8"
        " (1 seed: not enough to claim degradation; add --seeds 3);"
        " with shortcuts he-resnet44-w8 against he-resnet8-w8: 11.1 points better"
    )


def test_gap_is_plain_minus_residual_by_epoch(reader: Reader):
    """From the journals: 87.20 - 39.60 in the last epoch of depth 44, nothing in the first."""
    runs = reader.runs()
    lines = comparison_text(runs, read_epochs(reader, runs), {}).splitlines()

    assert "   44  he-resnet44-w8  he-plain44-w8  test        39.60    87.20  +47.60 (n=1)" in lines
    assert "                                      train       44.87    86.97  +42.10 (n=1)" in lines
    assert "depth  by epoch      1     2      3      4      5      6" in lines
    assert "   44  train gap  -0.3  +4.8  +16.2  +22.0  +31.1  +42.1" in lines
    assert "       test gap   +0.0  +0.0  +21.5  +25.0  +36.9  +47.6" in lines


def test_time_is_that_of_one_run(tmp_path: Path):
    """Mean over the successful seeds including checkpoints, not their total."""
    with Reader(recorded_home(tmp_path / "home", "depths").database) as reader:
        runs = reader.runs()
    header, *rows = final_table(group_runs(runs)).splitlines()
    taken = [run.taken_seconds for run in runs if run.name.startswith("he-plain44-w4")]

    assert header.endswith("  time a run")
    assert rows[-1].endswith(f" {duration(sum(taken) / 3)}")
    unfinished = msgspec.structs.replace(runs[0], outcome=None)
    assert f"  {UNKNOWN}  seed " in final_table(group_runs([unfinished]))


def test_what_has_not_begun_is_no_evidence(reader: Reader):
    """Comparing runs without an epoch claims nothing and does not fail."""
    runs: list[Run] = reader.runs()

    assert conclusion_line(conclude(group_runs(runs), {})) is None
    assert "he-plain44-w8" in comparison_text(runs, {}, {})


def test_degradation_is_claimed_from_three_seeds(tmp_path: Path):
    """Recorded plain-44 against plain-8 on 500 photographs; the residual pair states its own n of one seed."""
    with Reader(recorded_home(tmp_path / "home", "depths").database) as reader:
        runs = reader.runs()
        groups, epochs = group_runs(runs), read_epochs(reader, runs)
        (verdict,) = conclude(groups, epochs).verdicts

        assert verdict.claim is Claim.DEGRADATION
        assert verdict_line(verdict) == (
            "degradation: he-plain44-w4 trains 12.9 ± 1.9 points worse than he-plain8-w4, n=3, interval +3.1 to +22.6;"
            " with shortcuts he-resnet44-w4 against he-resnet8-w4: 6.8 points worse, n=1;"
            " he-resnet8-w4 seeds 1, 2 not in he-resnet44-w4; paired seed 0 (he-resnet44-w4)"
        )
        without_the_shallow = [run for run in runs if run.spec.model.depth == 44]
        line = conclusion_line(conclude(group_runs(without_the_shallow), epochs))
        assert line == (
            "he-plain44-w4 trains 2.2 points worse than he-resnet44-w4 (1 seed: not enough to claim anything;"
            " add --seeds 3); he-plain44-w4 seeds 1, 2 not in he-resnet44-w4; paired seed 0"
        )


def test_a_shortcut_that_has_not_cured_it_says_so(tmp_path: Path):
    """Both pairs degrade significantly: both networks are named, with the number of updates."""
    home = Home(tmp_path / "home").create()
    store = Store(home.database)
    floors = {("he-resnet", 20): 8.0, ("he-plain", 20): 9.0, ("he-resnet", 56): 20.0, ("he-plain", 56): 40.0}
    with store.transaction():
        for number, ((architecture, depth), floor) in enumerate(floors.items()):
            for seed in range(2):
                samples.add_sample(
                    store, 2 * number + seed + 1, architecture, depth, experiment="short", epochs_done=4, total=4,
                    floor=floor + 0.1 * seed * (depth == 56), seed=seed,
                )  # fmt: skip
    store.close()
    with Reader(home.database) as reader:
        runs = reader.runs()
        (verdict,) = conclude(group_runs(runs), read_epochs(reader, runs)).verdicts
    updates = f"{4 * samples.STEPS_PER_EPOCH:,}"

    assert verdict.is_uncured
    assert "; with shortcuts he-resnet56 against he-resnet20: " in verdict_line(verdict)
    assert verdict_line(verdict).endswith(f" +7.3: the shortcut has not cured it here after {updates} updates")


def test_description_says_what_the_numbers_say(tmp_path: Path):
    """Text and JSON contain every network, diagnoses, gaps, verdict and sources."""
    with Reader(recorded_home(tmp_path / "home", "depths").database) as reader:
        runs = reader.runs()
        epochs, gradients = read_epochs(reader, runs), read_gradients(reader, runs)
        words = description("deep", runs, epochs, gradients)
        document = comparison_document("deep", runs, epochs, gradients)

    assert document["diagnoses"] == ["he-plain44-w4: 1 of 3 runs not learning"]
    assert "\n\nhe-plain44-w4: 1 of 3 runs not learning\n\n" in comparison_text(runs, epochs, gradients)
    alone = comparison_text([run for run in runs if run.name.startswith("he-plain44")], epochs, gradients)
    assert "trained the same way (he-resnet for he-plain)\n\nno verdict: " in alone
    assert words[0] == "deep: 4 networks, 10 runs: 10 succeeded."
    assert "he-plain44-w4-s2: not learning: loss is no better than guessing (ln 10 = 2.303) for 8 epochs." in words
    assert "he-plain44-w4: degradation: trains 12.9 ± 1.9 points worse than he-plain8-w4, n=3." in words
    assert (
        "he-plain44-w4: stem gradient 803 times the head's at initialisation (n=1),"
        " against 2.0 times in he-resnet44-w4 (n=1)."
    ) in words
    beginnings = document["verdicts"][0]["stem_over_head_gradient_at_initialisation"]
    assert beginnings["he-plain44-w4"]["mean"] == pytest.approx(803.14, abs=0.01)
    assert f"{document['verdict']}." in words
    assert document["verdicts"][0]["train_error_difference"]["n"] == 3
    assert document["pairs"][0]["test_error_gap"] == document["pairs"][0]["over_seeds"]["test_error_gap"]["mean"]
    assert [finding["symptom"] for found in document["findings"].values() for finding in found] == ["not learning"]
    (plain,) = [network for network in document["networks"] if network["network"] == "he-resnet44-w4"]
    assert plain["published"]["test_error_percent"] == 7.17
    assert "width 4 (16 there)" in plain["published"]["differences"]
    assert words[-1].startswith(
        "published: He et al. 2015 (arXiv:1512.03385), table 6; here data cifar10-jpeg (CIFAR-10"
    )


def test_an_undecided_difference_says_why(reader: Reader):
    """7 points exceed the spread of 4, but there are too few seeds to decide."""
    few = Contrast(seeds=(0, 1), differences=(4.6, 10.0), epoch=1, is_final=True)
    wide = Contrast(seeds=(0, 1, 2), differences=(1.0, -1.0, 4.0), epoch=1, is_final=True)

    network, baseline, *_ = group_runs(reader.runs())
    found = [Difference(network, baseline, "train_error_percent", one, None, (), 0) for one in (few, wide)]
    assert [one.sign for one in found] == [Sign.UNDECIDED, Sign.UNDECIDED]
    assert [DOUBTS[one.doubt] for one in found if one.doubt] == [
        "too few seeds to tell",
        "within the spread of the seeds",
    ]
