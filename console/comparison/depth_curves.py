"""What depth does, as curves: the gap of each depth over the epochs, and final errors against depth."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from console.charts.metrics import MARKERS
from console.charts.plot import Range, Series, smooth
from console.comparison.groups import Group, Pair, families
from console.comparison.published import PUBLISHED, Published, published
from console.comparison.verdict import Epochs, gap_by_epoch
from models import catalog
from models.catalog import Architecture

GAP_MARKERS = "●■▲◆▼"
ROOM_BESIDE = 0.02
"""Of the range of depths, left of the shallowest and right of the deepest: a crosshair at the edge still reads them."""


def gap_curves(
    pairs: Sequence[Pair], epochs: Epochs, metric: str, colours: Sequence[int | str], *, smoothing: float = 0.0
) -> list[Series]:
    """Plain minus residual behind every epoch, a curve a depth: the mean over the seeds that are there.

    Args:
        pairs: Shallow before deep.
        epochs: Of their runs, by id.
        metric: A field of Epoch, in percent.
        colours: In the order of the pairs.
        smoothing: Weight of the past; the raw curve stays faint behind.
    """
    drawn: list[Series] = []
    for index, pair in enumerate(pairs):
        found = gap_by_epoch(pair, epochs, metric)
        x, y = [one.epoch for one in found], [one.mean for one in found]
        marker, colour = GAP_MARKERS[index % len(GAP_MARKERS)], colours[index % len(colours)]
        label = f"{pair.plain.label} - {pair.residual.label} (n={max((one.num_seeds for one in found), default=0)})"
        if smoothing:
            drawn.append(Series("", x, y, marker=marker, colour=colour, faint=True))
        drawn.append(Series(label, x, smooth(y, smoothing), marker=marker, colour=colour))
    return drawn


def depth_curves(groups: Sequence[Group], metric: str, colours: Sequence[int | str]) -> list[Series]:
    """Final errors against depth, a curve a kind of network, with a bar of one standard deviation to either side.

    Args:
        groups: Of an experiment; a network without a finished run is not there yet.
        metric: A field of Run, in percent.
        colours: In the order of the curves.
    """
    drawn: list[Series] = []
    for index, family in enumerate(families(groups)):
        colour = colours[index % len(colours)]
        results = {group.model.depth: group.finals(metric) for group in family if group.finals(metric)}
        for depth, values in results.items():
            if len(values) > 1:
                mean, std = statistics.fmean(values), statistics.stdev(values)
                drawn.append(Series("", [depth, depth], [mean - std, mean + std], colour=colour, faint=True))
        num = sorted({len(values) for values in results.values()})
        seeds = f" (n={'-'.join(map(str, (num[0], num[-1]) if len(num) > 1 else num))})" if num else ""
        means = [statistics.fmean(values) for values in results.values()]
        marker = MARKERS[family[0].model.architecture][0]
        drawn.append(Series(family_label(family[0]) + seeds, list(results), means, marker=marker, colour=colour))
    return drawn


def family_label(group: Group) -> str:
    """A kind of network without its depth: he-plain-w8."""
    name = group.model.architecture.value
    return name + catalog.label(group.model).removeprefix(f"{name}{group.model.depth}")


def published_curves(groups: Sequence[Group], colour: int | str | None) -> list[Series]:
    """Published test errors between the depths of an experiment, a curve a kind of network, with hollow markers.

    What was published of other depths would stretch the axis over them; it is named in the legend instead.

    Args:
        groups: Of the experiment; those of images that are none have nothing to be held against.
        colour: Of them all.
    """
    wanted = {
        group.model.architecture
        for group in groups
        if published(group.model) is not None and not any(run.synthetic for run in group.runs)
    }
    depths = [group.model.depth for group in groups]
    return [
        published_curve(
            architecture,
            [one for one in PUBLISHED if one.architecture is architecture],
            (min(depths), max(depths)),
            colour,
        )
        for architecture in Architecture
        if architecture in wanted
    ]


def published_curve(
    architecture: Architecture, numbers: Sequence[Published], depths: tuple[int, int], colour: int | str | None
) -> Series:
    """The published numbers of an architecture from one depth to another, and the names of the other ones."""
    shown = [one for one in numbers if depths[0] <= one.depth <= depths[1]]
    remarks = ["at least"] * any(one.is_bound for one in shown)
    if outside := [str(one.depth) for one in numbers if one not in shown]:
        remarks.append(f"outside: {', '.join(outside)}")
    return Series(
        f"{architecture}, {numbers[0].source.name}" + (f" ({'; '.join(remarks)})" if remarks else ""),
        [one.depth for one in shown],
        [one.test_error_percent for one in shown],
        marker=MARKERS[architecture][1],
        colour=colour,
    )


def depth_range(groups: Sequence[Group]) -> Range | None:
    """From left of the shallowest network to right of the deepest, finished or not; None where there is none."""
    if not (depths := [group.model.depth for group in groups]):
        return None
    room = max(ROOM_BESIDE * (max(depths) - min(depths)), 1.0)
    return min(depths) - room, max(depths) + room


def missing_finals(groups: Sequence[Group]) -> str:
    """Which networks have no final error, and why, as an addition to a title; empty where all have one."""
    missing = [group for group in groups if not group.succeeded]
    words = [
        f"{group.label} {', '.join(sorted({str(run.outcome or run.status) for run in group.runs}))}"
        for group in missing
    ]
    return f"; none of {', '.join(words)}" if words else ""
