"""Contents of a report: verdict, numbers, figures and provenance."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from console.comparison.claim_text import (
    NO_VERDICT_SENTENCE,
    conclusion_line,
    finding_lines,
    interval_ends,
    signed,
)
from console.comparison.groups import Group
from console.comparison.last_epochs import last_header, last_rows, name_of
from console.comparison.mixtures import mean_mark, mixture_lines
from console.comparison.published import published_notes
from console.comparison.tables import (
    STOPPED_NOTE,
    TIME_A_RUN,
    gap_remarks,
    mean_time,
    missing_seeds,
    published_error,
    recipe_line,
    selection_lines,
)
from console.comparison.verdict import Conclusion, conclude, gap
from console.report.blocks import Block, Code, Heading, Items, Paragraph, Picture, Table
from console.report.facts import Facts, data_name
from console.report.figures import Figured, unfinished
from console.text.formatting import UNKNOWN, duration, mean_std, percent
from console.text.status import counted, selection_set, states
from engine.base.version import VERSION
from engine.runs.run import Run
from models import cost


def contents(
    facts: Facts,
    figures: Sequence[Figured],
    *,
    findings: dict[str, str],
    last: int | None = None,
    wanted: Sequence[str] = (),
) -> list[Block]:
    """Assemble all blocks of a report.

    Args:
        facts: Experiment to report.
        figures: Figures drawn of it.
        findings: A sentence for each run id, empty if there is nothing to say.
        last: Also show means over that many last epochs; None for none.
        wanted: Claims beside the default ones, as for `parse_claim`.
    """
    conclusion = conclude(facts.groups, facts.epochs, wanted)
    return [
        Heading(1, f"Depth and shortcuts: {facts.experiment}"),
        *_opening(facts),
        Heading(2, "Verdict"),
        Paragraph(conclusion_line(conclusion) or NO_VERDICT_SENTENCE),
        Heading(2, "Results"),
        _final_table(facts),
        Paragraph(
            "Errors are those of the last epoch, in percent of the test set (training error: of the augmented training"
            " images, as they were trained on), mean ± sample standard deviation over n seeds; time a run is"
            " training, evaluation and checkpoints of one run, the mean over seeds, images per second of training alone"
            f" (median of the epochs). Images: {facts.data_names}. {sentence_of(recipe_line(facts.runs))}."
        ),
        *map(Paragraph, map(sentence_of, (f"{line}." for line in selection_lines(facts.runs)))),
        *([] if last is None else _last_epochs(facts, last)),
        *_published(facts),
        *_pairs(facts, conclusion),
        Heading(2, "Figures"),
        *(Picture(figure.name, figure.title, figure.caption) for figure in figures),
        *_without_gradients(facts),
        Heading(2, "Diagnoses"),
        *_diagnoses(facts, findings, finding_lines(conclusion, facts.gradients)),
        Heading(2, "Runs"),
        _runs_table(facts),
        Heading(2, "Hardware, versions and data"),
        *_origins(facts),
        Heading(2, "Training it again"),
        Paragraph(
            "spec.json beside this report holds the whole specification of each of these runs, seeds included."
            " On the same kind of CPU, with the same version of torch and as many threads, the results are the same to"
            " the last bit."
        ),
        Code("depthscope train --from spec.json"),
    ]


def _opening(facts: Facts) -> list[Block]:
    """Date, source, and warnings to read before any number."""
    when = datetime.fromtimestamp(facts.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    blocks: list[Block] = [
        Paragraph(
            f"Written by depthscope {VERSION} on {when} from {counted(len(facts.runs), 'run')}: {states(facts.runs)}."
        )
    ]
    if facts.is_synthetic:
        blocks.append(Paragraph("Synthetic images: these numbers say nothing about CIFAR.", warns=True))
    if facts.is_jpeg:
        blocks.append(
            Paragraph(
                f"{facts.data_names}: the images are lossily compressed, so errors are somewhat higher than on the"
                " original files.",
                warns=True,
            )
        )
    if stopped := [run for run in facts.runs if run.stopped_early]:
        names = ", ".join(f"{run.name} (epoch {run.epoch} of {run.spec.recipe.epochs})" for run in stopped)
        blocks.append(Paragraph(f"{STOPPED_NOTE[:1].upper()}{STOPPED_NOTE[1:]}. {names}.", warns=True))
    if mixed := mixture_lines(facts.groups):
        blocks.append(Paragraph(f"Not trained alike, though in one mean: {'; '.join(mixed)}.", warns=True))
    if missing := [run for run in facts.runs if not run.succeeded and not run.stopped_early]:
        names = ", ".join(f"{run.name} ({unfinished(run)})" for run in missing)
        blocks.append(
            Paragraph(
                f"Unfinished: {names}. {'It is' if len(missing) == 1 else 'They are'} marked below, and in no mean.",
                warns=True,
            )
        )
    return blocks


def _final_table(facts: Facts) -> Table:
    """Table of networks, with a column of published numbers if there are any."""
    shows_published = any(map(published_error, facts.groups))
    validates = any(run.has_validation for run in facts.runs)
    header = [
        "network", "parameters", "epochs", "n", *["validation error %"] * validates,
        "test error %", "test accuracy %", "training error %",
        *["published test error %"] * shows_published, TIME_A_RUN, "images/s", "not in the mean",
    ]  # fmt: skip
    rows = [
        [
            facts.label(group),
            f"{cost.num_parameters(group.model):,}",
            str(group.spec.recipe.epochs),
            str(len(group.succeeded)),
            *[spread(group.finals("validation_error_percent"))] * validates,
            spread(group.finals("test_error_percent")),
            spread([100 - error for error in group.finals("test_error_percent")]),
            spread(group.finals("train_error_percent")),
            *[published_error(group)] * shows_published,
            mean_time(group),
            f"{statistics.fmean(rates):,.0f}" if (rates := rates_of(facts, group)) else UNKNOWN,
            "; ".join(text for text in (missing_seeds(group), mean_mark(group.succeeded)) if text),
        ]
        for group in facts.groups
    ]
    return Table(header, rows, "<" + ">" * (len(header) - 2) + "<")


def _last_epochs(facts: Facts, last: int) -> list[Block]:
    """Errors of the last epoch beside means of the last epochs."""
    header = last_header(facts.groups, last)
    rows = last_rows(facts.groups, facts.epochs, last)
    named = [[facts.label(group), *cells] for group, (_, *cells) in zip(facts.groups, rows, strict=True)]
    return [
        Paragraph(f"Beside the errors of the last epoch, each run's {name_of(last)}, then mean ± std over n seeds:"),
        Table(header, named, "<" + ">" * (len(header) - 1)),
    ]


def sentence_of(line: str) -> str:
    """Line with a capital at its beginning."""
    return line[:1].upper() + line[1:]


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation without n, which has its own column."""
    return mean_std(values).partition(" (n=")[0] if values else UNKNOWN


def rates_of(facts: Facts, group: Group) -> list[float]:
    """Images per second of every successful seed: median over its epochs, without the first if there are more."""
    return [
        statistics.median(row.images_per_second for row in rows[1:] or rows)
        for run in group.succeeded
        if (rows := facts.epochs[run.id])
    ]


def _published(facts: Facts) -> list[Block]:
    notes = published_notes(facts.runs)
    return [Items([*map(sentence_of, notes)])] if notes else []


def _pairs(facts: Facts, conclusion: Conclusion) -> list[Block]:
    """What shortcuts do: gaps of all pairs, with intervals where there are several seeds."""
    if not facts.pairs:
        return []
    metrics = ("train_error_percent", "test_error_percent")
    gaps = [tuple(gap(pair, facts.epochs, metric, conclusion.claims) for metric in metrics) for pair in facts.pairs]
    notes = [gap_remarks(*one) for one in gaps]
    intervals = [
        [interval_ends(None if one is None else one.interval(conclusion.num_contrasts)) for one in pair]
        for pair in gaps
    ]
    has_intervals = any(map(any, intervals))
    header = [
        "depth", "residual", "plain", "residual test error %", "plain test error %",
        "test gap", *["test interval"] * has_intervals, "training gap", *["training interval"] * has_intervals,
        *["remarks"] * any(notes),
    ]  # fmt: skip
    rows = [
        [
            str(pair.depth),
            facts.label(pair.residual),
            facts.label(pair.plain),
            mean_std(pair.residual.finals("test_error_percent")),
            mean_std(pair.plain.finals("test_error_percent")),
            signed(test),
            *[of_test] * has_intervals,
            signed(training),
            *[of_training] * has_intervals,
            *[note] * any(notes),
        ]
        for pair, (training, test), (of_training, of_test), note in zip(
            facts.pairs, gaps, intervals, notes, strict=True
        )
    ]
    together = "; the intervals hold together at 95 %" if has_intervals else ""
    return [
        Paragraph(
            "What the shortcut does at each depth; a gap is plain minus residual, by seed, in percentage"
            f" points{together}:"
        ),
        Table(header, rows, "><<>>>>" + ">>" * has_intervals + "<" * any(notes)),
    ]


def _without_gradients(facts: Facts) -> list[Block]:
    bare = [run for run in facts.runs if run.epoch and not facts.gradients[run.id]]
    if not bare:
        return []
    whose = "any run" if len(bare) == len([run for run in facts.runs if run.epoch]) else named(bare)
    return [Paragraph(f"No gradients were recorded of {whose}.")]


def named(runs: Sequence[Run]) -> str:
    return ", ".join(run.name for run in runs)


def _diagnoses(facts: Facts, findings: dict[str, str], degradations: Sequence[str]) -> list[Block]:
    sentences = [f"{run.name}: {findings[run.id]}" for run in facts.runs if findings.get(run.id)]
    blocks: list[Block] = [Items([*degradations, *sentences])] if degradations or sentences else []
    if not sentences:
        what = "Nothing else" if degradations else "Nothing"
        blocks.append(Paragraph(f"{what} of what depthscope looks for was found in any run."))
    return blocks


def _runs_table(facts: Facts) -> Table:
    """Table of runs; tags and notes get columns if there are any."""
    kinds: dict[str, Callable[[Run], str]] = {
        "star": lambda run: "starred" if run.starred else "",
        "tags": lambda run: ", ".join(run.tags),
        "notes": lambda run: run.notes,
    }
    labels = [(name, words) for name, words in kinds.items() if any(map(words, facts.runs))]
    header = [
        "run", "seed", "id", "state", "epochs", "test error %", "training error %", "training loss",
        best_title(facts), "time", "images", "device",
        *(name for name, _ in labels),
    ]  # fmt: skip
    rows = []
    for run in facts.runs:
        origin = facts.provenance[run.id]
        images = UNKNOWN if origin.num_train is None else f"{origin.num_train:,} + {origin.num_test:,}"
        rows.append(
            [
                run.name,
                str(run.spec.seed),
                run.id,
                str(run.outcome or run.status),
                f"{run.epoch}/{run.spec.recipe.epochs}",
                percent(run.test_error_percent).removesuffix(" %"),
                percent(run.train_error_percent).removesuffix(" %"),
                UNKNOWN if run.train_loss is None else f"{run.train_loss:.4g}",
                percent(best_error(run)).removesuffix(" %"),
                duration(run.taken_seconds),
                images,
                run.device_name or UNKNOWN,
                *(words(run) for _, words in labels),
            ]
        )
    return Table(header, rows, "<><<>>>>>>><" + "<" * len(labels))


def best_title(facts: Facts) -> str:
    """Title of the column with the lowest error of all epochs, which says what it was selected on."""
    sets = sorted({selection_set(run) for run in facts.runs})
    return f"best {' or '.join(sets)} error % (selected on the {' or '.join(sets)} set)"


def best_error(run: Run) -> float | None:
    """Lowest error of all epochs on the set that epochs are selected on."""
    return run.best_validation_error_percent if run.has_validation else run.best_test_error_percent


def _origins(facts: Facts) -> list[Block]:
    """Machines with their versions, datasets with their checksums, and the version that wrote the report."""
    machines: dict[tuple[str, ...], list[Run]] = {}
    images: dict[tuple[str, ...], list[Run]] = {}
    unknown = []
    for run in facts.runs:
        origin = facts.provenance[run.id]
        for worked in origin.worked:
            key = (worked.device_name, worked.device, str(worked.num_threads), worked.torch, str(worked.precision))
            machines.setdefault(key, []).append(run)
        if origin.data_sha256 is not None:
            images.setdefault((run.spec.data.name, data_name(run), origin.data_sha256), []).append(run)
        elif run.epoch:
            unknown.append(run)
    blocks: list[Block] = []
    if machines:
        header = ["hardware", "device", "CPU threads", "torch", "precision", "runs"]
        blocks.append(Table(header, [[*key, who(facts, runs)] for key, runs in machines.items()], "<<><<<"))
    if images:
        header = ["dataset", "images", "SHA-256 of images and labels", "runs"]
        blocks.append(Table(header, [[*key, who(facts, runs)] for key, runs in images.items()], "<<<<"))
    if unknown:
        blocks.append(Paragraph(f"The journals of {named(unknown)} are not here, nor what they would say of these."))
    total = sum(run.taken_seconds for run in facts.runs)
    blocks.append(
        Paragraph(
            f"All runs together took {duration(total)}: training, evaluation and checkpoints. Figures and tables were"
            f" made with Python {platform.python_version()} and matplotlib {version('matplotlib')}."
        )
    )
    return blocks


def who(facts: Facts, runs: Sequence[Run]) -> str:
    """Name runs as briefly as possible: by name, "all", or "all but" a few."""
    ids = {run.id for run in runs}
    others = [run for run in facts.runs if run.id not in ids]
    if not others:
        return "all"
    return f"all but {named(others)}" if len(others) < len(ids) else named(runs)
