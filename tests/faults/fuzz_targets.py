"""Fuzz targets: each decoder with the code that consumes its result, and valid inputs as seeds."""

from __future__ import annotations

import asyncio
import hashlib
import io
import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch

from engine.base.errors import CheckpointDamaged, UsageError
from engine.base.paths import Home
from engine.control.protocol import Hello, Move, NewRun, Pause, Refused, SetQueue, Submit, decode_reply, encode
from engine.control.queue_state import QueueState
from engine.daemon import Engine
from engine.estimates.memory import training_memory
from engine.runs.directory import Labels
from engine.runs.identity import RUN_ID, Identity, encode_stored
from engine.runs.journal import Checkpointed, JournalWriter, Notice, Resumed, Started, Step, read_journal
from engine.scheduler.hooks import Announcer
from engine.spec.devices import CPU
from engine.spec.precision import Precision
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec, decode_spec, encode_spec
from engine.spec.schedule import learning_rate_at
from engine.training.checkpoint import CHECKPOINT_FORMAT, MAGIC
from models.catalog import model_spec
from models.cost import forward_macs, num_parameters
from tests.checkpoints import load_in
from tests.engine.scripted import scene
from tests.samples import an_epoch

SPEC = RunSpec(model=model_spec("he-resnet", 20), recipe=recipe("quick"), seed=3)
WORKER = {"pid": 1, "host": "h", "device": "cpu", "device_name": "c", "torch": "2", "num_threads": 2}
EVENTS = (
    Started(**WORKER, num_parameters=9, num_train=40, num_test=8, total_steps=80, data_sha256="0", synthetic=True),
    Resumed(seq=1, **WORKER, step=4, total_steps=80),
    Step(seq=2, step=5, epoch=1, train_loss=2.0, train_error_percent=50.0, learning_rate=0.1, images_per_second=9.0),
    an_epoch(1, seq=3, step=8, test_loss=None),
    Checkpointed(seq=4, step=8, size_bytes=100, seconds=0.1),
    Notice(seq=5, text='a "notice"'),
)
REQUESTS = (
    Hello(id="a"),
    Submit(id="b", runs=(NewRun(name="r", spec=SPEC),), experiment="e"),
    Pause(id="c", runs=("0123",)),
    Move(id="d", runs=("0123",), before="4567"),
    SetQueue(id="e", state=QueueState.HELD),
)


def checkpoint_of(content: bytes) -> bytes:
    """Build a file with a correct header for any content."""
    return b"%s %s %d\n" % (MAGIC, hashlib.sha256(content).hexdigest().encode(), len(content)) + content


def archive_of(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


SEEDS: dict[str, tuple[bytes, ...]] = {
    "journal": tuple(b"".join(msgspec.json.encode(event) + b"\n" for event in EVENTS[first:]) for first in range(3)),
    "protocol": tuple(map(encode, REQUESTS)),
    "spec": (encode_spec(SPEC), encode_spec(RunSpec(model=model_spec("preact", 110)))),
    "spec.json": (encode_stored(SPEC, origin="0123456789"),),
    "checkpoint header": (checkpoint_of(archive_of({"format": CHECKPOINT_FORMAT, "spec": "s"})),),
    "checkpoint content": (archive_of({"format": CHECKPOINT_FORMAT, "spec": "s", "model": torch.zeros(3)}),),
}


class Targets:
    """Targets working on files in a directory; each takes any bytes and raises if depthscope would fail."""

    def __init__(self, directory: Path) -> None:
        self._journal = directory / "journal.jsonl"
        self._checkpoint = directory / "checkpoint.pt"
        scene_ = scene(Home(directory / "home").create(), (CPU,))
        self._store = scene_.supervisor.store
        announcer = Announcer(None, scene_.supervisor.store, scene_.supervisor.reader)
        self._engine = Engine(scene_.home, scene_.supervisor, announcer)
        with self._store.transaction():
            self._store.add_run("run", SPEC, Labels(name="r", experiment="e", position=1, created_at=0.0))

    def by_name(self) -> dict[str, Callable[[bytes], None]]:
        return {
            "journal": self.journal,
            "protocol": self.protocol,
            "spec": self.spec,
            "spec.json": self.identity,
            "checkpoint header": self.checkpoint,
            "checkpoint content": lambda content: self.checkpoint(checkpoint_of(content)),
        }

    def journal(self, content: bytes) -> None:
        """Read a journal, ingest it, and continue it as the next worker would."""
        self._journal.write_bytes(content)
        reading = read_journal(self._journal)
        assert reading.end == content.rfind(b"\n") + 1
        assert len(reading.events) + len(reading.garbage) == content.count(b"\n")
        with self._store.transaction():
            self._store.ingest("run", reading.events, reading.garbage, end=reading.end)
        writer = JournalWriter.open(self._journal)
        writer.append(Notice(text="next"))
        writer.close()
        (newest,) = read_journal(self._journal, reading.end).events
        assert newest.seq not in {event.seq for event in reading.events}

    def protocol(self, content: bytes) -> None:
        """Answer a request with one line a console can read, without ending the engine."""
        reply = asyncio.run(self._engine._answer(content + b"\n"))
        assert b"\n" not in reply
        decoded = decode_reply(reply)
        if isinstance(decoded, Refused):
            assert decoded.text

    def spec(self, content: bytes) -> None:
        """Refuse a spec in one line, or accept one that can be counted, scheduled, stored and written back."""
        try:
            spec = decode_spec(content)
        except UsageError:
            return
        assert decode_spec(encode_spec(spec)) == spec
        assert num_parameters(spec.model) > 0
        assert forward_macs(spec.model) > 0
        total_steps = spec.steps_per_epoch(50_000) * spec.recipe.epochs
        assert 0 < total_steps < 2**62
        for step in (0, total_steps - 1):
            assert math.isfinite(learning_rate_at(step, spec.recipe, total_steps=total_steps))
        training_memory(spec, (Precision.FP32,), on_gpu=False, num_train=50_000, num_test=10_000)
        labels = Labels(name="r", experiment="e", position=1, created_at=0.0)
        with self._store.transaction():
            self._store.add_run("fuzzed", spec, labels)

    def identity(self, content: bytes) -> None:
        """Refuse a spec.json, or know the run it belongs to."""
        try:
            identity = Identity.decode(content)
        except UsageError:
            return
        assert identity.origin is None or RUN_ID.fullmatch(identity.origin)
        self.spec(encode_spec(identity.spec))

    def checkpoint(self, content: bytes) -> None:
        """Load a checkpoint with a state, or report it as damaged."""
        self._checkpoint.write_bytes(content)
        try:
            loaded = load_in(self._checkpoint.parent)
        except CheckpointDamaged:
            return
        assert loaded is not None
        assert loaded.state["format"] == CHECKPOINT_FORMAT
