"""The comparison of 18 runs: six networks at three depths, three seeds each, of which the deepest two still train."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest
from textual.widgets import Static, TabbedContent

from console.app import ConsoleApp
from console.charts.series import Series
from console.screens.comparison import ComparisonScreen
from console.widgets.chart import Chart
from tests.console.driving import keys, press, settle, text_of, until
from tests.samples import fill_depths

SIZE = (120, 36)
NETWORKS = ["he-resnet20", "he-plain20", "he-resnet56", "he-plain56", "he-resnet110", "he-plain110"]


def named(app: ConsoleApp, chart: str) -> list[Series]:
    return [one for one in app.screen.query_one(f"#{chart}", Chart)._series if one.label]


async def test_figures_draw_every_network(make_app: Callable[..., ConsoleApp]):
    """The verdict speaks of the deepest networks, so they are drawn too, each as a mean with a band."""
    app = make_app(fill=fill_depths)
    async with app.run_test(size=SIZE) as pilot:
        await keys("c")(pilot)
        drawn = named(app, "comparison-error")

        assert [one.label.split()[0] for one in drawn] == NETWORKS
        assert [one.label.partition(" ")[2] for one in drawn] == ["n=3"] * 4 + ["n=2 of 3"] * 2
        assert all(one.low is not None for one in drawn)

        await keys("d", "d", "d")(pilot)
        assert [one.label.split()[0] for one in named(app, "comparison-loss")] == NETWORKS[4:]


async def test_gap_has_a_band_over_the_paired_seeds(make_app: Callable[..., ConsoleApp]):
    """± one standard deviation of the paired differences; the seed that still trains is not paired."""
    app = make_app(fill=fill_depths)
    async with app.run_test(size=SIZE) as pilot:
        await keys("c", "2")(pilot)
        shallow, _, deep = named(app, "comparison-gap-test")
        screen = app.screen
        pairs = [
            [row.test_error_percent for row in screen.session.feed.history(run.id).epochs]  # type: ignore[attr-defined]
            for run in screen.runs()  # type: ignore[attr-defined]
            if run.spec.model.depth == 20
        ]
    differences = [plain[-1] - residual[-1] for residual, plain in zip(pairs[:3], pairs[3:], strict=True)]

    assert shallow.label == "he-plain20 - he-resnet20 n=3"
    assert deep.label == "he-plain110 - he-resnet110 n=2, paired seeds 0, 1"
    assert shallow.low is not None
    assert shallow.high is not None
    assert shallow.y[-1] == pytest.approx(statistics.fmean(differences))
    assert shallow.high[-1] - shallow.y[-1] == pytest.approx(statistics.stdev(differences))
    assert shallow.y[-1] - shallow.low[-1] == pytest.approx(statistics.stdev(differences))


@pytest.mark.parametrize("chart", ["comparison-error", "comparison-depth-test", "comparison-depth-train"])
async def test_chance_is_a_labelled_line(chart: str, make_app: Callable[..., ConsoleApp]):
    """A network that does not learn ends there: 90 % for ten classes."""
    app = make_app(fill=fill_depths)
    async with app.run_test(size=SIZE) as pilot:
        await keys("c", "1" if chart == "comparison-error" else "3")(pilot)
        lines, title = app.screen.query_one(f"#{chart}", Chart)._references, text_of(app)

    assert "error %, chance 90 % · " in title, "its label may be covered by a curve that ends there"
    assert [one.y for one in lines if one.label == "chance 90 %"] == [90.0]


async def test_best_and_stuck_networks_are_named_above_the_verdict(make_app: Callable[..., ConsoleApp]):
    """In words, and whole on the smallest terminal: nothing of the verdict is cut."""
    app = make_app(fill=fill_depths)
    async with app.run_test(size=(80, 24)) as pilot:
        await keys("c")(pilot)
        text = " ".join(text_of(app).split())

    assert "lowest test error: he-resnet110, " in text
    assert "so far: he-plain110 trains" in text
    assert "1 seed not finished" in text


async def test_comparison_goes_from_depth_to_depth(make_app: Callable[..., ConsoleApp]):
    """Only the pair of one depth, with the overall verdict below."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "home", "c", "d")
        screen = app.screen
        assert isinstance(screen, ComparisonScreen)
        assert {run.spec.model.depth for run in screen.drawn_runs()} == {20}
        await press(pilot, "d")
        assert {run.spec.model.depth for run in screen.drawn_runs()} == {56}
        await press(pilot, "4")
        await until(pilot, lambda: screen.query_one("#comparison-tabs", TabbedContent).active == "table")
        assert "± 0.20 (n=3)" in str(screen.query_one("#comparison-table", Static).content)
