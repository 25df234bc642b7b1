"""Decides which queued run starts next, on which device, and what the others wait for."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import dataclass
from functools import partial

import msgspec

from engine.base.paths import Home
from engine.base.regular_files import OddFile
from engine.base.system import boot_id
from engine.control.queue_state import Queue, QueueState, read_queue, write_queue
from engine.index.database import DatabaseUnusable, IndexNotWritten
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import Assignment, RunDirectory, WorkerProcess
from engine.runs.disk import Storage
from engine.runs.launcher import Launcher, WorkerHolds
from engine.runs.run import Intent, Run, RunStatus
from engine.scheduler.isolation import Isolation
from engine.scheduler.labels import Labelling
from engine.scheduler.outcomes import lose, rest
from engine.scheduler.placement import MemoryShort, Occupant, PlacesShort, Slots
from engine.spec.devices import Device
from models.catalog import ModelSpec

log = logging.getLogger(__name__)

START_RETRY_SECONDS = 5.0
ODD = (OddFile, IsADirectoryError, NotADirectoryError)
"""Errors of one run directory, which other runs do not meet."""


@dataclass(slots=True)
class Worker:
    """A worker that was alive when last checked."""

    device: str
    model: ModelSpec
    first_step: int
    """Step of its run when first seen; beyond it, the worker has allocated all its memory."""
    began: float | None = None
    """Monotonic time when this engine started it; None if adopted."""


class Dispatcher:
    """Starts queued runs in order, each on a device with a free slot and enough memory.

    Args:
        workers: Live workers by run id; started ones are added.
    """

    def __init__(
        self,
        home: Home,
        store: Store,
        reader: Reader,
        launcher: Launcher,
        slots: Slots,
        labelling: Labelling,
        isolation: Isolation,
        workers: dict[str, Worker],
    ) -> None:
        self.queue = read_queue(home)
        self.storage = Storage(home)
        self.starts_runs = True
        """Whether anyone asked this engine for training; otherwise it only serves."""
        self._home = home
        self._store = store
        self._reader = reader
        self._launcher = launcher
        self._slots = slots
        self._labelling = labelling
        self._workers = workers
        self._isolation = isolation
        self._start_again_at = 0.0
        self._waits: dict[str, str] = {}
        """What each run waits for, so that it is recorded once and not at every tick."""

    def waits_to_retry(self) -> bool:
        """Whether starting is suspended after a failure."""
        return time.monotonic() < self._start_again_at

    def retry_later(self) -> None:
        """Suspend starting for a while after a failure."""
        self._start_again_at = time.monotonic() + START_RETRY_SECONDS

    def forget_waits(self) -> None:
        """Record again what runs wait for, after the index was rebuilt."""
        self._waits.clear()

    def requeue_waiting_for_disk(self) -> None:
        """Queue runs again that wait for the disk if it is writable now; and keep a disk reserve."""
        if not self.storage.is_due():
            return
        waiting = self._reader.waiting_for_disk()
        for run in waiting:
            if run.unreadable is None and self.storage.may_retry(run):
                with self._labelling.transaction():
                    rest(self._store, run.id, Intent.RUN)
        if waiting:
            self.storage.trouble = waiting[-1].error
        elif not self.waits_to_retry():
            # Otherwise a queued run has just found the disk full.
            self.storage.trouble = None
            self.storage.keep_reserve()

    def begin_training(self) -> None:
        """Start runs from now on."""
        self.starts_runs = True
        self._home.engine_stopped.unlink(missing_ok=True)

    def start_waiting(self) -> None:
        """Start queued runs in order, each on a device with a free slot and enough memory."""
        if not self.starts_runs or self.waits_to_retry() or not self._any_free():
            return
        unfinished = self._reader.unfinished_runs()
        occupied: dict[str, list[Occupant]] = {}
        for run in unfinished:
            if (worker := self._workers.get(run.id)) is not None:
                is_growing = run.step <= worker.first_step
                occupied.setdefault(worker.device, []).append(Occupant(run, is_growing))
        closed: frozenset[str] = frozenset()
        for run in unfinished:
            if run.status is not RunStatus.QUEUED or run.held or not self.queue.starts(run.id):
                continue
            if run.unreadable is not None or not self._isolation.attempt(run.id, partial(self._check, run)):
                continue
            choice = self._slots.choose(run, occupied, closed)
            if isinstance(choice, MemoryShort | PlacesShort):
                # Otherwise smaller runs behind it would keep taking the slots it waits for.
                closed |= set(choice.devices)
                self._note_wait(run.id, str(choice))
                if not self._any_free(closed):
                    return
            elif choice is not None and (trouble := self.storage.trouble_for(run)) is not None:
                self.retry_later()
                self.storage.trouble = trouble
                self._note_wait(run.id, trouble)
            elif choice is not None and not self._isolation.attempt(run.id, partial(self._start, run, choice)):
                if run.id not in self._isolation:
                    self.retry_later()
            elif choice is not None and run.id in self._workers:
                occupied.setdefault(choice.name, []).append(Occupant(run, is_growing=True))
            if self.waits_to_retry():
                return

    def _any_free(self, closed: frozenset[str] = frozenset()) -> bool:
        """Whether a device that is not closed takes one more worker."""
        return self._slots.any_free(((worker.device, worker.model) for worker in self._workers.values()), closed)

    def _note_wait(self, run: str, text: str) -> None:
        """Record once what a run waits for, as an event shown by `depthscope show`."""
        if self._is_news(run, text):
            with self._store.transaction():
                self._store.add_event(run, "notice", text)

    def _is_news(self, run: str, text: str) -> bool:
        """Whether a run waits for something new; figures after a colon change constantly and do not count."""
        before, self._waits[run] = self._waits.get(run, ""), text
        return before.partition(":")[0] != text.partition(":")[0]

    def _check(self, run: Run) -> None:
        """Check that a run's files can be read before a worker tries.

        Raises:
            OSError: a file cannot be read.
            DepthscopeError: spec.json is missing or invalid, or another run is in its place.
        """
        directory = RunDirectory(self._home.runs / run.id)
        if directory.path.exists():
            directory.check_files()
            directory.check_own()
            directory.read_exit()

    def _start(self, run: Run, device: Device) -> None:
        """Start one run, unless its directory is gone. If no process can be created, suspend starting."""
        began = time.monotonic()
        directory = RunDirectory(self._home.runs / run.id)
        worker = secrets.token_hex(5)
        try:
            if self._launcher.is_alive(directory):
                raise WorkerHolds(f"a worker trains {directory.path}")
            with self._labelling.transaction():
                assigned = Assignment(
                    device=device.name,
                    visible=device.visible,
                    at=time.time(),
                    journal_bytes=self._store.journal_offset(run.id),
                    boot=boot_id(),
                    worker=worker,
                )
                self._labelling.change(run.id, assigned=assigned)
                self._store.set_running(run.id, device.name, started_at=time.time())
            # Also in the run directory: the worker reports its device only after seconds, by which time the engine
            # and its index may be gone.
            self._labelling.write_one(run.id)
            num_threads = self._slots.num_threads(device, run.spec.model)
            process = self._launcher.start(directory, device, num_threads, worker)
            self._note_process(run.id, assigned, process)
        except WorkerHolds:
            # Someone started a worker by hand; its journal is read like any other.
            log.warning("%s: adopted a worker that this engine did not start", run.id)
            with self._labelling.transaction():
                if directory.assigned_process() is None:
                    self._labelling.change(run.id, assigned=None)
                self._store.set_running(run.id, device.name, started_at=time.time())
        except FileNotFoundError as error:
            with self._store.transaction():
                lose(self._store, run.id, f"its run directory is gone: {error.filename or directory.path}")
            return
        except (DatabaseUnusable, IndexNotWritten):
            raise
        except Exception as error:
            if not isinstance(error, OSError) or isinstance(error, ODD):
                with self._store.transaction():
                    self._store.set_status(run.id, RunStatus.QUEUED)
                raise
            self.retry_later()
            is_news = self._is_news(run.id, str(error))
            with self._store.transaction():
                self._store.set_status(run.id, RunStatus.QUEUED)
                if is_news:
                    self._store.add_event(run.id, "notice", f"could not be started, tried again soon: {error}")
            if is_news:
                log.error("%s: %s: %s", run.id, type(error).__name__, error)
            return
        self._workers[run.id] = Worker(device.name, run.spec.model, run.step, began=began)

    def _note_process(self, run: str, assigned: Assignment, process: WorkerProcess | None) -> None:
        """Add a worker's process to its assignment; without it, the worker is known by its lock alone."""
        if process is None:
            return
        try:
            with self._labelling.transaction():
                self._labelling.change(run, assigned=msgspec.structs.replace(assigned, process=process))
            self._labelling.write_one(run)
        except (OSError, IndexNotWritten) as error:
            log.warning("%s: its worker's process is not recorded: %s", run, error)

    def set_queue(self, state: QueueState) -> None:
        """Hold, drain or open the queue, also for later engines."""
        to_finish: tuple[str, ...] = ()
        if state is QueueState.DRAINING:
            # A run that was to finish and has just crashed still is to finish.
            before = self.queue.to_finish if self.queue.state is QueueState.DRAINING else ()
            to_finish = tuple(dict.fromkeys((*before, *self._workers)))
        self.keep_queue(Queue(state=state, to_finish=to_finish))

    def keep_queue(self, queue: Queue) -> None:
        """Set and store the state of the queue."""
        write_queue(self._home, queue)
        self.queue = queue
