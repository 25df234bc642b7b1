"""Diagnoses in the console: the remark on a run, and the degradation view, driven by keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.widgets import Input, Static

from console.app import ConsoleApp
from console.screens.comparison import ComparisonScreen
from console.screens.new_experiment import NewExperimentScreen
from console.widgets.chart import Chart
from console.widgets.fields import OneOf
from engine.base.paths import Home
from engine.spec.run import StopRule
from tests.console.driving import press, settle, text_of, until
from tests.recorded_runs import recorded_home
from tests.samples import fill_depths


def fill_recorded(*names: str) -> Callable[[Home], None]:
    def fill(home: Home) -> None:
        recorded_home(home.root, *names)

    return fill


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        (
            "not-learning",
            "he-plain32-w4-nonorm-s0: loss flat at ln 10 for 10 epochs: not learning; stopped at epoch 10 of 30",
        ),
        (
            "overfitting",
            "he-resnet8-s0: overfitting: test loss 44 % above its lowest (epoch 10) while the training loss fell from",
        ),
        ("diverged", "he-resnet8-w4-s0: diverged: the loss was not finite in epoch 1"),
    ],
)
async def test_bottom_line_says_what_is_wrong_with_a_run(make_app: Callable[..., ConsoleApp], name: str, remark: str):
    """Recorded runs under the cursor of the home screen, and on the screen of the run."""
    app = make_app(fill=fill_recorded(name))
    async with app.run_test(size=(200, 50)) as pilot:
        await settle(pilot)
        await until(pilot, lambda: str(app.screen.query_one("#remark", Static).content).startswith(remark))
        await press(pilot, "enter")
        await until(pilot, lambda: str(app.screen.query_one("#remark", Static).content).startswith(remark))


async def test_gap_and_depth_fill_the_comparison(make_app: Callable[..., ConsoleApp]):
    """The gap at every depth, final errors with published ones, and a verdict with evidence from two seeds."""
    app = make_app(fill=fill_depths)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "c", "2")
        screen = app.screen
        assert isinstance(screen, ComparisonScreen)
        gap = screen.query_one("#comparison-gap-train", Chart)
        await until(pilot, lambda: gap.has_focus)
        drawn = "\n".join(gap.as_lines(width=140, height=20, colour=False))
        assert "he-plain56 - he-resnet56 n=3" in drawn
        await press(pilot, "d")
        drawn = "\n".join(gap.as_lines(width=140, height=20, colour=False))
        assert "he-plain20 - he-resnet20 n=3" in drawn
        assert "he-plain56" not in drawn, "d goes to one depth here too"
        await press(pilot, "3")
        errors = screen.query_one("#comparison-depth-test", Chart)
        drawn = "\n".join(errors.as_lines(width=140, height=20, colour=False))
        assert "he-plain (n=2-3)" in drawn
        assert "he-resnet, He et al." in drawn
        best, _, verdict = str(screen.query_one("#remark", Static).content).partition("\n")
        assert best == "lowest test error: he-resnet110, 6.52 % ± 0.14 (n=2)"
        assert verdict.startswith(
            "so far: he-plain110 trains 35.8 ± 0.7 points worse than he-plain20, n=2 (1 seed not finished);"
            " with shortcuts he-resnet110 against he-resnet20: 1.1"
        )


async def test_crosshair_of_the_depths_reads_depths(make_app: Callable[..., ConsoleApp]):
    """It is reset on other tabs, where its x would be an epoch."""
    app = make_app(fill=fill_depths)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "c", "3")
        chart = app.screen.query_one("#comparison-depth-train", Chart)
        await until(pilot, lambda: chart.has_focus)
        await press(pilot, "left_square_bracket")
        assert "│depth 110 " in text_of(app)
        await press(pilot, "1")
        await until(pilot, lambda: app.screen.query_one("#comparison-loss", Chart).has_focus)
        assert "│depth 110 " not in text_of(app)


async def test_experiment_without_pairs_says_so(make_app: Callable[..., ConsoleApp]):
    """A single network has no gap."""
    app = make_app(fill=fill_recorded("overfitting"))
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "c", "2")
        chart = app.screen.query_one("#comparison-gap-train", Chart)
        await until(pilot, lambda: "No gap: no network was trained both" in str(chart.border_title))


async def test_form_asks_for_an_early_end(make_app: Callable[..., ConsoleApp]):
    """Never by default."""
    app = make_app(fill=None)
    async with app.run_test(size=(120, 50)) as pilot:
        await settle(pilot)
        await press(pilot, "n", "space")
        form = app.screen
        assert isinstance(form, NewExperimentScreen)
        form.query_one("#depths", Input).value = "20"
        await until(pilot, lambda: form.planned)
        assert form.planned[0].spec.stop_when is None
        form.query_one("#stop_when", OneOf).value = "not-learning"
        await until(pilot, lambda: form.planned and form.planned[0].spec.stop_when is StopRule.NOT_LEARNING)
