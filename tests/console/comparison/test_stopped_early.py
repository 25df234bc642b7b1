"""Early-stopped runs are excluded from means of final errors, but count when networks are compared by epoch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from textual.widgets import Static

from console.app import ConsoleApp
from console.comparison.claim_text import verdict_line
from console.comparison.groups import group_runs
from console.comparison.tables import STOPPED_NOTE
from console.comparison.verdict import conclude, read_epochs
from console.screens.comparison import ComparisonScreen
from console.text.listing import event_line
from console.widgets.chart import Chart
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.run import EventRow, RunOutcome
from tests import samples
from tests.console.driving import press, settle, until


def fill(home: Home, *, all_of_them: bool = False, all_of_deep_plain: bool = False) -> None:
    """Create two depths with two seeds and twelve epochs; the deep plain network's first seed stopped at the fifth."""
    store = Store(home.database)
    floors = {("he-resnet", 20): 8.0, ("he-plain", 20): 9.0, ("he-resnet", 56): 7.5, ("he-plain", 56): 60.0}
    with store.transaction():
        for number, ((architecture, depth), floor) in enumerate(floors.items()):
            for seed in range(2):
                is_deep_plain = (architecture, depth) == ("he-plain", 56)
                stopped = all_of_them or (is_deep_plain and (seed == 0 or all_of_deep_plain))
                samples.add_sample(
                    store, 2 * number + seed + 1, architecture, depth, experiment="given-up", floor=floor + seed,
                    seed=seed, total=12, epochs_done=5 if stopped else 12,
                    outcome=RunOutcome.STOPPED_EARLY if stopped else RunOutcome.SUCCEEDED,
                    error="not learning: loss is no better than guessing for 5 epochs" if stopped else None,
                )  # fmt: skip
    store.close()


def test_report_compare_and_describe_agree(bare_home: Any, tmp_path: Path):
    """The mean excludes it, gaps and verdict use its last epoch, and both carry the same note."""
    fill(bare_home.home)
    with Reader(bare_home.home.database) as reader:
        runs = reader.runs()
        (verdict,) = conclude(group_runs(runs), read_epochs(reader, runs)).verdicts
    training, line = verdict.training.contrast, verdict_line(verdict)
    assert (training.epoch, training.num_seeds, training.is_final) == (5, 2, True)
    assert " at epoch 12" in line, "the residual networks went on, and are compared at their own last epoch"
    assert line.endswith(" (at epoch 5 of 12, where a run was stopped early)")

    compared = bare_home.cli("compare")
    row = next(line for line in compared.splitlines() if line.startswith("he-plain56 "))
    assert "(n=1)" in row
    assert "seed 0 stopped-early at epoch 5/12 with" in row
    gap = next(line for line in compared.splitlines() if line.startswith("   56"))
    assert gap.count("(n=2)") == 1, "the gap, over both seeds"
    assert "(n=1)" in gap, "the plain network's final error"
    assert gap.endswith("(at epoch 5 of 12, where a run was stopped early)")
    assert STOPPED_NOTE in compared
    assert line in compared

    document = bare_home.json("describe")
    plain = next(network for network in document["networks"] if network["network"] == "he-plain56")
    assert (plain["num_seeds"], plain["unfinished"]) == (1, [])
    assert [(one["run"], one["seed"], one["epoch"]) for one in plain["stopped_early"]] == [("0000000007", 0, 5)]
    assert document["verdict"] == line
    assert document["pairs"][1]["over_seeds"]["train_error_gap"]["epoch"] == 5
    assert STOPPED_NOTE in bare_home.cli("describe")

    bare_home.cli("report", "-o", str(tmp_path / "report"))
    text = (tmp_path / "report" / "report.md").read_text()
    assert f"{STOPPED_NOTE[1:]}. he-plain56-s0 (epoch 5 of 12)." in text
    assert "Unfinished" not in text
    assert "| he-plain56 seed 0 stopped early at epoch 5 (at epoch 5 of 12, where a run was stopped early) |" in text
    assert "1 run that stopped early is drawn thin." in text
    assert "1 run that stopped early is not drawn." in text, "it has no point among the final errors"
    assert line in text


def test_an_experiment_of_nothing_else_has_a_report(bare_home: Any, tmp_path: Path):
    """It is not refused, as there is nothing to wait for: curves are drawn, final errors are missing."""
    fill(bare_home.home, all_of_them=True)
    bare_home.cli("report", "-o", str(tmp_path / "report"))
    text = (tmp_path / "report" / "report.md").read_text()

    assert "No run reached its last epoch." in text
    assert "8 runs that stopped early are drawn thin." in text
    assert "![Final error against depth]" not in text
    assert not (tmp_path / "report" / "figures" / "error-by-depth.svg").exists()


async def test_the_console_says_the_same(make_app: Callable[..., ConsoleApp]):
    """It shows the verdict, the note in its table, and the network without a point by depth."""
    app = make_app(fill=partial(fill, all_of_deep_plain=True))
    async with app.run_test(size=(160, 40)) as pilot:
        await settle(pilot)
        await press(pilot, "c", "3")
        screen = app.screen
        assert isinstance(screen, ComparisonScreen)
        chart = screen.query_one("#comparison-depth-test", Chart)
        await until(pilot, lambda: "missing: he-plain56 stopped-early" in str(chart.border_title))
        assert STOPPED_NOTE in screen.table_text()
        remark = str(screen.query_one("#remark", Static).content)
        assert remark.endswith(" (at epoch 5 of 12, where a run was stopped early)")
        verdict = remark.partition("\n")[2]
        assert " ".join(verdict.split()) in " ".join(screen.table_text().split()), "the table wraps it"


def test_an_events_text_is_separated_from_its_kind():
    """Even after the longest kind."""
    line = event_line(EventRow(at=0.0, kind="stopped-early", text="loss flat at ln 10 for 10 epochs"))

    assert line.endswith("  stopped-early  loss flat at ln 10 for 10 epochs")
