"""A network looks the same wherever it is drawn."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from rich.color import Color

from console.charts.styles import (
    COLOURS_ON_DARK,
    COLOURS_ON_LIGHT,
    DEPTHS_BELOW,
    MARKERS,
    TERMINAL_COLOURS,
    VARIANTS,
    depth_rank,
    look_of,
    looks,
)
from console.report.matplotlib_figures import MARKER_OF, hex_of
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.run import Run
from models.catalog import model_spec
from tests import samples

CIFAR_DEPTHS = (8, 14, 20, 32, 44, 56, 110, 164, 1202)
IMAGENET_DEPTHS = (18, 34, 50, 101, 152)


def runs_of(directory: Path, *networks: tuple[str, int, int]) -> list[Run]:
    home = Home(directory / "home").create()
    store = Store(home.database)
    with store.transaction():
        for number, (architecture, depth, seed) in enumerate(networks, 1):
            samples.add_sample(store, number, architecture, depth, experiment="e", epochs_done=1, total=3, seed=seed)
    store.close()
    with Reader(home.database) as reader:
        return sorted(reader.runs(), key=lambda run: run.position)


@pytest.mark.parametrize("depths", [CIFAR_DEPTHS, IMAGENET_DEPTHS])
@pytest.mark.parametrize("colours", [COLOURS_ON_DARK, COLOURS_ON_LIGHT, TERMINAL_COLOURS])
def test_usual_depths_differ_in_colour(depths: tuple[int, ...], colours: tuple[int | str, ...]):
    """The effect of depth is what the charts show."""
    assert len({colours[depth_rank(depth)] for depth in depths}) == len(depths)
    assert [depth_rank(depth) for depth in depths] == sorted(depth_rank(depth) for depth in depths)
    assert len(set(colours)) == len(colours) == len(VARIANTS) == len(DEPTHS_BELOW) + 1


def test_a_look_does_not_depend_on_what_else_is_drawn(tmp_path: Path):
    """As the cursor moves, other runs are drawn beside a network."""
    runs = runs_of(
        tmp_path, *((arch, depth, seed) for arch in ("resnet", "plain") for depth in (18, 34) for seed in (0, 1))
    )
    alone = {run.id: looks([run], COLOURS_ON_DARK)[run.id] for run in runs}

    for num in (2, 5, 8):
        for some in combinations(runs, num):
            assert looks(some, COLOURS_ON_DARK) == {run.id: alone[run.id] for run in some}
    assert len(set(alone.values())) == 4


def test_shortcuts_are_told_by_line_and_marker():
    """In grey, a residual and a plain network of one depth still differ."""
    residual, plain = (look_of(model_spec(name, 20), COLOURS_ON_DARK) for name in ("he-resnet", "he-plain"))

    assert residual.colour == plain.colour
    assert residual.marker != plain.marker
    assert (residual.dashed, plain.dashed) == (False, True)


@pytest.mark.parametrize("depths", [(20, 56, 110), (20, 32, 44), (18, 34, 101)])
def test_usual_depths_differ_without_colour(depths: tuple[int, ...]):
    """A terminal without colour has only the markers."""
    architecture = "he-resnet" if depths[0] == 20 else "resnet"

    markers = {look_of(model_spec(architecture, depth), COLOURS_ON_DARK).marker for depth in depths}

    assert len(markers) == 3


def test_networks_of_one_range_of_depths_differ_in_their_markers(tmp_path: Path):
    """20 and 26 layers share a colour."""
    shallow, deep = runs_of(tmp_path, ("he-resnet", 20, 0), ("he-resnet", 26, 0))

    found = looks([deep, shallow], COLOURS_ON_DARK)

    assert found[shallow.id].colour == found[deep.id].colour
    assert found[shallow.id].marker != found[deep.id].marker


def test_the_report_draws_networks_as_the_console_does():
    """A figure and the screen beside it speak of the same curve; in grey, line and marker tell architectures apart."""
    shallow, deep, plain = (
        look_of(model_spec(name, depth), COLOURS_ON_LIGHT)
        for name, depth in (("he-resnet", 20), ("he-resnet", 56), ("he-plain", 56))
    )

    assert set(MARKER_OF) == set("".join(MARKERS.values()))
    assert len(set(MARKER_OF.values())) == len(MARKER_OF)
    assert hex_of(deep) == hex_of(plain) == Color.from_ansi(COLOURS_ON_LIGHT[depth_rank(56)]).get_truecolor().hex
    assert hex_of(shallow) != hex_of(deep)
