"""What happened to a run: a file of JSON lines that one worker appends to and anybody may read.

A line is complete when its newline stands; a line without one is torn (the writer died inside it), is never read,
and is cut off by the next worker, which then goes on counting. Lines are numbered by `seq` without gap or repetition.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from engine.paths import open_private
from engine.precision import Precision

READ_LIMIT_BYTES = 8 << 20
"""Most that one reading takes, so that a long journal is ingested in several transactions."""
SECONDS_BETWEEN_CHECKPOINTS = 60.0
"""Within an epoch; at its end there is always one."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """A line; `seq` and `at` are set by the writer."""

    seq: int = 0
    at: float = 0.0
    """Wall clock, seconds since 1970; for display."""


class Started(Event, frozen=True, kw_only=True, tag="started"):
    """A worker has built the network and the data, and begins at the first step."""

    pid: int
    host: str
    device: str
    device_name: str
    torch: str
    num_threads: int
    num_parameters: int
    num_train: int
    num_test: int
    total_steps: int
    data_sha256: str
    synthetic: bool
    precision: Precision = Precision.FP32
    """What it is computed in, whatever was asked for."""


class Resumed(Event, frozen=True, kw_only=True, tag="resumed"):
    """A worker goes on from a checkpoint."""

    pid: int
    host: str
    device: str
    device_name: str
    torch: str
    num_threads: int
    step: int
    total_steps: int
    precision: Precision = Precision.FP32


class Step(Event, frozen=True, kw_only=True, tag="step"):
    """Progress; means over the updates since the line of this kind before it."""

    step: int
    """Updates done."""
    epoch: int
    """The epoch under way, counted from 1."""
    train_loss: float | None
    train_error_percent: float | None
    learning_rate: float
    images_per_second: float


class Epoch(Event, frozen=True, kw_only=True, tag="epoch"):
    """An epoch is done and evaluated; None stands for a number that is not finite."""

    epoch: int
    """Counted from 1."""
    step: int
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
    peak_memory_bytes: int
    """Of the device; of the process where the device is the CPU."""


class Checkpointed(Event, frozen=True, kw_only=True, tag="checkpoint"):
    """State is safe on disk up to this step."""

    step: int
    size_bytes: int
    seconds: float
    """How long training stood still for it."""


class Notice(Event, frozen=True, kw_only=True, tag="notice"):
    """Something that a reader of the run should know."""

    text: str


AnyEvent = Started | Resumed | Step | Epoch | Checkpointed | Notice

_decoder = msgspec.json.Decoder(AnyEvent)
_encoder = msgspec.json.Encoder()


class Garbage(msgspec.Struct, frozen=True):
    """A complete line that is no event: where it stands and what is wrong with it."""

    offset_bytes: int
    reason: str


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
    events: list[AnyEvent] = []
    garbage: list[Garbage] = []
    try:
        with path.open("rb") as file:
            file.seek(start)
            content = file.read(limit)
            if content and b"\n" not in content:
                content += file.readline()
    except FileNotFoundError:
        return Reading([], [], start)
    end = start + content.rfind(b"\n") + 1
    offset = start
    for line in content[: end - start].splitlines(keepends=True):
        try:
            events.append(_decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            garbage.append(Garbage(offset, str(error)))
        offset += len(line)
    return Reading(events, garbage, end)


class JournalWriter:
    """Appends lines, each by one write; made durable only where `sync` is called."""

    def __init__(self, descriptor: int, *, next_seq: int, last_step: int, offset_bytes: int) -> None:
        self._descriptor = descriptor
        self.next_seq = next_seq
        self.last_step = last_step
        """Highest step that a line of kind `step` has reported: one trained again is not reported again."""
        self.offset_bytes = offset_bytes
        self._held: list[bytes] | None = None
        """Lines that wait for `release`; None where lines are written at once."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open for appending: cut a torn last line off and go on counting behind the last one that can be read."""
        descriptor = open_private(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        next_seq, last_step, offset = 0, 0, 0
        while (reading := read_journal(path, offset)).end > offset:
            offset = reading.end
            next_seq = max([next_seq, *(event.seq + 1 for event in reading.events)])
            last_step = max([last_step, *(event.step for event in reading.events if isinstance(event, Step))])
        os.ftruncate(descriptor, offset)
        return cls(descriptor, next_seq=next_seq, last_step=last_step, offset_bytes=offset)

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

    def append_lines(self, lines: Iterable[bytes]) -> None:
        """Write lines that `stamp` made."""
        for line in lines:
            if self._held is not None:
                self._held.append(line)
                self.next_seq += 1
                continue
            written = os.write(self._descriptor, line)
            if written != len(line):
                raise OSError(f"journal: wrote {written} of {len(line)} bytes")
            self.next_seq += 1
            self.offset_bytes += len(line)

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

    def sync(self) -> None:
        """Make everything appended survive a power cut."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)
