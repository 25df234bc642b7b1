"""The summary on the home screen: where it is shown, and when it changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import console.screens.summary
from console.app import ConsoleApp
from console.screens.comparison import ComparisonScreen
from console.screens.home import HomeScreen
from console.tui.view_state import load_view
from engine.index.writer import Store
from engine.runs.run import RunOutcome, RunStatus
from tests import samples
from tests.console.driving import press, settle, text_of, until


def home(app: ConsoleApp) -> HomeScreen:
    screen = app.screen_stack[0]
    assert isinstance(screen, HomeScreen)
    return screen


@pytest.mark.parametrize(("size", "is_shown"), [((80, 24), False), ((120, 36), True), ((200, 50), True)])
async def test_one_key_shows_or_hides_the_summary(
    size: tuple[int, int], is_shown: bool, make_app: Callable[..., ConsoleApp]
):
    """Larger terminals show it from the start; in the smallest it takes the place of the chart. It is remembered."""
    app = make_app(fill=samples.fill_depths)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        before = text_of(app)
        await press(pilot, "V")
        await settle(pilot)
        after = text_of(app)

        for text, is_in in ((before, is_shown), (after, not is_shown)):
            assert ("16 of 18 runs finished" in text) == is_in
            assert ("So far: he-plain110 trains" in text) == is_in
            assert ("diagnosis" in text) == is_in
        assert "Training loss" in (before if size == (80, 24) else after)
    assert load_view(app.session.home, app.session.config).summary is not is_shown


async def test_every_network_fits_the_smallest_terminal(make_app: Callable[..., ConsoleApp]):
    """Six networks with seeds, error and diagnosis below the verdict."""
    app = make_app(fill=samples.fill_depths)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "V")
        await settle(pilot)

        lines = text_of(app).splitlines()
        networks = [line for line in lines if "n=" in line and "/" in line and ":" not in line.split("n=")[0]]
        assert [line.split()[2] for line in networks] == [
            *("he-resnet20", "he-plain20", "he-resnet56", "he-plain56", "he-resnet110", "he-plain110")
        ]
        assert all("n=3" in line for line in networks[:4])


async def test_a_click_opens_the_comparison(make_app: Callable[..., ConsoleApp]):
    """It has all of the verdict and the whole table."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await pilot.click("#summary")
        await until(pilot, lambda: isinstance(app.screen, ComparisonScreen))


async def test_a_finished_seed_changes_the_summary_and_a_step_computes_nothing(
    make_app: Callable[..., ConsoleApp], monkeypatch: pytest.MonkeyPatch
):
    """Progress within an epoch changes no number of it."""
    computed: list[str] = []
    compute = console.screens.summary.summary_of

    def count(experiment: str, *args: object, **kwargs: object) -> object:
        computed.append(experiment)
        return compute(experiment, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(console.screens.summary, "summary_of", count)
    app = make_app(fill=samples.fill_depths)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        assert computed == ["degradation"]
        running = [run for run in app.session.feed.runs.values() if run.status is RunStatus.RUNNING]
        store = Store(app.session.home.database)
        with store.transaction():
            step = running[0].step + 50
            store.ingest(running[0].id, [samples.sample_step(step, 91, at=samples.NOW)], [], end=0)
        app.session.look()
        await until(pilot, lambda: app.session.feed.runs[running[0].id].step == step)
        await settle(pilot)
        await press(pilot, "down", "up")
        await settle(pilot)
        assert computed == ["degradation"]

        with store.transaction():
            for run in running:
                store.set_status(
                    run.id, RunStatus.FINISHED, outcome=RunOutcome.CANCELLED, error=None, finished_at=samples.NOW
                )
        store.close()
        app.session.look()
        await until(pilot, lambda: "18 of 18 runs finished" in text_of(app))
        await settle(pilot)
        assert len(computed) == 2
        assert "cancelled 1/3" in text_of(app)
        assert "So far" not in text_of(app)
