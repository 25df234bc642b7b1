"""Tables and pages of text about runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

from console.text.formatting import (
    UNKNOWN,
    ago,
    cells,
    clean,
    count,
    cut,
    cut_in_the_middle,
    duration,
    percent,
    supports_unicode,
    table,
)
from console.text.status import held_out_error, last_line, left, loss, queue_places, state, state_and_place
from engine.analysis.diagnosis import Finding, outlook
from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.base.regular_files import reading_regular
from engine.index.queries import Reader
from engine.runs.directory import RunDirectory
from engine.runs.journal import Epoch
from engine.runs.run import EventRow, Run, RunStatus
from engine.runs.strays import Stray
from engine.spec.labels import check_tag
from engine.spec.recipes import recipe_label
from engine.spec.run import DataSpec
from models import catalog, cost

MOST_STRAYS = 5
NO_RUNS = "no runs yet: `depthscope quickstart` trains a first comparison in minutes"


def runs_table(runs: Sequence[Run], queue: Mapping[str, int] | None = None) -> str:
    """Table of runs, one row each.

    Args:
        queue: Places in the queue by id, shown beside the status.
    """
    now, today = time.monotonic(), time.time()
    unicode = supports_unicode(sys.stdout)
    rows = [
        [
            run.id,
            clean(run.experiment),
            clean(run.name),
            state_and_place(run, now, queue or {}),
            f"{run.epoch}/{run.spec.recipe.epochs}",
            UNKNOWN if run.train_loss is None and not run.epoch else loss(run.train_loss),
            held_out_error(run),
            clean(run.spec.data.name),
            left(run) or ago(today - (run.finished_at or run.created_at)),
            f"{star(run, unicode=unicode)}{tags_and_note(run, unicode=unicode)}",
        ]
        for run in runs
    ]
    header = ["id", "experiment", "run", "status", "epoch", "train loss", "test error", "data", "ETA / finished"]
    if not any(row[-1] for row in rows):
        return table(header, [row[:-1] for row in rows], align="<<<<>>><>")
    return table([*header, "tags and note"], rows, align="<<<<>>><><")


def stray_lines(strays: Sequence[Stray]) -> list[str]:
    """Lines that name a few directories among the runs that are ignored."""
    lines = [f"ignored: {stray.path} is {stray.what}" for stray in strays[:MOST_STRAYS]]
    if len(strays) > MOST_STRAYS:
        lines.append(f"and {len(strays) - MOST_STRAYS} more: `depthscope doctor` lists them")
    return lines


def unreadable_lines(runs: Sequence[Run], directories: Sequence[tuple[str, str]]) -> list[str]:
    """Lines that say why a few runs and directories among the runs cannot be read, and what to do."""
    named = [(f"{run.id} ({run.name})", run.unreadable) for run in runs] + list(directories)
    lines = [f"unreadable: {clean(name)}: {clean(why or '')}" for name, why in named[:MOST_STRAYS]]
    if len(named) > MOST_STRAYS:
        lines.append(f"and {len(named) - MOST_STRAYS} more: `depthscope doctor` lists them")
    return lines


def in_queue_order(unfinished: Sequence[Run]) -> list[tuple[int | None, Run]]:
    """Running runs first, unnumbered; then queued runs, numbered from 1 in queue order."""
    running: list[tuple[int | None, Run]] = [(None, run) for run in unfinished if run.status is RunStatus.RUNNING]
    by_id, places = {run.id: run for run in unfinished}, queue_places(unfinished)
    return [*running, *((place, by_id[id]) for id, place in places.items())]


def queue_table(numbered: Sequence[tuple[int | None, Run]]) -> str:
    """Table of the queue, one row for each run."""
    now = time.monotonic()
    rows = [
        [
            "" if number is None else str(number),
            run.id,
            clean(run.experiment),
            clean(run.name),
            run.spec.device or "any",
            state(run, now) + (f" on {run.device}" if number is None else ""),
        ]
        for number, run in numbered
    ]
    return table(["place", "id", "experiment", "run", "device", "status"], rows, align="><<<<<")


def run_page(
    run: Run,
    epochs: Sequence[Epoch],
    events: Sequence[EventRow],
    findings: Sequence[Finding] = (),
    queue: Mapping[str, int] | None = None,
) -> str:
    """Page about one run: its spec, status with its place in the queue, epochs and events."""
    model, recipe, data = run.spec.model, run.spec.recipe, run.spec.data
    size = f"{count(cost.num_parameters(model))} parameters, {count(cost.forward_macs(model))} MACs"
    settings = f"batch size {recipe.batch_size}, lr {recipe.learning_rate:g}, {recipe.schedule} schedule"
    named = clean(recipe_label(recipe))
    facts = [
        ("run", f"{run.id}  {clean(run.experiment)}/{clean(run.name)}"),
        ("status", state_and_place(run, time.monotonic(), queue or {}) + (f" on {run.device}" if run.device else "")),
        ("network", f"{catalog.label(model)}: {size}"),
        ("data", clean(data.name) + data_label(data) + (" (synthetic: says nothing about CIFAR)" * run.synthetic)),
        ("recipe", f"{named}: {recipe.epochs} epochs, {settings}, seed {run.spec.seed}"),
        ("progress", f"epoch {run.epoch}/{recipe.epochs}, step {run.step}/{run.total_steps or '?'}"),
        *error_facts(run),
        ("time", f"{duration(run.taken_seconds)}: training, evaluation and checkpoints" if run.epoch else UNKNOWN),
    ]
    facts += [("diagnosis", f"{one.symptom}: {one.evidence}") for one in findings]
    if waits := outlook(run, epochs, findings):
        facts.append(("outlook", waits))
    if run.starred or run.tags:
        facts.append(("tags", f"{star(run)}{' '.join(f'+{clean(tag)}' for tag in run.tags)}".rstrip()))
    if run.origin != run.id:
        facts.append(("copy of", run.origin))
    if run.notes:
        facts.append(("note", clean(run.notes)))
    if run.unreadable is not None:
        facts.append(("unreadable", clean(run.unreadable)))
    if run.error:
        facts.append(("ended" if run.stopped_early else "error", last_line(run.error)))
    page = "\n".join(f"{name:<12}{value}" for name, value in facts)
    if epochs:
        columns = epoch_columns(validation=run.has_validation)
        rows = [epoch_cells(row, validation=run.has_validation) for row in epochs]
        page += "\n\n" + table(columns, rows, align=">" * len(columns))
    if events:
        page += "\n\n" + "\n".join(event_line(event) for event in events[-20:])
    if run.error and "\n" in run.error:
        page += "\n\n" + "\n".join(clean(line) for line in run.error.splitlines())
    return page


def data_label(data: DataSpec, *, brief: bool = False) -> str:
    """Size of the subset and normalisation in parentheses; empty if both are the dataset's.

    Args:
        brief: Name the normalisation without its numbers, for tables.
    """
    parts = [
        f"{num} {kind} images"
        for num, kind in (
            (data.train_images, "training"),
            (data.validation_images, "validation"),
            (data.test_images, "test"),
        )
        if num is not None
    ]
    parts += [
        f"own {name}" if brief else f"{name} {','.join(f'{one:.10g}' for one in values)}"
        for name, values in (("mean", data.mean), ("std", data.std))
        if values is not None
    ]
    return f" ({', '.join(parts)})" if parts else ""


def event_line(event: EventRow) -> str:
    """Time, kind and text of an event in a line."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    return f"{when}  {event.kind:<15}{clean(event.text)}".rstrip()


def find_all(reader: Reader, names: Sequence[str]) -> list[Run]:
    """Find the runs of each named experiment or run; without names, the newest experiment.

    Raises:
        UsageError: a name matches nothing, or there are no runs yet.
    """
    found: dict[str, Run] = {}
    for name in names or [newest_experiment(reader)]:
        for run in reader.runs(experiment=name) or [reader.find(name, or_experiment=True)]:
            found.setdefault(run.id, run)
    return list(found.values())


def newest_experiment(reader: Reader) -> str:
    """Name of the newest experiment.

    Raises:
        UsageError: there are no runs yet.
    """
    if (name := reader.latest_experiment()) is None:
        raise UsageError(NO_RUNS)
    return name


def find_experiment(reader: Reader, name: str | None) -> tuple[str, list[Run]]:
    """Find an experiment and its runs by name; without a name, the newest.

    Raises:
        UsageError: no experiment has that name, or there are no runs yet.
    """
    name = name or newest_experiment(reader)
    if not (runs := reader.runs(experiment=name)):
        raise reader.experiment_unknown(name)
    return name, runs


def print_log(home: Home, reader: Reader, run: Run, *, follow: bool) -> None:
    """Print the events and the worker's log; with `follow`, keep printing until the run is done."""
    # Imports typer, for which the console's first frame does not wait.
    from console.text.follow import Watch, is_done

    watch, num_printed = Watch(home, reader, [run.id]), 0
    log = RunDirectory(home.runs / run.id).log
    offset = 0
    while True:
        done = is_done(reader.run(run.id))
        events = reader.events(run.id)
        for event in events[num_printed:]:
            print(event_line(event))
        num_printed = len(events)
        if log.exists():
            # The log is trimmed at its beginning when it grows too long.
            offset = min(offset, log.stat().st_size)
            with reading_regular(log) as file:
                file.seek(offset)
                content = file.read()
            # An incomplete line waits for the next look.
            complete = content if done or not follow else content[: content.rfind(b"\n") + 1]
            offset += len(complete)
            for line in complete.decode("utf-8", "replace").splitlines():
                print(clean(line))
        sys.stdout.flush()
        if done or not follow:
            return
        watch.keep_engine()
        watch.pause()


NOTE_CELLS = 40
"""Width of a note in a table; `show` prints it in full."""


def star(run: Run, *, unicode: bool = True) -> str:
    """Star and a space for a starred run, else empty."""
    return ("★ " if unicode else "* ") if run.starred else ""


def tags_and_note(run: Run, *, unicode: bool = True) -> str:
    """Tags, then the note in quotes; empty without either."""
    note = f'"{cut(clean(run.notes), NOTE_CELLS, unicode=unicode)}"' if run.notes else ""
    return " ".join([*(f"+{clean(tag)}" for tag in run.tags), *([note] if note else [])])


def name_and_labels(run: Run, *, unicode: bool = True) -> str:
    """Star, name, tags and note, in this order so that the end can be cut."""
    return f"{star(run, unicode=unicode)}{clean(run.name)}  {tags_and_note(run, unicode=unicode)}".rstrip()


def fitted_name_and_labels(run: Run, width: int, *, unicode: bool = True) -> str:
    """`name_and_labels` cut to a width: tags and note go first, then the middle of the name, never its seed."""
    name = f"{star(run, unicode=unicode)}{clean(run.name)}"
    if cells(name) > width:
        return cut_in_the_middle(name, width, unicode=unicode)
    return cut(name_and_labels(run, unicode=unicode), width, unicode=unicode)


def parse_tags(changes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Parse `+tag` and `-tag` into tags to add and tags to remove.

    Raises:
        UsageError: a change lacks its sign, is not a valid tag, or is both added and removed.
    """
    for change in changes:
        if change[:1] not in ("+", "-"):
            raise UsageError(f"tag {change!r} needs a sign: +{change} adds it, -{change} removes it")
        check_tag(change[1:])
    add = tuple(change[1:] for change in changes if change[0] == "+")
    remove = tuple(change[1:] for change in changes if change[0] == "-")
    for tag in add:
        if tag in remove:
            raise UsageError(f"tag {tag!r} is both added and removed")
    return add, remove


def error_facts(run: Run) -> list[tuple[str, str]]:
    """Held-out errors of a run, and what its best epoch was selected on."""
    if not run.has_validation:
        best = f"{percent(run.best_test_error_percent)} (selected on the test set: not a result)"
        return [("test error", percent(run.test_error_percent)), ("best", best)]
    once = "evaluated once, after the last epoch"
    return [
        ("validation", f"{percent(run.validation_error_percent)} error on the images held out of training"),
        ("test error", percent(run.test_error_percent) if run.test_error_percent is not None else f"to be {once}"),
        ("best", f"{percent(run.best_validation_error_percent)} validation error (selected on the validation set)"),
    ]


def epoch_columns(*, validation: bool) -> list[str]:
    """Titles of `epoch_cells`."""
    held_out = ["validation loss", "validation error"] * validation + ["test loss", "test error"]
    return ["epoch", "train loss", "train error", *held_out, "lr", "images/s", "time"]


def epoch_cells(row: Epoch, *, validation: bool) -> list[str]:
    """Cells of an epoch of a run with or without a validation set."""
    is_tested = not validation or row.test_error_percent is not None
    return [
        str(row.epoch),
        loss(row.train_loss),
        percent(row.train_error_percent),
        *([loss(row.validation_loss), percent(row.validation_error_percent)] if validation else []),
        *([loss(row.test_loss), percent(row.test_error_percent)] if is_tested else ["", ""]),
        f"{row.learning_rate:.3g}",
        f"{row.images_per_second:.0f}",
        duration(row.seconds),
    ]
