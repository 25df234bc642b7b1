"""Checks that a run directory from elsewhere is one complete run, with nothing in it that a run cannot have.

What passes can be listed, indexed and rebuilt like a run of this home.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.base.decoding import Kind, decode_json
from engine.base.errors import DepthscopeError, UsageError
from engine.base.logs import MAX_LOG_BYTES
from engine.base.regular_files import SMALL_FILE_BYTES, read_regular
from engine.base.units import byte_size
from engine.runs.directory import ExitReason, ExitRecord, FileName, Labels, RunDirectory
from engine.runs.identity import Identity
from engine.runs.journal import MAX_JOURNAL_BYTES, AnyEvent, Epoch, Gradients, Resumed, Started, Step, read_on
from engine.spec.labels import MAX_TAGS, check_label, check_tag, cleaned_note
from engine.spec.run import RunSpec
from models.cost import num_parameters

MAX_SEQ = 1 << 40
"""Far more lines than any journal has."""
MARGIN_BYTES = 64 << 20
"""Room for all of a checkpoint but its numbers."""
BYTES_A_PARAMETER = {FileName.WEIGHTS: 16, FileName.CHECKPOINT: 32, FileName.PREVIOUS_CHECKPOINT: 32}
"""Generous: weights take 4, a checkpoint 8, and running statistics less than the weights they belong to."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A run directory that was checked."""

    identity: Identity
    labels: Labels | None
    """None if it has no labels.json."""
    record: ExitRecord | None
    """None if the run has not ended."""
    names: frozenset[str]
    """Names of its files."""

    @property
    def is_finished(self) -> bool:
        return self.record is not None and self.record.reason.is_final

    @property
    def succeeded(self) -> bool:
        return self.record is not None and self.record.reason is ExitReason.SUCCEEDED


def verify(directory: RunDirectory) -> Verified:
    """Decode everything in a run directory.

    Raises:
        UsageError: it is not one complete run; the text says what is wrong with which file.
    """
    path = directory.path
    try:
        sizes = file_sizes(path)
        identity = directory.read_identity()
        check_sizes(path, sizes, identity.spec)
        labels = decoded(directory.labels_file, Labels) if FileName.LABELS in sizes else None
        if labels is not None:
            check_labels(directory.labels_file, labels)
        record = decoded(directory.exit_file, ExitRecord) if FileName.EXIT in sizes else None
        last_epoch = check_journal(directory, identity.spec)
    except OSError as error:
        raise UsageError(f"{error.filename or path} cannot be read: {error.strerror}") from error
    except UsageError:
        raise
    except DepthscopeError as error:
        raise UsageError(str(error)) from error
    found = Verified(identity, labels, record, frozenset(sizes))
    if found.succeeded and last_epoch != identity.spec.recipe.epochs:
        had = f"only {last_epoch} of {identity.spec.recipe.epochs} epochs" if last_epoch else "no epoch"
        raise UsageError(f"{path} is damaged: it succeeded, but its journal has {had}")
    return found


def file_sizes(path: Path) -> dict[str, int]:
    """Return the sizes of the files in a directory.

    Raises:
        UsageError: it is not a directory, or contains something else than regular files.
        OSError: it cannot be read.
    """
    if not stat.S_ISDIR(path.lstat().st_mode):
        raise UsageError(f"{path} is not a directory: give a run directory, such as runs/0123456789")
    sizes = {}
    with os.scandir(path) as entries:
        for entry in entries:
            found = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                kind = "a link" if stat.S_ISLNK(found.st_mode) else "not a regular file"
                where = path / entry.name
                raise UsageError(f"{where} is {kind}, which a run directory cannot contain: copy the actual files")
            sizes[entry.name] = found.st_size
    return sizes


def size_limit(name: str, spec: RunSpec) -> int:
    """Return the most bytes that a file of a run can have."""
    match name:
        case FileName.JOURNAL:
            return MAX_JOURNAL_BYTES
        case FileName.LOG:
            # Capped only while an engine runs.
            return 16 * MAX_LOG_BYTES
        case FileName.WEIGHTS | FileName.CHECKPOINT | FileName.PREVIOUS_CHECKPOINT:
            return BYTES_A_PARAMETER[FileName(name)] * num_parameters(spec.model) + MARGIN_BYTES
        case _:
            return SMALL_FILE_BYTES


def check_sizes(path: Path, sizes: dict[str, int], spec: RunSpec) -> None:
    """Check the files that are copied; others may have any size.

    Raises:
        UsageError: a file is larger than that of such a run.
    """
    for name in FileName:
        limit = size_limit(name, spec)
        if (size := sizes.get(name, 0)) > limit:
            raise UsageError(
                f"{path / name} has {byte_size(size)}, but can have at most {byte_size(limit)} in this run"
            )


def decoded(path: Path, kind: type[Kind]) -> Kind:
    """Decode a small file.

    Raises:
        UsageError: the file is damaged.
    """
    try:
        return decode_json(read_regular(path), kind)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} is damaged: {error}") from error


def check_labels(path: Path, labels: Labels) -> None:
    """Check that labels are such as the commands accept.

    Raises:
        UsageError: one is not.
    """
    try:
        check_label(labels.experiment, "an experiment's name")
        check_label(labels.name, "a run's name")
        if len(labels.tags) > MAX_TAGS:
            raise UsageError(f"a run must have at most {MAX_TAGS} tags, got {len(labels.tags)}")
        for tag in labels.tags:
            check_tag(tag)
        if cleaned_note(labels.notes) != labels.notes:
            raise UsageError("a note must be one line without control characters")
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def check_journal(directory: RunDirectory, spec: RunSpec) -> int:
    """Check a journal and return its last epoch; a torn last line is normal after a kill.

    Raises:
        UsageError: a complete line is not an event of such a run.
    """
    last_epoch, total_steps = 0, MAX_SEQ
    for reading in read_on(directory.journal):
        for line in reading.garbage:
            raise UsageError(f"{directory.path} is damaged: {line}")
        for event in reading.events:
            if isinstance(event, Started):
                total_steps = spec.steps_per_epoch(event.num_train) * spec.recipe.epochs
            if (wrong := impossible(event, spec, total_steps)) is not None:
                raise UsageError(f"{directory.journal} is damaged: line {event.seq} {wrong}")
            if isinstance(event, Epoch):
                last_epoch = max(last_epoch, event.epoch)
    return last_epoch


def impossible(event: AnyEvent, spec: RunSpec, total_steps: int) -> str | None:
    """Return what no worker would have written in an event of this run; None if there is nothing."""
    if event.seq > MAX_SEQ:
        return "has too large a number"
    if isinstance(event, Started | Resumed) and event.class_counts is not None:
        num_classes = spec.model.num_classes
        if len(event.class_counts) != num_classes:
            return f"counts images of {len(event.class_counts)} classes, of {num_classes}"
    if isinstance(event, Epoch | Gradients | Step):
        if event.epoch > spec.recipe.epochs:
            return f"is of epoch {event.epoch}, of {spec.recipe.epochs}"
        if event.step > total_steps:
            return f"is of step {event.step}, of {total_steps}"
    return None
