"""Errors against depth: the axis covers the trained networks, and other published errors are listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.charts.plot import Series
from console.comparison.depth_curves import depth_range, published_curves
from console.comparison.groups import Group, group_runs
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from tests import samples


def groups_of(directory: Path, architecture: str, depths: tuple[int, ...]) -> list[Group]:
    home = Home(directory / "home").create()
    store = Store(home.database)
    with store.transaction():
        for number, depth in enumerate(depths, 1):
            samples.add_sample(store, number, architecture, depth, experiment="e", epochs_done=3, total=3)
    store.close()
    with Reader(home.database) as reader:
        return group_runs(reader.runs())


@pytest.mark.parametrize(
    ("depths", "shown", "outside"),
    [
        ((20, 56), [20, 32, 44, 56], "110, 1202"),
        ((56, 110), [56, 110], "20, 32, 44, 1202"),
        ((56,), [56], "20, 32, 44, 110, 1202"),
    ],
)
def test_published_points_do_not_stretch_the_axis(
    tmp_path: Path, depths: tuple[int, ...], shown: list[int], outside: str
):
    """Points between the trained depths are drawn, others are listed in the legend."""
    groups = groups_of(tmp_path, "he-resnet", depths)
    curves: list[Series] = published_curves(groups, None)
    limits = depth_range(groups)

    assert [list(curve.x) for curve in curves] == [shown]
    assert curves[0].label == f"he-resnet, He et al. (outside: {outside})"
    assert limits is not None
    assert depths[0] - 2 < limits[0] < depths[0]
    assert depths[-1] < limits[1] < depths[-1] + 2
