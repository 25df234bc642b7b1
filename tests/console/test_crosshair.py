"""Crosshair, zoom, and curves switched on and off, through the screen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.app import ConsoleApp
from console.charts.crosshair import positions, window_around
from console.charts.series import Series
from console.screens.charts import ChartScreen
from console.widgets.chart import Chart
from console.widgets.reading import Line, box
from tests.console.driving import press, settle, text_of
from tests.samples import fill_depths

SIZES = [(80, 24), (120, 36), (200, 50)]


def chart_of(app: ConsoleApp) -> Chart:
    """Return the uppermost visible chart of the screen."""
    return next(chart for chart in app.screen.query(Chart) if chart.is_on_screen)


def box_text(chart: Chart) -> str:
    """Return the characters of the box with the values."""
    return "\n".join("".join(segment.text for segment in line) for line in chart._box)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("keys", [["end", "b"], ["home", "b"], ["c"]])
async def test_values_at_the_crosshair_are_named(
    size: tuple[int, int], keys: list[str], make_app: Callable[..., ConsoleApp]
):
    """Each with its marker, name and value, the best first; the screen shows them whole."""
    app = make_app(fill=fill_depths)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        await press(pilot, *keys, "right_square_bracket", "left_square_bracket")
        await settle(pilot)
        chart = chart_of(app)
        found = sorted(chart.found(), key=lambda one: one[2])
        lines = box_text(chart).splitlines()

        assert len(found) >= 2
        assert lines[0].startswith("│epoch ")
        shown = [one for one in found if f"{one[2]:.4g}" in box_text(chart)]
        assert len(shown) == len(found) or f"+{len(found) - len(shown)} more" in box_text(chart)
        assert all(line in text_of(app) for line in lines)


def test_nine_values_fit_half_of_a_chart_or_are_counted():
    """In columns where there is room; what is left out is said."""
    lines = [Line("●", 75, f"resnet20-s{seed}", f"{seed}.123") for seed in range(9)]
    roomy = box("epoch 12", lines, 60, 6, unicode=True, colour=True)
    text = "".join(segment.text for line in roomy for segment in line)
    assert all(f"resnet20-s{seed}" in text for seed in range(9))

    narrow = box("epoch 12", lines, 26, 5, unicode=True, colour=True)
    text = "".join(segment.text for line in narrow for segment in line)
    assert "+6 more" in text
    assert len(narrow) == 5


@given(
    st.lists(st.text("abc-", min_size=1, max_size=30), max_size=20),
    st.integers(0, 90),
    st.integers(0, 20),
    st.booleans(),
)
def test_a_box_never_leaves_its_room(names: list[str], width: int, rows: int, unicode: bool):
    """For any names and any room; its lines are equally wide."""
    lines = [Line("*", None, name, "12.34 ± 0.5") for name in names]
    made = box("epoch 7", lines, width, rows, unicode=unicode, colour=False)
    widths = {sum(segment.cell_length for segment in line) for line in made}

    assert len(widths) <= 1
    assert not lines or (max(widths, default=0) <= width and len(made) <= max(rows, 0))


async def test_the_crosshair_moves_from_epoch_to_epoch(make_app: Callable[..., ConsoleApp]):
    """By key, tenfold, to both ends and by mouse; never between epochs nor past the data."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "end", "tab")
        chart = chart_of(app)
        seen = []
        for key in ("left", "left", "left", "shift+left", "shift+right", "shift+right", "home", "left", "end", "right"):
            await press(pilot, key)
            await settle(pilot)
            seen.append(app.session.view.crosshair)
        last = seen[0]
        places = list(chart.positions())

        assert last == places[-1]
        assert seen[:3] == [places[-1], places[-2], places[-3]]
        assert seen[3:] == [places[-13], places[-3], last, places[0], places[0], last, last]
        for column in range(12, 60, 5):
            await pilot.click("#first-chart", offset=(column, 6))
            await settle(pilot)
            assert app.session.view.crosshair in places
        assert all(place == round(place) for place in places)


@given(st.lists(st.floats(0.0, 200.0), min_size=1, max_size=30))
def test_the_crosshair_stands_on_whole_epochs_while_there_are_any(xs: list[float]):
    """A part of an epoch counts only for runs within their first."""
    found = positions([Series("a", sorted(xs), [1.0] * len(xs))], (0.0, 200.0), whole=True).tolist()
    whole = {x for x in xs if x == round(x)}

    assert set(found) == (whole or set(xs))


@pytest.mark.parametrize("key", ["z", "l"])
async def test_zoom_is_to_whole_epochs_around_the_crosshair(key: str, make_app: Callable[..., ConsoleApp]):
    """The title names them, and one key shows all again."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "end", "right_square_bracket", "left_square_bracket", key)
        await settle(pilot)
        window = app.session.view.options.window
        assert window is not None
        assert all(limit == round(limit) for limit in window)
        assert window[0] <= (app.session.view.crosshair or 0.0) <= window[1]
        assert f"{window[0]:.0f} to {window[1]:.0f}" in text_of(app)
        await press(pilot, "0")
        await settle(pilot)
        assert app.session.view.options.window is None
        await press(pilot, "escape")
        assert app.session.view.crosshair is None


@given(st.floats(0, 300), st.floats(0, 400), st.integers(1, 20), st.integers(30, 300))
def test_windows_have_whole_limits_within_the_data(middle: float, width: float, least: int, most: int):
    """And hold the place they are around, if the data does."""
    window = window_around(middle, width, (least, most))

    if window is not None:
        assert least <= window[0] < window[1] <= most
        assert all(limit == round(limit) for limit in window)
        assert not least <= middle <= most or window[0] <= middle <= window[1]


async def test_the_y_axis_zooms_in_one_chart(make_app: Callable[..., ConsoleApp]):
    """From the lowest value up, in round numbers; the other chart, of another metric, stays."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "end")
        upper, lower = app.screen.query(Chart)
        before = [*upper._lines], [*lower._lines]
        await press(pilot, "+")
        await settle(pilot)
        assert upper.y_range is not None
        assert upper._lines != before[0]
        assert lower._lines == before[1]
        assert " y " in upper.title_text()
        await press(pilot, "-")
        await settle(pilot)
        assert upper._lines == before[0]


async def test_a_smoothed_value_says_so(make_app: Callable[..., ConsoleApp]):
    """It is not what was measured."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "end", "e", "right_square_bracket")
        await settle(pilot)
        assert "smoothed" in box_text(chart_of(app)).splitlines()[0]


async def test_curves_are_switched_off_by_mouse_and_key(make_app: Callable[..., ConsoleApp]):
    """In both charts of the screen; the name stays, and the crosshair reads what is shown."""
    app = make_app(fill=fill_depths)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "c", "right_square_bracket")
        await settle(pilot)
        screen, chart = app.screen, chart_of(app)
        assert isinstance(screen, ChartScreen)
        name = chart._names[0]
        num_read = len(chart.found())
        # The border is one cell wide.
        await pilot.click(f"#{chart.id}", offset=(name.left + 1, name.line + 1))
        await settle(pilot)
        assert screen.hidden == {name.label}
        assert name.label in [one.label for one in chart._names]
        assert name.label not in [one.label for one, _, _ in chart.found()]
        await pilot.click(f"#{chart.id}", offset=(chart._names[0].left + 1, chart._names[0].line + 1))
        await settle(pilot)
        await press(pilot, "down", "down", "space")
        await settle(pilot)
        assert screen.hidden == {chart.curve_labels()[1]}
        assert f"space shows {chart.curve_labels()[1]}" in text_of(app)
        await press(pilot, "0")
        await settle(pilot)
        assert screen.hidden == frozenset()
        assert len(chart.found()) == num_read
