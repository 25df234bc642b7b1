"""Runs as tables and pages of text."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from console.text.follow import Watch, is_done
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
from console.text.status import last_line, left, loss, state
from engine.analysis.diagnosis import Finding
from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.runs.directory import RunDirectory
from engine.runs.journal import Epoch
from engine.runs.run import EventRow, Run, RunStatus
from engine.spec.labels import check_tag
from models import catalog, cost


def runs_table(runs: Sequence[Run]) -> str:
    """The runs, a row each."""
    now, today = time.monotonic(), time.time()
    unicode = supports_unicode(sys.stdout)
    rows = [
        [
            run.id,
            clean(run.experiment),
            clean(run.name),
            state(run, now),
            f"{run.epoch}/{run.spec.recipe.epochs}",
            UNKNOWN if run.train_loss is None and not run.epoch else loss(run.train_loss),
            percent(run.test_error_percent),
            clean(run.spec.data.name),
            left(run) or ago(today - (run.finished_at or run.created_at)),
            f"{star(run, unicode=unicode)}{tags_and_note(run, unicode=unicode)}",
        ]
        for run in runs
    ]
    header = ["id", "experiment", "run", "status", "epoch", "train loss", "test error", "data", "left or since"]
    if not any(row[-1] for row in rows):
        return table(header, [row[:-1] for row in rows], align="<<<<>>><>")
    return table([*header, "tags and note"], rows, align="<<<<>>><><")


def in_queue_order(unfinished: Sequence[Run]) -> list[tuple[int | None, Run]]:
    """Running runs first, without a number; then those that wait, numbered from 1, in the order of their places."""
    running: list[tuple[int | None, Run]] = [(None, run) for run in unfinished if run.status is RunStatus.RUNNING]
    return [*running, *enumerate((run for run in unfinished if run.status is RunStatus.QUEUED), 1)]


def queue_table(numbered: Sequence[tuple[int | None, Run]]) -> str:
    """The queue, a row a run."""
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
) -> str:
    """Everything about one run: what was asked, where it stands, its epochs and what happened to it."""
    model, recipe, data = run.spec.model, run.spec.recipe, run.spec.data
    cost_words = f"{count(cost.num_parameters(model))} parameters, {count(cost.forward_macs(model))} MACs"
    rate_words = f"batch {recipe.batch_size}, rate {recipe.learning_rate:g} {recipe.schedule}, seed {run.spec.seed}"
    facts = [
        ("run", f"{run.id}  {clean(run.experiment)}/{clean(run.name)}"),
        ("status", state(run, time.monotonic()) + (f" on {run.device}" if run.device else "")),
        ("network", f"{catalog.label(model)}: {cost_words}"),
        ("data", clean(data.name) + subset_words(run) + (" (synthetic: says nothing of CIFAR)" * run.synthetic)),
        ("recipe", f"{clean(recipe.name)}: {recipe.epochs} epochs, {rate_words}"),
        ("progress", f"epoch {run.epoch}/{recipe.epochs}, step {run.step}/{run.total_steps or '?'}"),
        ("test error", percent(run.test_error_percent)),
        ("best", f"{percent(run.best_test_error_percent)} (selected on the test set: not a result)"),
        ("trained for", duration(run.seconds) if run.seconds else "less than an epoch"),
    ]
    facts += [("diagnosis", f"{one.symptom}: {one.evidence}") for one in findings]
    if run.starred or run.tags:
        facts.append(("tags", f"{star(run)}{' '.join(f'+{clean(tag)}' for tag in run.tags)}".rstrip()))
    if run.notes:
        facts.append(("note", clean(run.notes)))
    if run.error:
        facts.append(("ended" if run.stopped_early else "error", last_line(run.error)))
    page = "\n".join(f"{name:<12}{value}" for name, value in facts)
    if epochs:
        page += "\n\n" + epochs_table(epochs)
    if events:
        page += "\n\n" + "\n".join(event_line(event) for event in events[-20:])
    if run.error and "\n" in run.error:
        page += "\n\n" + "\n".join(clean(line) for line in run.error.splitlines())
    return page


def subset_words(run: Run) -> str:
    """Says that only a part of the data is used."""
    parts = [
        f"{num} {kind} images"
        for num, kind in ((run.spec.data.train_images, "training"), (run.spec.data.test_images, "test"))
        if num is not None
    ]
    return f" ({', '.join(parts)})" if parts else ""


def epochs_table(epochs: Sequence[Epoch]) -> str:
    """What was measured, a row an epoch."""
    return table(EPOCH_COLUMNS, [epoch_cells(row) for row in epochs], align=">" * len(EPOCH_COLUMNS))


def event_line(event: EventRow) -> str:
    """When, what, and the rest of it."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event.at))
    return f"{when}  {event.kind:<15}{clean(event.text)}".rstrip()


def find_all(reader: Reader, words: Sequence[str]) -> list[Run]:
    """The runs that words mean: each an experiment or a run; the newest experiment where nothing is said.

    Raises:
        UsageError: a word means nothing, or nothing was ever trained.
    """
    if not words:
        newest = reader.latest_experiment()
        if newest is None:
            raise UsageError("no runs yet: `depthscope quickstart` trains a first comparison in minutes")
        words = [newest]
    found: dict[str, Run] = {}
    for word in words:
        for run in reader.runs(experiment=word) or [reader.find(word, or_experiment=True)]:
            found.setdefault(run.id, run)
    return list(found.values())


def find_experiment(reader: Reader, name: str | None) -> tuple[str, list[Run]]:
    """The experiment of a name, and its runs; the newest where nothing is said.

    Raises:
        UsageError: there is none of that name, or nothing was ever trained.
    """
    name = name or reader.latest_experiment()
    if name is None:
        raise UsageError("no runs yet: `depthscope quickstart` trains a first comparison in minutes")
    if not (runs := reader.runs(experiment=name)):
        raise reader.experiment_unknown(name)
    return name, runs


def print_log(home: Home, reader: Reader, run: Run, *, follow: bool) -> None:
    """Print events and the worker's own output; with `follow` what comes, until the run is done."""
    watch, told = Watch(home, reader, [run.id]), 0
    log = RunDirectory(home.runs / run.id).log
    offset = 0
    while True:
        done = is_done(reader.run(run.id))
        events = reader.events(run.id)
        for event in events[told:]:
            print(event_line(event))
        told = len(events)
        if log.exists():
            # Shorter than it was: it had grown too long, and its beginning was dropped.
            offset = min(offset, log.stat().st_size)
            with log.open("rb") as file:
                file.seek(offset)
                content = file.read()
            # A line that is not complete yet waits for the next look.
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
"""Of a note in a table; `show` has all of it."""


def star(run: Run, *, unicode: bool = True) -> str:
    """The sign of a starred run, with a space behind it; empty of another."""
    return ("★ " if unicode else "* ") if run.starred else ""


def tags_and_note(run: Run, *, unicode: bool = True) -> str:
    """Tags, then the note in quotes; empty where there is neither."""
    note = f'"{cut(clean(run.notes), NOTE_CELLS, unicode=unicode)}"' if run.notes else ""
    return " ".join([*(f"+{clean(tag)}" for tag in run.tags), *([note] if note else [])])


def name_and_labels(run: Run, *, unicode: bool = True) -> str:
    """Name with star, tags and note, the most important first, so that it can be cut."""
    return f"{star(run, unicode=unicode)}{clean(run.name)}  {tags_and_note(run, unicode=unicode)}".rstrip()


def fitted_name_and_labels(run: Run, width: int, *, unicode: bool = True) -> str:
    """The same within so many cells: tags and note go first, then the middle of the name, and its seed stays."""
    name = f"{star(run, unicode=unicode)}{clean(run.name)}"
    if cells(name) > width:
        return cut_in_the_middle(name, width, unicode=unicode)
    return cut(name_and_labels(run, unicode=unicode), width, unicode=unicode)


def parse_tags(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tags to add and to take away, from `+word` and `-word`.

    Raises:
        UsageError: a word has no sign, cannot be a tag, or is both added and taken away.
    """
    for word in words:
        if word[:1] not in ("+", "-"):
            raise UsageError(f"a tag is added as +{word} and taken away as -{word}")
        check_tag(word[1:])
    add = tuple(word[1:] for word in words if word[0] == "+")
    remove = tuple(word[1:] for word in words if word[0] == "-")
    for tag in add:
        if tag in remove:
            raise UsageError(f"tag {tag!r} is both added and taken away")
    return add, remove


EPOCH_COLUMNS = ("epoch", "train loss", "train error", "test loss", "test error", "rate", "images/s", "time")


def epoch_cells(row: Epoch) -> list[str]:
    """One epoch, in the order of EPOCH_COLUMNS."""
    return [
        str(row.epoch),
        loss(row.train_loss),
        percent(row.train_error_percent),
        loss(row.test_loss),
        percent(row.test_error_percent),
        f"{row.learning_rate:.3g}",
        f"{row.images_per_second:.0f}",
        duration(row.seconds),
    ]
