"""Early stopping end to end, from the command line to the comparison and a retry."""

from __future__ import annotations

from tests.conftest import TestHome

HOPELESS = (
    "--recipe", "constant", "--lr", "1e-12", "--epochs", "43", "--batch-size", "4",
    "--train-images", "40", "--test-images", "20", "--stop-when", "not-learning",
)  # fmt: skip
"""A learning rate too small to learn anything; 400 updates are 40 epochs."""


def test_a_hopeless_run_stops_early_reports_savings_and_can_be_resumed(home: TestHome):
    """After 40 of 43 epochs: `wait` reports no success, and a retry continues from the checkpoint."""
    run = home.train(*HOPELESS)

    said = home.cli("wait", run, status=4)
    shown = home.json("show", run)

    assert "stopped-early: not learning: loss is no better than guessing (ln 4 = 1.386) for 40 epochs" in said
    assert "; stopped at epoch 40 of 43, which saves 3 epochs (about" in said
    assert (shown["run"]["outcome"], shown["run"]["epoch"]) == ("stopped-early", 40)
    assert shown["run"]["class_counts"] == [10, 10, 10, 10]
    assert [event["kind"] for event in shown["events"]][-2:] == ["stopped-early", "finished"]
    assert "seed 0 stopped-early at epoch 40/43 with" in home.cli("compare")

    home.cli("retry", run)
    home.cli("wait", run)
    assert home.json("show", run)["run"]["epoch"] == 43


def test_without_a_stop_rule_a_run_continues(home: TestHome):
    """Off by default, whatever the loss."""
    run = home.train(*HOPELESS[:-2])

    home.cli("wait", run)
    assert home.json("show", run)["run"]["epoch"] == 43


def test_an_unknown_stop_rule_is_refused(home: TestHome):
    """The error lists the valid rules."""
    said = home.cli("train", "-a", "he-resnet", "-d", "8", "--data", "tiny", "--stop-when", "bored", status=2)

    assert "stop-when must be one of not-learning, or left out for never, got 'bored'" in said
