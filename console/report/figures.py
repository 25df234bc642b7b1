"""Figures of a report and their contents; `matplotlib_figures` draws them."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from console.charts.layer_grid import epoch_name
from console.charts.metrics import number
from console.charts.styles import PLAIN_COLOUR, RESIDUAL_COLOUR, depth_rank
from console.comparison.groups import Group, families, pair_groups, training
from console.comparison.mixtures import mean_mark
from console.comparison.published import published_of
from console.report.facts import Facts
from console.report.matplotlib_figures import COLOURS, Drawn, HeatMap, Line, Panel, draw_heat_maps, draw_panels
from engine.runs.journal import Gradients, LayerGradients
from engine.runs.run import Run
from models.catalog import Architecture

PANELS_A_ROW = 3
DEPTHS_ON_A_LINEAR_AXIS = 10
"""Ratio of deepest to shallowest beyond which the axis is logarithmic."""
DASH_OF = {
    Architecture.RESNET: "solid", Architecture.HE_RESNET: "solid", Architecture.PREACT: "dotted",
    Architecture.PLAIN: "dashed", Architecture.HE_PLAIN: "dashed",
}  # fmt: skip
TEST_ERROR = "test error (%)"
VALIDATION_ERROR = "validation error (%)"
TRAIN_ERROR = "training error (%)"


@dataclass(frozen=True, slots=True)
class Figured:
    """A drawn figure with its name, title and caption."""

    name: str
    """File name without suffix."""
    title: str
    caption: str
    drawn: Drawn


def draw_figures(facts: Facts) -> list[Figured]:
    """Draw all figures with something to show, in the order of the report."""
    figures = [
        curves_figure(facts, "training-loss", "Training loss", "train_loss", "cross entropy (nats per image)"),
        *held_out_figures(facts),
        *pair_figures(facts),
        depth_figure(facts),
        gradient_map_figure(facts),
        gradient_profile_figure(facts),
    ]
    return [figure for figure in figures if figure is not None]


def curves_figure(facts: Facts, name: str, title: str, metric: str, y_label: str) -> Figured:
    """Metric of all networks against epoch."""
    lines = [line for group in facts.groups for line in group_lines(facts, group, metric)]
    is_loss = metric == "train_loss"
    panel = Panel("", lines, "epoch", y_label, log_y=is_loss, whole_x=True, from_zero=not is_loss)
    caption = f"{title} of all networks by epoch, in {inner(y_label)}; {spread_label(facts)}; {facts.data_names}."
    return Figured(name, title, caption, draw_panels([panel], title=title, note=note(facts)))


def held_out_figures(facts: Facts) -> list[Figured]:
    """Test error against epoch, validation error, or both if some runs evaluate the test set only once."""
    figures = []
    if any(run.has_validation for run in facts.runs):
        name, title = "validation-error", "Validation error"
        figures.append(curves_figure(facts, name, title, "validation_error_percent", VALIDATION_ERROR))
    if not all(run.has_validation for run in facts.runs):
        figures.append(curves_figure(facts, "test-error", "Test error", "test_error_percent", TEST_ERROR))
    return figures


def pair_figures(facts: Facts) -> list[Figured]:
    """Residual against plain, one column for each depth: test error above, training error below."""
    figures = []
    validates = bool(facts.pairs) and all(run.has_validation for run in facts.runs)
    held_out = ("validation_error_percent", VALIDATION_ERROR) if validates else ("test_error_percent", TEST_ERROR)
    for start in range(0, len(facts.pairs), PANELS_A_ROW):
        pairs = facts.pairs[start : start + PANELS_A_ROW]
        panels = [
            Panel(
                f"{pair.depth} layers",
                [line for group in (pair.residual, pair.plain) for line in group_lines(facts, group, metric)],
                "epoch",
                label,
                whole_x=True,
                from_zero=True,
            )
            for metric, label in (held_out, ("train_error_percent", TRAIN_ERROR))
            for pair in pairs
        ]
        *most, last = dict.fromkeys(str(pair.depth) for pair in pairs)
        depths = f"{', '.join(most)} and {last}" if most else last
        title = f"With and without shortcuts, at {depths} layers"
        drawn = draw_panels(panels, title=title, note=note(facts), columns=len(pairs), share_y=True)
        caption = (
            f"Each residual network against the same without its shortcuts: {inner_name(held_out[1])} above, training"
            f" error below, in %; {spread_label(facts)}; {facts.data_names}."
        )
        name = "pairs" if not start else f"pairs-{start // PANELS_A_ROW + 1}"
        figures.append(Figured(name, title, caption, drawn))
    return figures


def depth_figure(facts: Facts) -> Figured | None:
    """Final error against depth; a line joins networks that differ only in depth."""
    kinds = families([group for group in facts.groups if group.succeeded])
    depths = sorted({group.model.depth for groups in kinds for group in groups})
    if not depths:
        return None
    panels = []
    for metric, label in (("test_error_percent", TEST_ERROR), ("train_error_percent", TRAIN_ERROR)):
        lines = [
            Line(
                facts.label(groups[0]).replace(str(groups[0].model.depth), "", 1),
                [group.model.depth for group in groups],
                [number(group.mean(metric)) for group in groups],
                look,
                dash=DASH_OF[groups[0].model.architecture],
                spread=[
                    statistics.stdev(finals) if len(finals := group.finals(metric)) > 1 else math.nan
                    for group in groups
                ],
                bars=True,
            )
            for look, groups in family_looks(kinds)
        ]
        if metric == "test_error_percent":
            lines += published_lines(kinds)
        log_x = depths[-1] > DEPTHS_ON_A_LINEAR_AXIS * depths[0]
        panels.append(Panel("", lines, "depth (weighted layers)", label, log_x=log_x, from_zero=True))
    title, spread = "Final error against depth", spread_label(facts, "bars")
    if any(published_of(group) is not None for groups in kinds for group in groups):
        spread += "; crosses: published by others, trained elsewhere"
    drawn = draw_panels(panels, title=title, note=f"{facts.data_names}; {spread}", columns=2)
    caption = f"{title}, in %: test left, training right; {spread}; {facts.data_names}."
    return Figured("error-by-depth", title, caption, drawn)


def family_looks(kinds: Sequence[Sequence[Group]]) -> list[tuple[int, Sequence[Group]]]:
    """Families with the index of their colour and marker, one colour for residual and one for plain networks."""
    times: Counter[int] = Counter()
    found = []
    for groups in kinds:
        look = RESIDUAL_COLOUR if groups[0].model.design.is_residual else PLAIN_COLOUR
        found.append((look + len(COLOURS) * times[look], groups))
        times[look] += 1
    return found


def published_lines(kinds: Sequence[Sequence[Group]]) -> list[Line]:
    """Published results for the same networks, as crosses in their colours."""
    lines = []
    for look, groups in family_looks(kinds):
        found = [(group.model.depth, one) for group in groups if (one := published_of(group)) is not None]
        if found:
            name = f"{groups[0].model.architecture}, {found[0][1].source.name}"
            above = " (at least)" if any(one.is_bound for _, one in found) else ""
            lines.append(
                Line(
                    name + above,
                    [depth for depth, _ in found],
                    [one.test_error_percent for _, one in found],
                    look,
                    cross="x" if groups[0].model.design.is_residual else "+",
                )
            )
    return lines


def gradient_map_figure(facts: Facts) -> Figured | None:
    """Gradient norms of one seed of each network: layers across, epochs down."""
    maps = []
    for group in facts.groups:
        run = next((run for run in group.runs if facts.gradients[run.id]), None)
        if run is None:
            continue
        rows = facts.gradients[run.id]
        maps.append(
            HeatMap(
                f"{facts.label(group)} s{run.spec.seed}",
                [[number(layer.gradient_norm) for layer in row.layers] for row in rows],
                [epoch_name(row.epoch) for row in rows],
                [str(position) for position in range(len(rows[0].layers))],
                "layer, from the first to the head",
                "epoch",
            )
        )
    if not maps:
        return None
    title = "Gradient flow"
    note = f"{facts.data_names}; one seed a network"
    drawn = draw_heat_maps(maps, title=title, note=note, scale="gradient norm of a layer (log scale)")
    caption = (
        "Norm of the gradient of every convolution and the head, in the last step of each epoch and at initialisation"
        f" (first row), logarithmic and on one scale; one seed a network; {facts.data_names}."
    )
    return Figured("gradient-flow", title, caption, drawn)


def gradient_profile_figure(facts: Facts) -> Figured | None:
    """Gradient norms from the first layer to the head, at initialisation and at the end."""
    panels: list[Panel] = []
    for title, is_end in (("at initialisation", False), ("at the end", True)):
        lines = []
        for look, group in looks(facts):
            run = next((run for run in group.runs if facts.gradients[run.id]), None)
            if run is not None and (layers := profile(facts.gradients[run.id], is_end=is_end)):
                label = f"{facts.label(group)} s{run.spec.seed}"
                share = [position / max(1, len(layers) - 1) for position in range(len(layers))]
                dash = DASH_OF[group.model.architecture]
                lines.append(Line(label, share, [number(layer.gradient_norm) for layer in layers], look, dash=dash))
        panels.append(Panel(title, lines, "place of the layer (0 first, 1 head)", "gradient norm", log_y=True))
    if not any(panel.lines for panel in panels):
        return None
    title = "Gradient from layer to layer"
    note = f"{facts.data_names}; one seed a network"
    drawn = draw_panels(panels, title=title, note=note, columns=2, share_y=True)
    caption = (
        "Norm of each layer's gradient from the first layer (0) to the head (1), at initialisation and in the last"
        f" epoch that was recorded; one seed a network; {facts.data_names}."
    )
    return Figured("gradient-profile", title, caption, drawn)


def profile(rows: Sequence[Gradients], *, is_end: bool) -> list[LayerGradients]:
    """All layers at one epoch: the last one, or initialisation if recorded."""
    return rows[-1].layers if is_end else next((row.layers for row in rows if row.epoch == 0), [])


def looks(facts: Facts) -> list[tuple[int, Group]]:
    """Networks with the index of their colour and marker: by depth as in the console, the same for the two of a pair.

    Networks of one colour that are no pair, such as two widths, get other markers.
    """
    residuals = {pair.plain.label + training(pair.plain.spec): pair.residual for pair in pair_groups(facts.groups)}
    alike: dict[int, list[str]] = {}
    found = []
    for group in facts.groups:
        model, spec = group.model, group.spec
        # A plain network has no projections of its own.
        projection_bias = residuals.get(group.label + training(spec), group).model.projection_bias
        key = f"{model.blocks}{model.block}{model.width}{model.norm}{model.conv_bias}{projection_bias}"
        key += training(spec)
        rank = depth_rank(model.depth)
        networks = alike.setdefault(rank, [])
        if key not in networks:
            networks.append(key)
        found.append((rank + len(COLOURS) * networks.index(key), group))
    return found


def group_lines(facts: Facts, group: Group, metric: str) -> list[Line]:
    """Mean of the successful seeds with its band, and every other run as a line of its own."""
    look = next(look for look, other in looks(facts) if other is group)
    dash, label = DASH_OF[group.model.architecture], facts.label(group)
    lines: list[Line] = []
    if group.spec.data.validation_images is None and metric == "validation_error_percent":
        return lines
    if group.spec.data.validation_images is not None and metric == "test_error_percent":
        return lines
    if group.succeeded:
        by_seed = [{row.epoch: number(getattr(row, metric)) for row in facts.epochs[run.id]} for run in group.succeeded]
        epochs = sorted(set.intersection(*(set(one) for one in by_seed)))
        columns = [[one[epoch] for one in by_seed] for epoch in epochs]
        spread = list(map(deviation, columns)) if len(by_seed) > 1 else None
        mark = mean_mark(group.succeeded)
        name = f"{label} (n={len(by_seed)}{f', {mark}' if mark else ''})"
        lines.append(Line(name, epochs, [statistics.fmean(column) for column in columns], look, dash, spread))
    for run in group.runs:
        rows = facts.epochs[run.id]
        if not run.succeeded and rows:
            name = f"{label} s{run.spec.seed}, {unfinished(run)}"
            values = [number(getattr(row, metric)) for row in rows]
            lines.append(Line(name, [row.epoch for row in rows], values, look, dash, thin=True))
    return lines


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation; NaN if any value is NaN."""
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def unfinished(run: Run) -> str:
    """How far an unfinished run got, and how it ended."""
    return f"{run.outcome or run.status} {run.epoch}/{run.spec.recipe.epochs}"


def inner(label: str) -> str:
    """Unit of a label: the text in its parentheses."""
    return label.partition("(")[2].rstrip(")")


def inner_name(label: str) -> str:
    """Name of a label, without its unit."""
    return label.partition(" (")[0]


def spread_label(facts: Facts, mark: str = "band") -> str:
    """Number of seeds behind a curve or point, and what its band or bar shows."""
    numbers = sorted({len(group.succeeded) for group in facts.groups if group.succeeded})
    parts = ["no run has come to its last epoch"]
    if numbers:
        n = "n=" + (str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}–{numbers[-1]}")
        many = f"mean over seeds, {mark} ± one standard deviation, {n}"
        parts = [many if numbers[-1] > 1 else f"one seed each, {n}"]
    for kind, rest in (
        ("stopped early", [run for run in facts.runs if run.stopped_early]),
        ("unfinished", [run for run in facts.runs if not run.succeeded and not run.stopped_early]),
    ):
        thin = sum(mark == "band" and bool(facts.epochs[run.id]) for run in rest)
        parts += [f"{thin} {kind} drawn thin"] * bool(thin)
        parts += [f"{len(rest) - thin} {kind} not drawn"] * (len(rest) > thin)
    parts += [f"{mark} in {facts.label(group)}" for group in facts.groups if (mark := mean_mark(group.succeeded))]
    return "; ".join(parts)


def note(facts: Facts) -> str:
    """Note drawn inside the figure, because figures get copied without their captions."""
    return f"{facts.data_names}; {spread_label(facts)}"
