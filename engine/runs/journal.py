"""What happened to a run: a file of JSON lines that one worker appends to and anybody may read.

A line is complete when its newline stands; a line without one is torn (the writer died inside it), is never read,
and is cut off by the next worker, which then goes on counting. Lines are numbered by `seq` without gap or repetition.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Self

import msgspec

from engine.base.paths import open_private
from engine.spec.precision import Precision

READ_LIMIT_BYTES = 2 << 20
"""Most that one reading takes, so that a long journal is ingested in several transactions."""
MAX_LINE_BYTES = 1 << 20
"""No event comes near it: a longer line is passed over as garbage, without ever being held in memory."""
SECONDS_BETWEEN_CHECKPOINTS = 60.0
"""Within an epoch; at its end there is always one."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""What a database can hold: a digit too many is garbage and not the reader's end."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """A line; `seq` and `at` are set by the writer."""

    seq: Count = 0
    at: float = 0.0
    """Wall clock, seconds since 1970; for display."""


class WorkerStart(Event, frozen=True, kw_only=True):
    """A worker has built the network and the data and begins to train: which one, where, and in what."""

    pid: Count
    host: str
    device: str
    device_name: str
    torch: str
    num_threads: Count
    total_steps: Count
    precision: Precision = Precision.FP32
    """Precision it trains in, whatever was asked for."""


class Started(WorkerStart, frozen=True, kw_only=True, tag="started"):
    """A worker begins at the first step."""

    num_parameters: Count
    num_train: Count
    num_test: Count
    data_sha256: str
    synthetic: bool


class Resumed(WorkerStart, frozen=True, kw_only=True, tag="resumed"):
    """A worker continues from a checkpoint."""

    step: Count


class Step(Event, frozen=True, kw_only=True, tag="step"):
    """Progress; means over the updates since the line of this kind before it."""

    step: Count
    """Updates done."""
    epoch: Count
    """The epoch under way, counted from 1."""
    train_loss: float | None
    train_error_percent: float | None
    learning_rate: float
    images_per_second: float


class Epoch(Event, frozen=True, kw_only=True, tag="epoch"):
    """An epoch is done and evaluated; None stands for a number that is not finite."""

    epoch: Count
    """Counted from 1."""
    step: Count
    train_loss: float | None
    train_error_percent: float | None
    test_loss: float | None
    test_error_percent: float | None
    learning_rate: float
    """Of the last update."""
    images_per_second: float
    """Of training alone, evaluation left out."""
    seconds: float
    """Training and evaluation."""
    peak_memory_bytes: Count
    """Of the device; of the process where the device is the CPU."""


class LayerGradients(msgspec.Struct, frozen=True, kw_only=True):
    """Norms of one layer's weight in one step; None stands for a number that is not finite, or not there."""

    name: str
    """Its place in the network: stem, stage1.block1.conv1, head."""
    gradient_norm: float | None
    weight_norm: float | None
    """Behind the update; at initialisation before it."""
    update_ratio: float | None
    """Norm of the update, momentum and weight decay included, over that of the weight."""


class Gradients(Event, frozen=True, kw_only=True, tag="gradients"):
    """How large gradients were in the last step of an epoch, or in the first step of all."""

    epoch: int
    """The epoch whose last step it was; 0 is the network as initialised, in the first step and before its update."""
    step: int
    """Updates done with it."""
    layers: list[LayerGradients]
    """From the stem to the head."""


class Checkpointed(Event, frozen=True, kw_only=True, tag="checkpoint"):
    """State is safe on disk up to this step."""

    step: Count
    size_bytes: Count
    seconds: float
    """How long training stood still for it."""


class StoppedEarly(Event, frozen=True, kw_only=True, tag="stopped-early"):
    """The rule that the run was asked to end by has applied."""

    epoch: int
    """Behind which it ends."""
    text: str
    """What the rule saw, in words."""
    saved_epochs: int
    saved_seconds: float
    """An estimate: as many epochs as long as those before."""


class Notice(Event, frozen=True, kw_only=True, tag="notice"):
    """Something that a reader of the run should know."""

    text: str


AnyEvent = Started | Resumed | Step | Epoch | Gradients | Checkpointed | StoppedEarly | Notice

_decoder = msgspec.json.Decoder(AnyEvent)
_encoder = msgspec.json.Encoder()


class Garbage(msgspec.Struct, frozen=True):
    """A complete line that is no event: where it stands and what is wrong with it."""

    line: int
    """Counted from 1, as editors do."""
    offset_bytes: int
    reason: str

    def __str__(self) -> str:
        return f"journal, line {self.line} (byte {self.offset_bytes}): {self.reason}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at a journal found."""

    events: list[AnyEvent]
    garbage: list[Garbage]
    end: int
    """Offset in bytes behind the last complete line: where the next look starts."""


def read_journal(path: Path, start: int = 0, *, limit: int = READ_LIMIT_BYTES) -> Reading:
    """The complete lines from an offset on.

    Args:
        path: The journal; one that does not exist is empty.
        start: Offset in bytes of a line's beginning, as an earlier reading's `end` gave it.
        limit: Most bytes to take, at least one line.
    """
    try:
        with path.open("rb") as file:
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
    # Not by splitlines, which also splits where garbage holds a carriage return.
    for index, line in enumerate(content[: end - start].split(b"\n")[:-1]):
        try:
            events.append(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            wrong.append((index, offset, str(error)))
        offset += len(line) + 1
    # Counted only where somebody is to be told.
    before = _count_lines(file, start) if wrong else 0
    return Reading(events, [Garbage(before + index + 1, offset, reason) for index, offset, reason in wrong], end)


def _pass_over_line(file: BinaryIO, start: int) -> Reading:
    """A line that is longer than any event: garbage where it ends, torn where it does not."""
    while piece := file.readline(MAX_LINE_BYTES):
        if piece.endswith(b"\n"):
            end = file.tell()
            garbage = Garbage(_count_lines(file, start) + 1, start, f"a line of {end - start} bytes is no event")
            return Reading([], [garbage], end)
    return Reading([], [], start)


def _count_lines(file: BinaryIO, end: int) -> int:
    """Lines that end before an offset in bytes."""
    file.seek(0)
    count = 0
    while end > 0 and (piece := file.read(min(end, MAX_LINE_BYTES))):
        count += piece.count(b"\n")
        end -= len(piece)
    return count


class JournalWriter:
    """Appends lines, each by one write; made durable only where `sync` is called."""

    def __init__(self, descriptor: int, *, next_seq: int, last_step: int, last_epoch: int, last_gradients: int) -> None:
        self._descriptor = descriptor
        self.next_seq = next_seq
        self.last_epoch = last_epoch
        """Highest epoch that had a row when this was opened."""
        self.last_gradients = last_gradients
        """Highest epoch whose gradients had a line then; -1 where there was none, not even at initialisation."""
        self.last_step = last_step
        """Highest step that a line of kind `step` has reported: one trained again is not reported again."""
        self._held: list[bytes] | None = None
        """Lines that wait for `release`; None where lines are written at once."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open for appending: cut a torn last line off and go on counting behind the last one that can be read."""
        descriptor = open_private(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        next_seq, last_step, last_epoch, last_gradients, offset, num_lines = 0, 0, 0, -1, 0, 0
        for reading in read_on(path):
            offset = reading.end
            num_lines += len(reading.events) + len(reading.garbage)
            next_seq = max([next_seq, *(event.seq + 1 for event in reading.events)])
            last_step = max([last_step, *(event.step for event in reading.events if isinstance(event, Step))])
            last_epoch = max([last_epoch, *(event.epoch for event in reading.events if isinstance(event, Epoch))])
            measured = (event.epoch for event in reading.events if isinstance(event, Gradients))
            last_gradients = max([last_gradients, *measured])
        os.ftruncate(descriptor, offset)
        # What is garbage now had a number too, which the index may know.
        next_seq = max(next_seq, num_lines)
        return cls(
            descriptor, next_seq=next_seq, last_step=last_step, last_epoch=last_epoch, last_gradients=last_gradients
        )

    def append(self, event: AnyEvent) -> None:
        """Write one line, with the next number and the time of day."""
        self.append_lines(self.stamp([event]))

    def stamp(self, events: Iterable[AnyEvent]) -> list[bytes]:
        """Number and encode events as the lines that `append_lines` is to write, without writing them yet."""
        now = time.time()
        return [
            _encoder.encode(msgspec.structs.replace(event, seq=self.next_seq + index, at=now)) + b"\n"
            for index, event in enumerate(events)
        ]

    def append_missing(self, lines: Iterable[bytes]) -> None:
        """Write rows of epochs that an earlier worker stamped and did not come to write, or whose lines are spoilt."""
        for line in lines:
            row = _decoder.decode(line)
            assert isinstance(row, Epoch | Gradients), "nothing else waits for a checkpoint"
            if row.epoch > (self.last_epoch if isinstance(row, Epoch) else self.last_gradients):
                # The number that it was given may have been taken since.
                self.next_seq = max(row.seq, self.next_seq)
                self.append_lines([_encoder.encode(msgspec.structs.replace(row, seq=self.next_seq)) + b"\n"])

    def append_lines(self, lines: Iterable[bytes]) -> None:
        """Write lines that `stamp` made.

        Raises:
            OSError: the disk took a line in part or not at all; what is torn is cut off by the next `open`.
        """
        for line in lines:
            if self._held is not None:
                self._held.append(line)
                self.next_seq += 1
                continue
            left = line
            while left:
                # A full disk takes what it can, and says why not more only when it is asked again.
                left = left[os.write(self._descriptor, left) :]
            self.next_seq += 1

    def hold(self, lines: Iterable[bytes]) -> None:
        """Take lines that `stamp` made, and all that are appended after them, but write none before `release`."""
        assert self._held is None, "held already"
        self._held = []
        self.append_lines(lines)

    def release(self) -> None:
        """Write what was held, in order; does nothing where nothing is."""
        held, self._held = self._held or [], None
        self.next_seq -= len(held)
        self.append_lines(held)

    def step(self, event: Step) -> None:
        """Append progress, unless an earlier worker reported that step already."""
        if event.step > self.last_step:
            self.append(event)
            self.last_step = event.step

    def initial_gradients(self, event: Gradients) -> None:
        """Append the gradients at initialisation, unless an earlier worker reported them already."""
        if self.last_gradients < 0:
            self.append(event)

    def sync(self) -> None:
        """Make everything appended survive a power cut."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)
