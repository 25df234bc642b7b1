"""Fuzz targets: each decoder with the code that consumes its result, and valid inputs as seeds."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import math
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import torch

from engine.base.errors import CheckpointDamaged, DatasetError, DepthscopeError, UsageError
from engine.base.paths import Home
from engine.base.regular_files import OddFile
from engine.control.protocol import Hello, Move, NewRun, Pause, Refused, SetQueue, Submit, decode_reply, encode
from engine.control.queue_state import QueueState, read_queue
from engine.daemon import Engine
from engine.data.archives import read_members
from engine.data.cache import ARRAYS, ArrayFile, DatasetInfo, check_sizes, read_info
from engine.estimates.memory import training_memory
from engine.programs.weights_file import read_weights
from engine.runs.directory import Labels
from engine.runs.identity import RUN_ID, Identity, encode_stored
from engine.runs.journal import Checkpointed, JournalWriter, Notice, Resumed, Started, Step, read_journal
from engine.scheduler.hooks import Announcer
from engine.scheduler.outcomes import finish
from engine.spec.devices import CPU
from engine.spec.precision import Precision
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec, decode_spec, encode_spec
from engine.spec.schedule import learning_rate_at
from engine.spec.settings import read_settings
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


DATASET = msgspec.json.encode(
    DatasetInfo(
        name="tiny",
        source="s",
        synthetic=True,
        classes=("a", "b"),
        num_train=2,
        num_test=2,
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        files={f"{name}.npy": ArrayFile(200, "0" * 64) for name in ARRAYS},
    )
)


def tar_of(name: str, mode: Literal["w", "w:gz"] = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        member = tarfile.TarInfo(name)
        member.size = 4
        tar.addfile(member, io.BytesIO(b"1234"))
    return buffer.getvalue()


def zip_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"1234")
    return buffer.getvalue()


SEEDS: dict[str, tuple[bytes, ...]] = {
    "journal": tuple(b"".join(msgspec.json.encode(event) + b"\n" for event in EVENTS[first:]) for first in range(3)),
    "protocol": tuple(map(encode, REQUESTS)),
    "spec": (encode_spec(SPEC), encode_spec(RunSpec(model=model_spec("preact", 110)))),
    "spec.json": (encode_stored(SPEC, origin="0123456789"),),
    "checkpoint header": (checkpoint_of(archive_of({"format": CHECKPOINT_FORMAT, "spec": "s"})),),
    "checkpoint content": (archive_of({"format": CHECKPOINT_FORMAT, "spec": "s", "model": torch.zeros(3)}),),
}
SEEDS |= {
    "labels": (msgspec.json.encode(Labels(name="r", experiment="e", position=1, created_at=1.0, tags=("a",))),),
    "exit record": (b'{"reason":"succeeded","step":80,"at":1790000000.0,"error":null}',),
    "config": (b'[slots]\ncpu = 2\n"cuda:0" = 1\n\n[on-finish]\ncommand = ["true"]\ntimeout-seconds = 10.0\n',),
    "queue": (b'{"state":"draining","to_finish":["0123456789"]}',),
    "dataset header": (DATASET,),
    "archive": (tar_of("a/1.png"), tar_of("a/1.png", "w:gz"), zip_of("a/1.png")),
    "weights": (archive_of({"conv1.weight": torch.zeros(2)}), archive_of({"state_dict": {"a": torch.zeros(1)}})),
}


class Targets:
    """Targets working on files in a directory; each takes any bytes and raises if depthscope would fail."""

    def __init__(self, directory: Path) -> None:
        self._journal = directory / "journal.jsonl"
        self._checkpoint = directory / "checkpoint.pt"
        scene_ = scene(Home(directory / "home").create(), (CPU,))
        self._home = scene_.home
        self._run = scene_.supervisor.directory("run")
        self._run.path.mkdir()
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
            "labels": self.labels,
            "exit record": self.exit_record,
            "config": self.config,
            "queue": self.queue,
            "dataset header": self.dataset,
            "archive": self.archive,
            "weights": self.weights,
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

    def labels(self, content: bytes) -> None:
        """Read labels, or fall back to defaults, store them, and submit after them."""
        self._run.labels_file.write_bytes(content)
        labels = self._run.read_labels()
        time.localtime(labels.created_at)
        with self._store.transaction():
            self._store.set_labels("run", labels)
        assert -(2**53) <= self._store.next_position() <= 2**53
        assert math.isfinite(self._store.next_place())

    def exit_record(self, content: bytes) -> None:
        """Read an exit record and store the outcome, or refuse it as damaged."""
        self._run.exit_file.write_bytes(content)
        try:
            record = self._run.read_exit()
        except OddFile:
            return
        assert record is not None
        time.localtime(record.at)
        if record.reason.is_final:
            with self._store.transaction():
                finish(self._store, "run", record)

    def config(self, content: bytes) -> None:
        """Read settings, or refuse them in one line."""
        self._home.config.write_bytes(content)
        with contextlib.suppress(UsageError):
            read_settings(self._home)

    def queue(self, content: bytes) -> None:
        """Read the queue's state; what is damaged is held."""
        self._home.queue.write_bytes(content)
        read_queue(self._home)

    def dataset(self, content: bytes) -> None:
        """Read a dataset's header with its files, or refuse it."""
        place = self._home.data / "tiny"
        place.mkdir(exist_ok=True)
        (place / "dataset.json").write_bytes(content)
        try:
            info = read_info(self._home, "tiny")
            assert info is not None
            check_sizes(self._home, info)
        except DatasetError:
            return

    def archive(self, content: bytes) -> None:
        """Walk an archive to its end, or refuse it."""
        with contextlib.suppress(DatasetError):
            for _member in read_members(Path("archive"), io.BytesIO(content), lambda parts: True):
                pass

    def weights(self, content: bytes) -> None:
        """Read weights, or refuse them in one line."""
        path = self._checkpoint.with_name("weights.pt")
        path.write_bytes(content)
        with contextlib.suppress(DepthscopeError):
            assert read_weights(path)

    def checkpoint(self, content: bytes) -> None:
        """Load a checkpoint with a state, or report it as damaged."""
        self._checkpoint.write_bytes(content)
        try:
            loaded = load_in(self._checkpoint.parent)
        except CheckpointDamaged:
            return
        assert loaded is not None
        assert loaded.state["format"] == CHECKPOINT_FORMAT
