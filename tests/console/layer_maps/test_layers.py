"""Heat maps of layers by epoch: one character per value, notes on merged and missing cells, a cursor."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from console.app import ConsoleApp
from console.charts.layer_grid import LayerGrid, Quantity, figure, layer_grid
from console.charts.styles import HEAT_ON_DARK, HEAT_ON_LIGHT
from console.layer_maps.heat_map import TERMINAL_HEAT, draw_heat_map, rounded
from console.screens.run import RunScreen, counterpart_of
from console.text.formatting import BARS, BARS_IN_ASCII
from console.widgets.layer_map import LayerMap
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.journal import Gradients, LayerGradients
from tests import samples
from tests.console.driving import press, settle, until


def rows(values: dict[int, list[float | None]]) -> list[Gradients]:
    """Create gradient norms by epoch for a stem, one convolution per block, and a head."""
    return [
        Gradients(
            epoch=epoch,
            step=epoch,
            layers=[
                LayerGradients(name=name_of(place, len(row)), gradient_norm=value, weight_norm=2.0, update_ratio=None)
                for place, value in enumerate(row)
            ],
        )
        for epoch, row in values.items()
    ]


def name_of(place: int, num: int) -> str:
    return "stem" if place == 0 else "head" if place == num - 1 else f"stage1.block{place}.conv1"


def grid(values: dict[int, list[float | None]]) -> LayerGrid:
    return layer_grid(rows(values), Quantity.GRADIENTS)


def drawn(
    of: LayerGrid, width: int, height: int, *, unicode: bool = True, colours: tuple[int, ...] | None = None
) -> str:
    made = draw_heat_map(of, width=width, height=height, title="t", colours=colours, unicode=unicode)
    return "\n".join(made.lines)


def test_every_decade_has_its_own_bar():
    """Eight levels over seven decades: the scale is logarithmic and labels its ends."""
    text = drawn(grid({0: [10.0**-decade for decade in range(7, -1, -1)]}), 13, 6)

    assert text.splitlines()[-1] == f"init {BARS}"
    assert text.splitlines()[1].startswith("▁ 1e-7  █")


@pytest.mark.parametrize("unicode", [True, False])
def test_nothing_is_shown_by_colour_alone(unicode: bool):
    """Without colour the characters are the same; in ASCII there is nothing else."""
    of = grid({0: [1e-9, 1.0, 0.0], 1: [None, 1e-3, 2.0], 3: [1.0, 1.0, 1.0]})
    plain, coloured = drawn(of, 80, 9, unicode=unicode), drawn(of, 80, 9, unicode=unicode, colours=TERMINAL_HEAT)

    assert plain == re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert "\x1b" not in plain
    assert plain.isascii() or unicode
    bars = BARS if unicode else BARS_IN_ASCII
    cells = [line.split()[1] for line in plain.splitlines()[-4:]]
    assert cells == [
        bars[0] * 6 + bars[int(9 / 9.301 * len(bars))] * 6 + "0" * 6,
        "!" * 6 + bars[int(6 / 9.301 * len(bars))] * 6 + bars[-1] * 6,
        "?" * 18,
        bars[int(9 / 9.301 * len(bars))] * 18,
    ]
    assert all(words in plain for words in ("0 zero", "! not finite", "? not recorded (1 epoch)"))


def test_maps_with_equal_limits_are_comparable():
    """Equal values have equal bars in both, the ends are labelled, and values beyond the limits are not cut."""
    of = {"near": grid({0: [0.5, 2.0]}), "far": grid({0: [1.5e-6, 2.0]}), "beyond": grid({0: [1e-9, 2.0]})}
    made = {
        name: draw_heat_map(
            one, width=80, height=4, title="t", colours=None, unicode=True, limits=(1.5e-6, 4.0), whose="all"
        ).lines
        for name, one in of.items()
    }
    keys = {name: lines[0].split("  ", 1)[1].strip() for name, lines in made.items()}

    assert keys["near"] == keys["far"] == "▁ 1e-6  █ 5 (log, all)"
    assert keys["beyond"] == "▁ 1e-9  █ 5 (log, all)"
    assert made["near"][-1][-1] == made["far"][-1][-1]
    assert drawn(of["near"], 80, 4).splitlines()[0].endswith("▁ 0.5  █ 2 (log)"), "by itself in round numbers too"


@pytest.mark.parametrize(("value", "below", "above"), [(1, 1, 1), (1.5, 1, 2), (3, 2, 5), (7e-9, 5e-9, 1e-8)])
def test_a_scale_ends_at_round_numbers(value: float, below: float, above: float):
    """1, 2 or 5 times a power of ten."""
    assert 10 ** rounded(math.log10(value), up=False) == pytest.approx(below)
    assert 10 ** rounded(math.log10(value), up=True) == pytest.approx(above)


@pytest.mark.parametrize("colours", [HEAT_ON_DARK, HEAT_ON_LIGHT])
def test_a_decade_and_a_half_shows_many_colours(colours: tuple[int, ...]):
    """The gradients of a healthy run: they fill most of the scale, and the scale has many steps."""
    of = grid({0: [0.03 * 10 ** (step / 20) for step in range(31)]})
    used = set(re.findall(r"38;5;(\d+)m", drawn(of, 80, 4, colours=colours)))

    assert len(used) >= 12


def test_layers_that_share_a_cell_show_the_most_extreme_one():
    """Thirty layers in ten columns: the vanished and the exploded one are both visible, with a note."""
    values: list[float | None] = [1.0] * 30
    values[4], values[20] = 1e-12, 1e12
    lines = drawn(grid({0: values}), 15, 8).splitlines()

    assert lines[-2] == "init " + "".join(BARS[{1: 0, 6: 7}.get(column, 4)] for column in range(10))
    assert lines[-1].startswith("a cell cov")
    wide = drawn(grid({0: values}), 100, 8)
    assert "a cell cov" not in wide


def test_epochs_that_share_a_line_are_counted_and_the_initialisation_stays_alone():
    """A hundred epochs share twelve lines."""
    of = grid({epoch: [1.0, 1e-3 if epoch == 0 else 1.0] for epoch in range(101)})
    made = draw_heat_map(of, width=78, height=15, title="t", colours=None, unicode=True)

    assert made.rows[0] == range(1)
    assert [part.start for part in made.rows[1:]][:2] == [1, 10]
    assert sum(map(len, made.rows)) == 101
    assert made.lines[-1] == "a cell covers up to 10 epochs and shows the value furthest from the median"
    assert len(made.lines) <= 15


@pytest.mark.parametrize("width", [0, 1, 5, 9, 20, 80, 300])
@pytest.mark.parametrize("height", [0, 1, 2, 3, 5, 40])
def test_a_map_fits_into_any_size(width: int, height: int):
    """Even without space for it, and without data."""
    values: dict[int, list[float | None]] = {
        epoch: [10.0 ** (place - epoch) for place in range(56)] for epoch in range(30)
    }
    for of in (grid(values), grid({}), grid({0: [None, None]}), grid({5: [0.0]})):
        made = draw_heat_map(of, width=width, height=height, title="a title", colours=None, unicode=True)

        assert len(made.lines) <= max(height, 0)
        assert all(len(line) <= width for line in made.lines)


def test_every_cell_leads_to_its_layer_and_back():
    """The cursor shows what was clicked."""
    values: dict[int, list[float | None]] = {epoch: [1.0] * 56 for epoch in range(30)}
    for width, height in ((40, 12), (150, 60)):
        made = draw_heat_map(grid(values), width=width, height=height, title="t", colours=None, unicode=True)
        for y in range(height):
            for x in range(width):
                if (found := made.at(x, y)) is not None:
                    line, first, num = made.cells_of(*found) or (0, 0, 0)
                    assert line == y
                    assert first <= x < first + num
        assert made.at(0, 0) is None


@pytest.mark.parametrize(
    ("value", "words"), [(None, "not finite"), (0.0, "0"), (1.2345, "1.23"), (4.56e-12, "4.56e-12"), (3e8, "3e8")]
)
def test_a_norm_is_read_in_three_digits(value: float | None, words: str):
    """Tiny ones with an exponent."""
    assert figure(value) == words


async def test_the_cursor_reads_by_keys_and_by_mouse(make_app: Callable[..., ConsoleApp]):
    """Every layer and epoch, including those sharing a line; a key shows weights and updates; gaps are named."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "home", "enter", "6")
        assert isinstance(app.screen, RunScreen)
        shown = app.screen.query_one("#run-gradients", LayerMap)
        assert app.focused is shown
        assert str(shown.border_subtitle).startswith("epoch 164 stem: "), "the cursor is there at once"
        await press(pilot, "left")
        assert str(shown.border_subtitle).startswith("epoch 164 stem: gradient 6.31e-10, weight 4,")
        await press(pilot, "up", "right")
        assert str(shown.border_subtitle).startswith("epoch 163 stage1.block1.conv1: ")
        await press(pilot, "pageup", "end")
        assert str(shown.border_subtitle).startswith("init head: gradient 1, weight 5,")
        await press(pilot, "down", "down", "down", "down", "down", "down", "down")
        assert "epoch 7 head: " in str(shown.border_subtitle)
        assert "ratio not finite" in str(shown.border_subtitle)
        for _ in range(58):
            await pilot.press("down")
        assert str(shown.border_subtitle) == "epoch 65: nothing recorded"
        await press(pilot, "m")
        assert shown.border_title == "Weight norm"
        await press(pilot, "m")
        assert shown.border_title == "Update over weight"
        await pilot.click(LayerMap, offset=(12, 5))
        assert "conv" in str(shown.border_subtitle) or "stem" in str(shown.border_subtitle)
        before = str(shown.border_subtitle)
        await pilot.click(LayerMap, offset=(1, 1))
        assert str(shown.border_subtitle) == before
        await press(pilot, "w")
        (saved,) = app.session.home.saved_charts.glob("gradients-*.txt")
        assert "Update over weight (ratio of L2 norms) by layer and epoch" in saved.read_text()


async def test_the_scale_of_a_map_is_that_of_the_experiment(make_app: Callable[..., ConsoleApp]):
    """Another run's smaller gradients extend the scale, unless this run's own is chosen; other experiments do not."""

    def fill(home: Home) -> None:
        samples.fill_small(home)
        store = Store(home.database)
        with store.transaction():
            for run, size in ((2, 1e-20), (11, 1e-30)):
                layers = [LayerGradients(name="stem", gradient_norm=size, weight_norm=1.0, update_ratio=None)]
                store.ingest(f"{run:010x}", [Gradients(epoch=0, step=1, layers=layers)], [], end=0)
        store.close()

    app = make_app(fill=fill)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "home", "enter", "6")
        shown = app.screen.query_one("#run-gradients", LayerMap)
        assert "▁ 1e-20  █ 1 (log, all runs)" in shown.as_text(width=118, height=20)
        await press(pilot, "o")
        assert "▁ 5e-10  █ 1 (log, this run)" in shown.as_text(width=118, height=20)


async def test_a_run_without_gradients_says_so_and_keys_do_nothing(make_app: Callable[..., ConsoleApp]):
    """Such as a run of a version that did not measure them."""
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "enter", "6", "left", "m", "Y")
        shown: Any = app.screen.query_one("#run-gradients", LayerMap)
        assert "this run recorded no gradients" in shown.as_text(width=78, height=10)
        assert not shown.border_subtitle


async def test_a_key_shows_the_counterpart_beside(make_app: Callable[..., ConsoleApp]):
    """The plain network of the same depth and seed: one scale, one cursor, one quantity for both."""

    def fill(home: Home) -> None:
        samples.fill_small(home)
        with Reader(home.database) as reader:
            runs = {run.name: run for run in reader.runs() if run.experiment == "depths"}
            ours, plain = runs["he-resnet20-s0"], runs["he-plain20-s0"]
            names = [layer.name for layer in reader.gradients(ours.id)[0].layers]
        layers = [LayerGradients(name=name, gradient_norm=1e-3, weight_norm=7.0, update_ratio=None) for name in names]
        store = Store(home.database)
        with store.transaction():
            store.ingest(plain.id, [Gradients(epoch=0, step=1, layers=layers)], [], end=0)
        store.close()

    app = make_app(fill=fill)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await press(pilot, "home", "enter", "6", "v")
        ours, plain = app.screen.query(LayerMap)
        await until(pilot, lambda: "he-plain20-s0" in str(plain.border_title))
        assert "he-resnet20-s0" in str(ours.border_title)
        assert plain.region.x >= ours.region.right
        await press(pilot, "pageup", "home", "right", "right", "m")
        readings = [str(one.border_subtitle) for one in (ours, plain)]
        assert [words.partition(":")[0] for words in readings] == ["init stage1.block1.conv2"] * 2
        assert readings[1].endswith(": 7")
        scales = [re.search(r"▁ .* \(log, all runs\)", one.as_text(width=58, height=20)) for one in (ours, plain)]
        assert scales[0] is not None
        assert scales[1] is not None
        assert scales[0][0] == scales[1][0]

        await press(pilot, "v")
        await until(pilot, lambda: not plain.display)
        await until(pilot, lambda: "Weight norm" in str(ours.border_title))


def test_a_run_without_a_counterpart_has_none_beside(tmp_path: Path):
    """Neither another depth nor another seed nor another experiment counts."""
    home = Home(tmp_path).create()
    samples.fill_small(home)
    with Reader(home.database) as reader:
        runs = reader.runs()
    (ours,) = (run for run in runs if run.name == "he-resnet20-s0" and run.experiment == "depths")
    found = counterpart_of(ours, runs)

    assert found is not None
    assert found.name == "he-plain20-s0"
    assert counterpart_of(ours, [run for run in runs if run.id != found.id]) is None


@pytest.fixture
def trained(home: Any) -> Any:
    """Two tiny networks without normalisation, trained for an epoch."""
    home.cli(
        "train", "-a", "plain", "-d", "18,34", "--width", "2", "--norm", "none", "--data", "tiny", "--epochs", "1",
        "--batch-size", "100", "-e", "bare",
    )  # fmt: skip
    return home


def test_plot_shows_one_run_by_epoch_and_several_side_by_side_as_initialised(trained: Any):
    """Text for people, lists for programs; the deeper network without normalisation has the smaller gradients."""
    one = trained.cli("plot", name_of_run(trained, 18), "--metric", "gradients")
    assert [line.split()[0] for line in one.splitlines()[-2:]] == ["init", "1"]
    assert "stage1" in one

    several = trained.cli("plot", "bare", "--metric", "gradients").splitlines()
    assert several[0] == "Gradient norm of every layer at initialisation"
    stems = [float(line.split()[2]) for line in several[3:5]]
    assert 0 < stems[1] < 0.01 * stems[0]

    document = trained.json("plot", "bare", "--metric", "update-ratios")
    assert document["metric"] == "update-ratios"
    first = document["runs"][0]
    assert (first["layers"][0], first["layers"][-1]) == ("stem", "head")
    assert [epoch["epoch"] for epoch in first["epochs"]] == [0, 1]
    assert all(len(epoch["gradient_norm"]) == len(first["layers"]) for epoch in first["epochs"])
    assert stems[0] == pytest.approx(first["epochs"][0]["gradient_norm"][0], rel=0.01)

    assert "leave out --x-axis step" in trained.cli("plot", "bare", "--metric", "gradients", "-x", "step", status=2)
    assert "did you mean gradients?" in trained.cli("plot", "bare", "--metric", "gradient", status=2)


def name_of_run(home: Any, depth: int) -> str:
    return next(run["id"] for run in home.json("ls")["runs"] if run["spec"]["model"]["depth"] == depth)


def test_plot_of_a_run_that_has_not_begun_says_why_there_is_nothing(home: Any):
    """One line, and status 2."""
    home.cli("queue", "hold")
    run = home.train()
    said = home.cli("plot", run, "--metric", "gradients", status=2)

    assert "no gradients recorded for he-resnet8" in said
    assert len(said.splitlines()) == 1
