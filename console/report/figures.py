"""Figures of a report and their contents; `matplotlib_figures` draws them."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from console.charts.layer_grid import epoch_name
from console.charts.metrics import number
from console.charts.styles import COLOURS_ON_LIGHT, MARKERS, Look, family_look, looks
from console.comparison.groups import Group, families
from console.comparison.mixtures import mean_mark
from console.comparison.published import published_of
from console.report.facts import Facts
from console.report.matplotlib_figures import draw_heat_maps, draw_panels
from console.report.panels import Drawn, HeatMap, Line, Panel
from console.text.status import counted
from engine.analysis.learning import ConstantPredictor
from engine.runs.journal import Gradients, LayerGradients
from engine.runs.run import Run

PAIRS_A_FIGURE = 3
DEPTH_FIGURE = "error-by-depth"
DEPTHS_ON_A_LINEAR_AXIS = 10
"""Ratio of deepest to shallowest beyond which the axis is logarithmic."""
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
    panel = Panel(
        "", lines, "epoch", y_label, log_y=is_loss, whole_x=True, is_percent=not is_loss,
        chance=chance(facts, is_loss=is_loss),
    )  # fmt: skip
    caption = f"{title} of each network after every epoch, in {unit_sentence(y_label, facts)}"
    caption += f" {drawn_sentences(facts, is_loss=is_loss)}"
    return Figured(name, title, caption, draw_panels([panel], title=title, note=note(facts)))


def chance(facts: Facts, *, is_loss: bool = False) -> float | None:
    """Loss or error of guessing one of equally frequent classes; None if the networks differ in their classes."""
    classes = {group.model.num_classes for group in facts.groups}
    if len(classes) != 1:
        return None
    guess = ConstantPredictor.of(None, *classes)
    return guess.loss if is_loss else guess.error_percent


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
    """Residual against plain, one row for each depth: test error on the left, training error on the right."""
    figures = []
    validates = bool(facts.pairs) and all(run.has_validation for run in facts.runs)
    held_out = ("validation_error_percent", VALIDATION_ERROR) if validates else ("test_error_percent", TEST_ERROR)
    for start in range(0, len(facts.pairs), PAIRS_A_FIGURE):
        pairs = facts.pairs[start : start + PAIRS_A_FIGURE]
        panels = [
            Panel(
                f"{pair.depth} layers: {inner_name(label)}",
                [line for group in (pair.residual, pair.plain) for line in group_lines(facts, group, metric)],
                "epoch",
                "error (%)",
                whole_x=True,
                is_percent=True,
                chance=chance(facts),
            )
            for pair in pairs
            for metric, label in (held_out, ("train_error_percent", TRAIN_ERROR))
        ]
        *most, last = dict.fromkeys(str(pair.depth) for pair in pairs)
        depths = f"{', '.join(most)} and {last}" if most else last
        title = f"With and without shortcuts, at {depths} layers"
        drawn = draw_panels(panels, title="With and without shortcuts", note=note(facts), columns=2, share_axes=True)
        caption = (
            f"Each residual network and the same network without its shortcuts, at {depths} layers:"
            f" {inner_name(held_out[1])} on the left and training error on the right, in percent of the"
            f" {images(facts)}. {drawn_sentences(facts)}"
        )
        name = "pairs" if not start else f"pairs-{start // PAIRS_A_FIGURE + 1}"
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
                family_name(facts, groups),
                [group.model.depth for group in groups],
                [number(group.mean(metric)) for group in groups],
                look,
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
        panels.append(
            Panel("", lines, "depth (weighted layers)", label, log_x=log_x, is_percent=True, chance=chance(facts))
        )
    title = "Final error against depth"
    drawn = draw_panels(panels, title=title, note=note(facts, "bars"), columns=2)
    caption = (
        f"Error of each network after its last epoch against its depth, in percent of the {images(facts)}:"
        f" test error on the left and training error on the right. {drawn_sentences(facts, 'bars')}"
    )
    if any(published_of(group) is not None for groups in kinds for group in groups):
        caption += " Crosses are results published by others, trained elsewhere."
    return Figured(DEPTH_FIGURE, title, caption, drawn)


def family_name(facts: Facts, groups: Sequence[Group]) -> str:
    """Label of networks that differ only in depth."""
    return facts.label(groups[0]).replace(str(groups[0].model.depth), "", 1)


def family_looks(kinds: Sequence[Sequence[Group]]) -> list[tuple[Look, Sequence[Group]]]:
    """Families with their looks, one colour for residual and one for plain networks."""
    times: Counter[Look] = Counter()
    found = []
    for groups in kinds:
        look = family_look(groups[0].model, COLOURS_ON_LIGHT)
        kinds_of_marker = MARKERS[groups[0].model.architecture]
        marker = kinds_of_marker[times[look] % len(kinds_of_marker)]
        found.append((dataclasses.replace(look, marker=marker), groups))
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
                "layer",
                "epoch",
            )
        )
    if not maps:
        return None
    title = "Gradient flow"
    note = f"{facts.data_names}; one seed of each network"
    drawn = draw_heat_maps(maps, title=title, note=note, scale="gradient norm of a layer (log scale)")
    caption = (
        "Norm of the gradient of every convolution and the classifier, from the first layer on the left to the"
        " classifier on the right, at initialisation (first row) and in the last step of each epoch. All maps share"
        f" one logarithmic scale. Each shows one seed, trained on {images(facts)}."
    )
    return Figured("gradient-flow", title, caption, drawn)


def gradient_profile_figure(facts: Facts) -> Figured | None:
    """Gradient norms from the first layer to the head, at initialisation and at the end."""
    panels: list[Panel] = []
    for title, is_end in (("at initialisation", False), ("at the end", True)):
        lines = []
        for group in facts.groups:
            run = next((run for run in group.runs if facts.gradients[run.id]), None)
            if run is not None and (layers := profile(facts.gradients[run.id], is_end=is_end)):
                label = f"{facts.label(group)} s{run.spec.seed}"
                share = [position / max(1, len(layers) - 1) for position in range(len(layers))]
                norms = [number(layer.gradient_norm) for layer in layers]
                lines.append(Line(label, share, norms, look_in(facts, group)))
        panels.append(Panel(title, lines, "layer (0 first, 1 last)", "gradient norm", log_y=True))
    if not any(panel.lines for panel in panels):
        return None
    title = "Gradient from layer to layer"
    note = f"{facts.data_names}; one seed of each network"
    drawn = draw_panels(panels, title=title, note=note, columns=2, share_axes=True)
    caption = (
        "Norm of each layer's gradient from the first layer (0) to the classifier (1), at initialisation and in the"
        f" last recorded epoch. Each line is one seed, trained on {images(facts)}."
    )
    return Figured("gradient-profile", title, caption, drawn)


def profile(rows: Sequence[Gradients], *, is_end: bool) -> list[LayerGradients]:
    """All layers at one epoch: the last one, or initialisation if recorded."""
    return rows[-1].layers if is_end else next((row.layers for row in rows if row.epoch == 0), [])


def look_in(facts: Facts, group: Group) -> Look:
    """Look of a network among those of the experiment, as in the console."""
    return looks(facts.runs, COLOURS_ON_LIGHT)[group.runs[0].id]


def group_lines(facts: Facts, group: Group, metric: str) -> list[Line]:
    """Mean of the successful seeds with its band, and every other run as a line of its own."""
    look, label = look_in(facts, group), facts.label(group)
    same_n = len(seeds_behind(facts)) == 1
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
        remarks = [*[f"n={len(by_seed)}"] * (not same_n), *[mark] * bool(mark)]
        name = f"{label} ({', '.join(remarks)})" if remarks else label
        lines.append(Line(name, epochs, [statistics.fmean(column) for column in columns], look, spread))
    for run in group.runs:
        rows = facts.epochs[run.id]
        if not run.succeeded and rows:
            name = f"{label} s{run.spec.seed}, {run.outcome or run.status}"
            values = [number(getattr(row, metric)) for row in rows]
            lines.append(Line(name, [row.epoch for row in rows], values, look, thin=True))
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


def seeds_behind(facts: Facts) -> list[int]:
    """Numbers of seeds behind the means, ascending and without repetition."""
    return sorted({len(group.succeeded) for group in facts.groups if group.succeeded})


def seeds_text(numbers: Sequence[int]) -> str:
    """A number of seeds, or their range: n=3, n=1–3."""
    return f"n={numbers[0]}" if len(numbers) == 1 else f"n={numbers[0]}–{numbers[-1]}"


def images(facts: Facts) -> str:
    """Names of the datasets, followed by the word images."""
    return facts.data_names.removesuffix(" images") + " images"


def unit_sentence(y_label: str, facts: Facts) -> str:
    """End of a caption's first sentence: the unit of y and the images."""
    unit = inner(y_label)
    return f"percent of the {images(facts)}." if unit == "%" else f"{unit}, on {images(facts)}."


def drawn_sentences(facts: Facts, mark: str = "bands", *, is_loss: bool = False) -> str:
    """Sentences of a caption about what is drawn: seeds, bands or bars, dashes, chance, unfinished runs."""
    numbers = seeds_behind(facts)
    what = "Points" if mark == "bars" else "Lines"
    if not numbers:
        found = ["No run reached its last epoch."]
    elif numbers[-1] > 1:
        found = [f"{what} are means over seeds and {mark} show ± one standard deviation ({seeds_text(numbers)})."]
    else:
        found = [f"{what} show one seed of each network (n=1)."]
    if any(not group.model.design.is_residual for group in facts.groups):
        found.append("Dashed lines are networks without shortcuts.")
    if (guess := chance(facts, is_loss=is_loss)) is not None:
        level = f"{guess:.4g}{' %' * (not is_loss)}"
        found.append(f"A dotted line marks chance level ({level}) where it lies near the data.")
    for kind, rest in (
        ("{} that stopped early", [run for run in facts.runs if run.stopped_early]),
        ("{} without a result", [run for run in facts.runs if not run.succeeded and not run.stopped_early]),
    ):
        thin = sum(mark == "bands" and bool(facts.epochs[run.id]) for run in rest)
        for num, how in ((thin, "drawn thin"), (len(rest) - thin, "not drawn")):
            if num:
                found.append(f"{kind.format(counted(num, 'run'))} {'is' if num == 1 else 'are'} {how}.")
    found += [f"{facts.label(group)}: {mark}." for group in facts.groups if (mark := mean_mark(group.succeeded))]
    return " ".join(found)


def note(facts: Facts, mark: str = "band") -> str:
    """Note drawn inside the figure, because figures get copied without their captions."""
    numbers = seeds_behind(facts)
    if not numbers:
        return f"{facts.data_names}; no run reached its last epoch"
    many = f"mean over seeds, {mark} ± one standard deviation, {seeds_text(numbers)}"
    return f"{facts.data_names}; {many if numbers[-1] > 1 else 'one seed of each network, n=1'}"
