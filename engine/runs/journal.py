"""Journal of a run: a file of JSON lines that one worker appends to and anyone can read.

A line is complete once it ends with a newline. A line without one is torn (its writer died), is never read, and is cut
off by the next worker, which continues the numbering. Lines are numbered by `seq` without gaps or repetitions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from engine.base.decoding import Amount, Count, Moment, Percent, Real, decoder
from engine.base.paths import open_private
from engine.base.regular_files import reading_regular
from engine.spec.precision import Layout, Precision

READ_LIMIT_BYTES = 2 << 20
"""Most bytes of one reading, so that a long journal is ingested in several transactions."""
MAX_LINE_BYTES = 1 << 20
"""Far longer than any event: longer lines are skipped as garbage without loading them."""
MAX_JOURNAL_BYTES = 4 << 30
"""Far longer than any journal: a month of training writes half a gigabyte."""
OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND
"""How a worker opens its journal."""
SECONDS_BETWEEN_CHECKPOINTS = 60.0
"""Within an epoch; there is always a checkpoint at its end."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """A line of the journal; `seq` and `at` are set by the writer."""

    seq: Count = 0
    at: Moment = 0.0
    """Wall clock, seconds since 1970; for display."""


class WorkerStart(Event, frozen=True, kw_only=True):
    """A worker starts training, with its process, device and precision."""

    pid: Count
    host: str
    device: str
    device_name: str
    torch: str
    num_threads: Count
    total_steps: Count
    precision: Precision = Precision.FP32
    """Resolved precision it trains in."""
    worker: str | None = None
    """Id of this start in its assignment; None if started by hand or by an older version."""
    layout: Layout | None = None
    """Memory layout of images and weights; None if written by an earlier version."""
    class_counts: tuple[Count, ...] | None = None
    """Training images of each class; None if written by an earlier version."""


class Started(WorkerStart, frozen=True, kw_only=True, tag="started"):
    """A worker begins at the first step."""

    num_parameters: Count
    num_train: Count
    num_test: Count
    num_validation: Count = 0
    """0 also in journals of earlier versions."""
    data_sha256: str
    synthetic: bool
    version: str | None = None
    """Version of depthscope; None if it did not record it yet."""


class Resumed(WorkerStart, frozen=True, kw_only=True, tag="resumed"):
    """A worker continues from a checkpoint."""

    step: Count


class Step(Event, frozen=True, kw_only=True, tag="step"):
    """Progress, with means over the updates since the last such line."""

    step: Count
    """Updates done."""
    epoch: Count
    """Current epoch, counted from 1."""
    train_loss: Real | None
    train_error_percent: Percent | None
    learning_rate: Real
    images_per_second: Amount


class Epoch(Event, frozen=True, kw_only=True, tag="epoch"):
    """An epoch was completed and evaluated; None stands for non-finite numbers."""

    epoch: Count
    """Counted from 1."""
    step: Count
    train_loss: Real | None
    train_error_percent: Percent | None
    test_loss: Real | None
    test_error_percent: Percent | None
    """None, like the loss, before the last epoch of a run with a validation set."""
    learning_rate: Real
    """Of the last update."""
    images_per_second: Amount
    """Training speed, without evaluation."""
    seconds: Amount
    """Training and evaluation."""
    peak_memory_bytes: Count
    """Of the device, or of the process on a CPU."""
    validation_loss: Real | None = None
    validation_error_percent: Percent | None = None
    """On the images held out of training; None, like the loss, in a run without them."""

    @property
    def selection_error_percent(self) -> float | None:
        """Error that epochs are selected by: on the validation set if there is one, else on the test set."""
        return self.test_error_percent if self.validation_error_percent is None else self.validation_error_percent


class LayerGradients(msgspec.Struct, frozen=True, kw_only=True):
    """Norms of one layer's weight in one step; None stands for non-finite or missing numbers."""

    name: str
    """Name of the layer: stem, stage1.block1.conv1, head."""
    gradient_norm: Real | None
    weight_norm: Real | None
    """After the update; at initialisation, before it."""
    update_ratio: Real | None
    """Norm of the update, including momentum and weight decay, divided by that of the weight."""


class Gradients(Event, frozen=True, kw_only=True, tag="gradients"):
    """Gradient norms of the last step of an epoch, or of the very first step."""

    epoch: Count
    """Epoch whose last step it was; 0 is the first step at initialisation, before its update."""
    step: Count
    """Updates done including this one."""
    layers: list[LayerGradients]
    """From the stem to the head."""


class Checkpointed(Event, frozen=True, kw_only=True, tag="checkpoint"):
    """A checkpoint of this step was saved durably."""

    step: Count
    size_bytes: Count
    seconds: Amount
    """How long saving blocked training."""


class StoppedEarly(Event, frozen=True, kw_only=True, tag="stopped-early"):
    """The run's stop rule has ended it."""

    epoch: Count
    """Last epoch of the run."""
    text: str
    """Reason, as readable text."""
    saved_epochs: Count
    saved_seconds: Amount
    """Estimated from the mean duration of the epochs so far."""


class Notice(Event, frozen=True, kw_only=True, tag="notice"):
    """A message for readers of the run."""

    text: str


AnyEvent = Started | Resumed | Step | Epoch | Gradients | Checkpointed | StoppedEarly | Notice

_decode = decoder(AnyEvent)
_encoder = msgspec.json.Encoder()


class Garbage(msgspec.Struct, frozen=True):
    """A complete line that is not a valid event, with its position and the reason."""

    line: int
    """Counted from 1, as editors do."""
    offset_bytes: int
    reason: str

    def __str__(self) -> str:
        return f"journal, line {self.line} (byte {self.offset_bytes}): {self.reason}"


@dataclass(frozen=True, slots=True)
class Reading:
    """Result of one reading of a journal."""

    events: list[AnyEvent]
    garbage: list[Garbage]
    end: int
    """Offset in bytes after the last complete line, where the next reading starts."""


def read_journal(path: Path, start: int = 0, *, limit: int = READ_LIMIT_BYTES) -> Reading:
    """Read the complete lines after an offset.

    Args:
        path: Journal; a missing file counts as empty.
        start: Offset in bytes of a line's beginning, such as an earlier reading's `end`.
        limit: Most bytes to read, but at least one line.
    """
    try:
        with reading_regular(path, limit=MAX_JOURNAL_BYTES) as file:
            return _read(file, start, limit)
    except FileNotFoundError:
        return Reading([], [], start)


def read_on(path: Path, start: int = 0) -> Iterator[Reading]:
    """Read a journal from an offset to its end, a piece at a time."""
    while (reading := read_journal(path, start)).end > start:
        yield reading
        start = reading.end


def read_events(path: Path, start: int = 0) -> Iterator[AnyEvent]:
    """All events of a journal from an offset on."""
    for reading in read_on(path, start):
        yield from reading.events


def _read_pieces(descriptor: int) -> Iterator[Reading]:
    """Read an open journal to its end, a piece at a time."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        start = 0
        while (reading := _read(file, start, READ_LIMIT_BYTES)).end > start:
            yield reading
            start = reading.end


def _read(file: BinaryIO, start: int, limit: int) -> Reading:
    file.seek(start)
    content = file.read(limit)
    if content and b"\n" not in content:
        content += file.readline(MAX_LINE_BYTES)
        if b"\n" not in content and len(content) >= MAX_LINE_BYTES:
            return _pass_over_line(file, start)
    end = start + content.rfind(b"\n") + 1
    events: list[AnyEvent] = []
    wrong: list[tuple[int, int, str]] = []
    offset = start
    # Not splitlines, which also splits at carriage returns within garbage.
    for index, line in enumerate(content[: end - start].split(b"\n")[:-1]):
        try:
            events.append(_decode(line))
        except msgspec.DecodeError as error:
            wrong.append((index, offset, str(error)))
        offset += len(line) + 1
    # Lines are only counted if there is garbage to report.
    before = _count_lines(file, start) if wrong else 0
    return Reading(events, [Garbage(before + index + 1, offset, reason) for index, offset, reason in wrong], end)


def _pass_over_line(file: BinaryIO, start: int) -> Reading:
    """Skip a line that is too long for an event: it is garbage if it ends, otherwise torn."""
    while piece := file.readline(MAX_LINE_BYTES):
        if piece.endswith(b"\n"):
            end = file.tell()
            garbage = Garbage(_count_lines(file, start) + 1, start, f"a line of {end - start} bytes is too long")
            return Reading([], [garbage], end)
    return Reading([], [], start)


def _count_lines(file: BinaryIO, end: int) -> int:
    """Number of lines that end before an offset in bytes."""
    file.seek(0)
    count = 0
    while end > 0 and (piece := file.read(min(end, MAX_LINE_BYTES))):
        count += piece.count(b"\n")
        end -= len(piece)
    return count


class JournalWriter:
    """Appends lines, each with a single write; call `sync` to make them durable."""

    def __init__(self, descriptor: int, *, next_seq: int, last_step: int, last_epoch: int, last_gradients: int) -> None:
        self._descriptor = descriptor
        self.next_seq = next_seq
        self.last_epoch = last_epoch
        """Highest epoch with a line when the journal was opened."""
        self.last_gradients = last_gradients
        """Highest epoch with gradients at that time; -1 if there were none, not even at initialisation."""
        self.last_step = last_step
        """Highest step reported by a `step` line: steps trained again are not reported again."""
        self._held: list[bytes] | None = None
        """Lines held back until `release`; None if lines are written immediately."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a journal for appending."""
        return cls.on(open_private(path, OPEN_FLAGS))

    @classmethod
    def on(cls, descriptor: int) -> Self:
        """Append to an open file: cut off a torn last line and continue numbering after the last readable one.

        Args:
            descriptor: The journal, opened with OPEN_FLAGS.
        """
        next_seq, last_step, last_epoch, last_gradients, offset, num_lines = 0, 0, 0, -1, 0, 0
        for reading in _read_pieces(descriptor):
            offset = reading.end
            num_lines += len(reading.events) + len(reading.garbage)
            next_seq = max([next_seq, *(event.seq + 1 for event in reading.events)])
            last_step = max([last_step, *(event.step for event in reading.events if isinstance(event, Step))])
            last_epoch = max([last_epoch, *(event.epoch for event in reading.events if isinstance(event, Epoch))])
            measured = (event.epoch for event in reading.events if isinstance(event, Gradients))
            last_gradients = max([last_gradients, *measured])
        os.ftruncate(descriptor, offset)
        # Lines that are garbage now had numbers, too, which the index may have stored.
        next_seq = max(next_seq, num_lines)
        return cls(
            descriptor, next_seq=next_seq, last_step=last_step, last_epoch=last_epoch, last_gradients=last_gradients
        )

    def events(self) -> Iterator[AnyEvent]:
        """Read all events written so far, by this and earlier workers."""
        for reading in _read_pieces(self._descriptor):
            yield from reading.events

    def append(self, event: AnyEvent) -> None:
        """Write one line with the next number and the current time."""
        self.append_lines(self.stamp([event]))

    def stamp(self, events: Iterable[AnyEvent]) -> list[bytes]:
        """Number and encode events as lines for `append_lines`, without writing them yet."""
        now = time.time()
        return [
            _encoder.encode(msgspec.structs.replace(event, seq=self.next_seq + index, at=now)) + b"\n"
            for index, event in enumerate(events)
        ]

    def append_missing(self, lines: Iterable[bytes]) -> None:
        """Write lines of epochs that an earlier worker stamped but did not write, or whose lines are damaged."""
        for line in lines:
            row = _decode(line)
            assert isinstance(row, Epoch | Gradients), f"only epochs and gradients wait for a checkpoint, got {row}"
            if row.epoch > (self.last_epoch if isinstance(row, Epoch) else self.last_gradients):
                # Its number may have been used meanwhile.
                self.next_seq = max(row.seq, self.next_seq)
                self.append_lines([_encoder.encode(msgspec.structs.replace(row, seq=self.next_seq)) + b"\n"])

    def append_lines(self, lines: Iterable[bytes]) -> None:
        """Write lines from `stamp`.

        Raises:
            OSError: a line was written in part or not at all; the next `open` cuts off a torn line.
        """
        for line in lines:
            if self._held is not None:
                self._held.append(line)
                self.next_seq += 1
                continue
            left = line
            while left:
                # A full disk accepts a partial write and reports the error only on the next one.
                left = left[os.write(self._descriptor, left) :]
            self.next_seq += 1

    def hold(self, lines: Iterable[bytes]) -> None:
        """Hold back lines from `stamp`, and all appended after them, until `release`."""
        assert self._held is None, "already holding lines"
        self._held = []
        self.append_lines(lines)

    def release(self) -> None:
        """Write all held lines in order."""
        held, self._held = self._held or [], None
        self.next_seq -= len(held)
        self.append_lines(held)

    def step(self, event: Step) -> None:
        """Append progress, unless an earlier worker has reported that step."""
        if event.step > self.last_step:
            self.append(event)
            self.last_step = event.step

    def initial_gradients(self, event: Gradients) -> None:
        """Append the gradients at initialisation, unless an earlier worker has reported them."""
        if self.last_gradients < 0:
            self.append(event)

    def sync(self) -> None:
        """Sync everything appended to disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)
