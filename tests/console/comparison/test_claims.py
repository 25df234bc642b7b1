"""Claims of a comparison: fixed beforehand, tested batch by batch, and told with the seeds that are missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from console.comparison.claim_text import conclusion_line, verdict_line
from console.comparison.claims import claims_of, parse_claim
from console.comparison.description import comparison_document, description
from console.comparison.groups import group_runs
from console.comparison.tables import comparison_text
from console.comparison.verdict import Claim, Conclusion, Verdict, conclude
from engine.analysis.paired_test import Sign
from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.journal import Epoch
from engine.runs.run import Run, RunOutcome, RunStatus
from engine.spec.precision import Precision
from tests import samples
from tests.samples import an_epoch

LATER = samples.NOW + 1e6
"""When a second batch is submitted, after the first has results."""
NETWORKS = (("he-plain", 20), ("he-plain", 56), ("he-resnet", 20), ("he-resnet", 56))
Made = tuple[list[Run], dict[str, list[Epoch]]]


@pytest.fixture
def blank(tmp_path: Path) -> Iterator[Callable[[str, int], Run]]:
    """Finished runs of a network, whose seed, errors and times each test sets."""
    home = Home(tmp_path / "home").create()
    store = Store(home.database)
    with store.transaction():
        for number, (architecture, depth) in enumerate((*NETWORKS, ("he-plain", 110)), 1):
            samples.add_sample(store, number, architecture, depth, experiment="e", epochs_done=1, total=1)
    store.close()
    with Reader(home.database) as reader:
        found = {(run.spec.model.architecture.value, run.spec.model.depth): run for run in reader.runs()}
    return lambda architecture, depth: found[architecture, depth]


def make(
    blank: Callable[[str, int], Run],
    errors: dict[tuple[str, int], list[float | None]],
    *,
    first_seed: int = 0,
    at: float = samples.NOW,
) -> Made:
    """Make a batch with these training errors, one per seed; None is a run that has not ended."""
    runs, epochs = [], {}
    for (architecture, depth), values in errors.items():
        for seed, value in enumerate(values, first_seed):
            run = blank(architecture, depth)
            id = f"{architecture}{depth}-{seed}"
            ended = {} if value is not None else {"status": RunStatus.RUNNING, "outcome": None}
            runs.append(
                replace(
                    run,
                    id=id,
                    origin=id,
                    spec=replace(run.spec, seed=seed),
                    created_at=at,
                    train_error_percent=value,
                    **ended,
                )
            )
            rows = [] if value is None else [an_epoch(1, train_error_percent=value, at=at + 100)]
            epochs[id] = rows
    return runs, epochs


def together(*batches: Made) -> Made:
    return [run for runs, _ in batches for run in runs], {
        id: rows for _, epochs in batches for id, rows in epochs.items()
    }


def concluded(made: Made, *wanted: str) -> Conclusion:
    return conclude(group_runs(made[0]), made[1], wanted)


def verdict_of(made: Made) -> Verdict:
    (verdict,) = concluded(made).verdicts
    return verdict


PLAIN: dict[tuple[str, int], list[float | None]] = {
    ("he-plain", 20): [10.0, 10.0, 10.0],
    ("he-plain", 56): [30.0, 32.0, 31.0],
}
RESIDUAL: dict[tuple[str, int], list[float | None]] = {
    ("he-resnet", 20): [9.0, 9.0, 9.0],
    ("he-resnet", 56): [8.0, 9.5, 10.0],
}


def test_each_family_makes_one_claim_and_they_share_the_error(blank: Any):
    """Plain and residual: 1.25 % each at the first look."""
    made = make(blank, PLAIN | RESIDUAL)
    verdict = verdict_of(made)

    assert (verdict.claim, verdict.training.contrast.is_final) == (Claim.DEGRADATION, True)
    assert verdict.training.tested is not None
    assert verdict.training.tested.looks[0].share.alpha == 0.0125
    assert verdict_line(verdict) == (
        "degradation: he-plain56 trains 21.0 ± 1.0 points worse than he-plain20, n=3, interval +15.9 to +26.1;"
        " with shortcuts he-resnet56 against he-resnet20: 0.2 ± 1.0 points worse, undecided"
    )
    document = comparison_document("e", *made, {})
    assert [one["num_claims"] for one in document["claims"]] == [2, 2]
    assert document["verdicts"][0]["test_error_difference"]["is_claim"] is False
    alone = verdict_of(make(blank, PLAIN)).training.tested
    assert alone is not None
    assert alone.looks[0].share.alpha == 0.025


def test_nothing_is_claimed_between_looks(blank: Any):
    """One seed still trains: so far, not final, however large the gap."""
    made = make(blank, PLAIN | {("he-plain", 56): [30.0, 32.0, 31.0, None], ("he-plain", 20): [10.0] * 4})
    verdict = verdict_of(made)

    assert (verdict.claim, verdict.training.sign) == (Claim.SO_FAR, Sign.UNDECIDED)
    assert verdict_line(verdict) == (
        "so far: he-plain56 trains 21.0 ± 1.0 points worse than he-plain20, n=3 (1 seed not finished);"
        " paired seeds 0, 1, 2"
    )
    document = comparison_document("e", *made, {})["verdicts"][0]["train_error_difference"]
    assert (document["is_final"], document["pending"], document["look"]) == (False, 1, None)


def test_a_deeper_network_that_waits_keeps_the_claim_open(blank: Any):
    """The claim is about the deepest; the next depth has results, but is not what was asked."""
    made = make(blank, PLAIN | {("he-plain", 110): [None, None, None]})
    verdict = verdict_of(made)

    assert (verdict.deep.model.depth, verdict.claim, verdict.training.tested) == (56, Claim.SO_FAR, None)
    assert verdict_line(verdict) == "so far: he-plain56 trains 21.0 ± 1.0 points worse than he-plain20, n=3"


def test_a_claim_stands_while_a_second_batch_trains_and_after_it(blank: Any):
    """Also if another family joins with that batch, which then shares the second look."""
    first = make(blank, PLAIN)
    for more in ([None], [11.0]):
        added: dict[tuple[str, int], list[float | None]] = {("he-plain", 20): [10.0], ("he-plain", 56): [*more]}
        made = together(first, make(blank, added, first_seed=3, at=LATER), make(blank, RESIDUAL, at=LATER))
        verdict = verdict_of(made)
        tested = verdict.training.tested

        assert verdict.claim is Claim.DEGRADATION
        assert tested is not None
        assert [look.share.alpha for look in tested.looks] == [0.025, 0.003125][: len(tested.looks)]
        assert verdict.training.contrast.is_final == (more == [11.0])
    assert len(tested.looks) == 2
    assert ", n=4, interval" in verdict_line(verdict)


def test_the_claim_of_an_earlier_batch_stands_when_a_deeper_network_joins(blank: Any):
    """The new question is undecided; the old answer is still told."""
    later = make(blank, {("he-plain", 110): [31.0, 60.0, 12.0]}, at=LATER)
    line = conclusion_line(concluded(together(make(blank, PLAIN), later)))

    assert line is not None
    assert line.startswith("undecided: he-plain110 trains ")
    assert "; he-plain56 trains 21.0 ± 1.0 points worse than he-plain20, n=3, interval +17.4 to +24.6" in line


@pytest.mark.parametrize("outcome", [RunOutcome.DIVERGED, RunOutcome.FAILED, RunOutcome.LOST, RunOutcome.CANCELLED])
def test_seeds_without_a_result_are_named(blank: Any, outcome: RunOutcome):
    """In the verdict's line and in the document."""
    runs, epochs = make(blank, PLAIN)
    made = [replace(run, outcome=outcome) if run.id == "he-plain56-1" else run for run in runs], epochs
    verdict = verdict_of(made)

    assert f"; he-plain56 seed 1 {outcome}" in verdict_line(verdict)
    assert verdict.training.contrast.seeds == (0, 2)
    document = comparison_document("e", *made, {})["claims"][0]
    assert document["left_out"] == [{"network": "he-plain56", "seed": 1, "why": str(outcome)}]


def test_a_network_that_broke_leaves_its_claim_to_the_next_depth(blank: Any):
    """It is named; how it ended does not change how many claims there are."""
    runs, epochs = make(blank, PLAIN | {("he-plain", 110): [90.0, 90.0, 90.0]})
    made = (
        [replace(run, outcome=RunOutcome.DIVERGED) if run.spec.model.depth == 110 else run for run in runs],
        epochs,
    )
    verdict = verdict_of(made)

    assert (verdict.deep.model.depth, verdict.claim) == (56, Claim.DEGRADATION)
    assert verdict_line(verdict).endswith("; he-plain110 diverged")


def test_a_seed_that_was_trained_again_stays_in_its_batch(blank: Any):
    """The first result of a seed counts; a failed one is replaced."""
    first, again = make(blank, PLAIN), make(blank, {("he-plain", 56): [99.0]}, at=LATER)
    renamed = [replace(run, id="again", origin="again", version="9.9") for run in again[0]]
    made = together(first, (renamed, {"again": again[1]["he-plain56-0"]}))

    assert verdict_of(made).training.contrast.differences == (20.0, 22.0, 21.0)
    runs = [replace(run, outcome=RunOutcome.FAILED) if run.id == "he-plain56-0" else run for run in made[0]]
    assert verdict_of((runs, made[1])).training.contrast.differences == (89.0, 22.0, 21.0)


def test_claims_on_request_share_the_error(blank: Any):
    """Any two networks, training or test error, with names as in the tables."""
    made = make(blank, PLAIN | RESIDUAL)
    found = concluded(made, "he-plain56:he-resnet56", "he-plain56:he-plain20:test-error", "he-plain56:he-plain20")
    line = conclusion_line(found)

    assert [one.tested.num_claims for one in found.claimed if one.tested] == [4] * 4
    assert line is not None
    assert "; he-plain56 trains 21.8 ± 0.8 points worse than he-resnet56, n=3, interval " in line
    assert "; undecided: test error: he-plain56 is 0.0 ± 0.0 points" in line


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("he-plain56", "a claim is NETWORK:BASELINE"),
        ("he-plain56:he-plain20:loss", "metric train-error or test-error"),
        ("he-plain56:he-plain21", "no network is called 'he-plain21' here; there are he-plain20, he-plain56"),
        ("he-plain56:he-plain56", "a claim compares two networks"),
    ],
)
def test_a_claim_that_names_no_two_networks_is_refused(blank: Any, word: str, message: str):
    """Before anything is written."""
    with pytest.raises(UsageError, match=message):
        parse_claim(word, group_runs(make(blank, PLAIN)[0]))


def test_residual_networks_alone_make_a_claim(blank: Any):
    """Their deepest against their shallowest, though no plain network degraded."""
    line = conclusion_line(concluded(make(blank, RESIDUAL)))

    assert line is not None
    assert line.startswith("undecided: he-resnet56 trains 0.2 ± 1.0 points worse than he-resnet20, n=3, interval ")


def test_runs_that_were_not_trained_alike_are_named(blank: Any):
    """In tables, sentences and the document: precision and images of one seed differ."""
    runs, epochs = make(blank, PLAIN | RESIDUAL)
    fp32 = [replace(run, precision=Precision.FP32, data_sha256="a" * 64) for run in runs]
    assert "mixed" not in comparison_text(fp32, epochs, {})
    other = {"precision": Precision.BF16, "data_sha256": "b" * 64}
    made = [replace(run, **other) if run.id == "he-plain56-2" else run for run in fp32]
    text = comparison_text(made, epochs, {})

    row = next(line for line in text.splitlines() if line.startswith("he-plain56 "))
    assert row.endswith("mixed images, precision")
    whole = (
        "images aaaaaaaa (he-plain56 s0, s1), images bbbbbbbb (he-plain56 s2);"
        " fp32 (he-plain56 s0, s1), bf16 (he-plain56 s2)"
    )
    assert f"\nmixed in he-plain56: {whole}\n" in f"{text}\n"
    assert whole in "\n".join(description("e", made, epochs, {}))
    line = verdict_line(verdict_of((made, epochs)))
    assert "fp32 (he-plain56 s0, s1, he-plain20, he-resnet56, he-resnet20), bf16 (he-plain56 s2)" in line
    document = comparison_document("e", made, epochs, {})
    (network,) = [one for one in document["networks"] if one["network"] == "he-plain56"]
    assert network["mixed"]["precision"] == {"fp32": ["he-plain56-0", "he-plain56-1"], "bf16": ["he-plain56-2"]}


def test_unequal_seeds_of_a_pair_are_named_beside_its_gap(blank: Any):
    """The gap is over common seeds; the means beside it are not."""
    made = make(blank, PLAIN | {("he-resnet", 56): [8.0, 9.0]})
    text = comparison_text(*made, {})
    row, below = text[text.index("   56  ") :].splitlines()[:2]

    assert "+22.50 ± 0.71 (n=2)" in below
    assert "paired seeds 0, 1" in next(line for line in description("e", *made, {}) if line.startswith("Depth 56"))
    assert row.endswith("he-plain56 seed 2 not in he-resnet56; paired seeds 0, 1")


def test_claims_do_not_depend_on_the_results(blank: Any):
    """Which claims there are, and what each may spend, follows from what was submitted."""
    made = make(blank, PLAIN | RESIDUAL)
    runs, epochs = make(blank, {network: [50.0 - seed for seed in range(3)] for network in PLAIN | RESIDUAL})
    first, second = (claims_of(group_runs(runs), epochs) for runs, epochs in (made, (runs, epochs)))

    assert {key: one.shares for key, one in first.items()} == {key: one.shares for key, one in second.items()}


@pytest.mark.parametrize("wanted", [(), ("he-plain56:he-resnet56",), ("he-resnet56:he-plain56",)])
def test_tables_words_and_json_give_one_interval(blank: Any, wanted: tuple[str, ...]):
    """Also if the gap is a claim, in either direction: then it is the claim's."""
    made = make(blank, PLAIN | {("he-resnet", 56): [8.0, 9.0, 8.4]})
    table = comparison_text(*made, {}, wanted=wanted)
    words = next(line for line in description("e", *made, {}, wanted=wanted) if line.startswith("Depth 56"))
    document = comparison_document("e", *made, {}, wanted=wanted)
    found = document["pairs"][-1]["over_seeds"]["train_error_gap"]
    low, high = found["interval"]
    pair = {"he-plain56", "he-resnet56"}

    assert found["is_claim"] is bool(wanted)
    assert f"  {low:+.1f} to {high:+.1f}" in table
    assert f"of training error, interval {low:+.1f} to {high:+.1f}" in words
    claimed = [one["interval"] for one in document["claims"] if {one["network"], one["baseline"]} == pair]
    assert [sorted(map(abs, one)) for one in claimed] == [sorted(map(abs, found["interval"]))] * len(wanted)


@pytest.mark.parametrize("width", [76, 116])
def test_a_narrow_table_keeps_the_important_columns(blank: Any, width: int):
    """Errors, gaps and intervals on the smallest screen; all columns at 120; nothing is cut."""
    text = comparison_text(*make(blank, PLAIN | {("he-resnet", 56): [8.0, 9.0]}), {}, width=width)

    assert max(map(len, text.splitlines())) <= width
    for title in ("test error %", "train error %", "gap", "interval"):
        assert f"  {title}" in text
    assert ("  accuracy %" in text) is (width == 116)
    assert width < 116 or all(title in text for title in ("parameters", "epochs", "time a run", "residual %"))
    assert "he-resnet56: he-plain56 seed 2 not in he-resnet56; paired seeds 0, 1" in " ".join(text.split())
