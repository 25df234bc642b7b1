"""Curves of the effect of depth: the gap at each depth over epochs, and final errors against depth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np

from console.charts.plot import Range, Reference, Series, smooth
from console.charts.styles import MARKERS, family_look, look_of
from console.comparison.claims import Epochs
from console.comparison.groups import Group, Pair, by_seed, families
from console.comparison.mixtures import mixture_mark
from console.comparison.published import PUBLISHED, Published, published_of
from console.comparison.verdict import gap, gap_by_epoch
from models import catalog
from models.catalog import Architecture

GAP_MARKERS = "●■▲◆▼"
ROOM_BESIDE = 0.02
"""Margin on both sides as a fraction of the depth range, so that a crosshair can reach the outermost depths."""


def gap_curves(
    pairs: Sequence[Pair], epochs: Epochs, metric: str, colours: Sequence[int | str], *, smoothing: float = 0.0
) -> list[Series]:
    """Curves of plain minus residual after every epoch, one for each depth: means over the paired seeds.

    The seeds are those of the final gap, so a curve ends where the tables say. With more than one, a band of ± one
    standard deviation of the paired differences surrounds the curve, around the values before smoothing.

    Args:
        pairs: Pairs of networks, shallow before deep.
        epochs: Epochs by run id.
        metric: Field of Epoch, in percent.
        colours: Colours by depth.
        smoothing: Weight of the past in the moving average; the raw curve stays faintly visible.
    """
    drawn: list[Series] = []
    for index, pair in enumerate(pairs):
        last = gap(pair, epochs, metric)
        seeds = () if last is None else last.contrast.seeds
        found = gap_by_epoch(pair, epochs, metric, seeds)
        x, y = [one.epoch for one in found], np.array([one.mean for one in found])
        marker = GAP_MARKERS[index % len(GAP_MARKERS)]
        colour = look_of(pair.residual.model, colours).colour
        label = f"{pair.plain.label} - {pair.residual.label} {seeds_label(pair, seeds)}"
        if mark := mixture_mark([*pair.plain.runs, *pair.residual.runs]):
            label += f", {mark}"
        if smoothing:
            drawn.append(Series("", x, y, marker=marker, colour=colour, faint=True, belongs_to=label))
        # `Contrast.std` is exact to the last bit, which is slow.
        std = np.array([one.differences for one in found]).std(axis=1, ddof=1) if found and len(seeds) > 1 else None
        low, high = (None, None) if std is None else (y - std, y + std)
        drawn.append(Series(label, x, smooth(y, smoothing), marker=marker, colour=colour, low=low, high=high))
    return drawn


def seeds_label(pair: Pair, seeds: Sequence[int]) -> str:
    """Number of paired seeds; which they are, if one of the networks has more: n=2, paired seeds 0, 1."""
    label = f"n={len(seeds)}"
    if seeds and any(len(by_seed(group)) > len(seeds) for group in (pair.plain, pair.residual)):
        label += f", paired seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    return label


def chance_line(groups: Sequence[Group], metric: str) -> list[Reference]:
    """Horizontal line at what guessing scores, to see which networks do not learn; none for differing class counts."""
    classes = {group.model.num_classes for group in groups}
    if len(classes) != 1:
        return []
    (num,) = classes
    if metric.endswith("error_percent"):
        return [Reference(f"chance {100 * (1 - 1 / num):g} %", y=100 * (1 - 1 / num))]
    return [Reference(f"guessing {math.log(num):.3f}", y=math.log(num))] if metric.endswith("_loss") else []


def depth_curves(groups: Sequence[Group], metric: str, colours: Sequence[int | str]) -> list[Series]:
    """Curves of final error against depth, one for each family of networks, with error bars of ± one std.

    Args:
        groups: Networks of an experiment; those without a finished run are left out.
        metric: Field of Run, in percent.
        colours: Colours by depth, of which residual and plain families take one each.
    """
    drawn: list[Series] = []
    for family in families(groups):
        look = family_look(family[0].model, colours)
        results = {group.model.depth: group.finals(metric) for group in family if group.finals(metric)}
        num = sorted({len(values) for values in results.values()})
        seeds = f" (n={'-'.join(map(str, (num[0], num[-1]) if len(num) > 1 else num))})" if num else ""
        if mark := mixture_mark([run for group in family for run in group.succeeded]):
            seeds += f", {mark}"
        means = [statistics.fmean(values) for values in results.values()]
        stds = [statistics.stdev(values) if len(values) > 1 else math.nan for values in results.values()]
        drawn.append(
            Series(
                family_label(family[0]) + seeds,
                list(results),
                means,
                marker=look.marker,
                colour=look.colour,
                dashed=look.dashed,
                low=[mean - std for mean, std in zip(means, stds, strict=True)],
                high=[mean + std for mean, std in zip(means, stds, strict=True)],
                bars=True,
            )
        )
    return drawn


def family_label(group: Group) -> str:
    """Label of a network without its depth: he-plain-w8."""
    name = group.model.architecture.value
    return name + catalog.label(group.model).removeprefix(f"{name}{group.model.depth}")


def published_curves(groups: Sequence[Group], colour: int | str | None) -> list[Series]:
    """Curves of published test errors within the depths of an experiment, with hollow markers.

    Other depths would stretch the axis, so the legend lists them instead.

    Args:
        groups: Networks of the experiment; nothing is comparable to those trained on synthetic images.
        colour: Colour of all curves.
    """
    wanted = {group.model.architecture for group in groups if published_of(group) is not None}
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
    """Curve of an architecture's published errors within a range of depths; its label lists the other depths."""
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


def published_lines(groups: Sequence[Group]) -> list[Reference]:
    """Published final test errors as horizontal lines: those of the deepest networks that have one."""
    found = [(group, one) for group in groups if (one := published_of(group)) is not None]
    deepest = max((one.depth for _, one in found), default=0)
    return [
        Reference(f"{group.label} {one.number}, {one.source.name}", y=one.test_error_percent)
        for group, one in found
        if one.depth == deepest
    ]


def depth_range(groups: Sequence[Group]) -> Range | None:
    """Range of the depth axis with margins, including unfinished networks; None without networks."""
    if not (depths := [group.model.depth for group in groups]):
        return None
    room = max(ROOM_BESIDE * (max(depths) - min(depths)), 1.0)
    return min(depths) - room, max(depths) + room


def missing_finals(groups: Sequence[Group]) -> str:
    """Title suffix that lists networks without a final error and why; empty if there are none."""
    missing = [group for group in groups if not group.succeeded]
    reasons = [
        f"{group.label} {', '.join(sorted({str(run.outcome or run.status) for run in group.runs}))}"
        for group in missing
    ]
    return f"; missing: {', '.join(reasons)}" if reasons else ""
