"""Supervises the runs of one home: starts them in order, watches workers, ingests journals, and records outcomes.

Everything a restart needs is in the run directories and the index, so a new supervisor continues where a killed one
stopped: it adopts live workers and records the outcomes of those that ended meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial

from engine.base.errors import DepthscopeError
from engine.base.logs import cap_log
from engine.base.paths import Home
from engine.index.database import DatabaseUnusable
from engine.index.ingest import ingest, read_worker_start
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import RunDirectory
from engine.runs.identity import RUN_ID
from engine.runs.journal import WorkerStart
from engine.runs.launcher import Launcher
from engine.runs.run import TRANSITIONS, Intent, Run, RunOutcome, RunStatus
from engine.runs.usage import delete_spent_checkpoints
from engine.scheduler.dispatch import Dispatcher, Worker
from engine.scheduler.isolation import Isolation
from engine.scheduler.labels import Labelling
from engine.scheduler.outcomes import disk_trouble, lose, rest, settle
from engine.scheduler.placement import Slots
from engine.scheduler.recovery import complete, enter_run, establish_again, is_assigned_alive
from engine.spec.devices import CPU, Device, MemoryReading, read_memory
from engine.spec.settings import Settings

log = logging.getLogger(__name__)

STOP_PATIENCE_SECONDS = 120.0
"""A worker that has not exited this long after being asked is killed."""
SECONDS_FOR_FILES = 0.05
"""Time for writing files before other work gets a turn; each file is synced, which takes a while."""


class Supervisor:
    """Carries runs from the queue to their outcomes.

    Args:
        home: Home with the run directories.
        store: Index; only the supervisor and the request handlers write to it.
        reader: Reader of the same index.
        launcher: Starts and watches workers.
        devices: Training devices, at least the CPU.
        settings: Settings with the slots of each device.
        read_memory: Reads the free memory of a device.
    """

    def __init__(
        self,
        home: Home,
        store: Store,
        reader: Reader,
        launcher: Launcher,
        devices: Sequence[Device],
        settings: Settings | None = None,
        read_memory: Callable[[Device], MemoryReading] = read_memory,
    ) -> None:
        self.home = home
        self.store = store
        self.reader = reader
        store.when_replaced = reader.refresh
        self.slots = Slots(home, devices, settings or Settings(), read_memory)
        self.isolation = Isolation(home, store, self._not_written)
        self.labelling = Labelling(home, store, self.isolation)
        self._keeps_checkpoints = settings is not None and settings.keep_checkpoints
        self._launcher = launcher
        self._running: dict[str, Worker] = {}
        """By run id."""
        self.dispatcher = Dispatcher(
            home, store, reader, launcher, self.slots, self.labelling, self.isolation, self._running
        )
        self._stop_asked_at: dict[str, float] = {}
        self._ends: dict[str, tuple[str | None, str | None]] = {}
        """Exit status and disk trouble of workers that are gone but whose runs have no outcome yet."""
        self.pending: frozenset[str] = frozenset()
        """Runs of a submission in progress, whose directories are not runs yet."""
        self.is_leaving = False
        """Whether this engine is stopping and starts nothing more."""

    def directory(self, run: str) -> RunDirectory:
        return RunDirectory(self.home.runs / run)

    @property
    def devices(self) -> tuple[Device, ...]:
        return self.slots.devices

    @property
    def num_running(self) -> int:
        return len(self._running)

    def recover(self, report_progress: Callable[[], None] = lambda: None) -> None:
        """Bring the index up to date with the run directories, and adopt live workers.

        Args:
            report_progress: Called after each run directory that was missing from the index, perhaps thousands.
        """
        self.isolation.begin()
        self.write_labels()
        known, idle = self.store.known_ids() | self.pending, self.store.idle_journal_offsets()
        unreadable = self.store.unreadable_ids()
        with self.store.rebuilding():
            for path in sorted(self.home.runs.iterdir()):
                directory = RunDirectory(path)
                if path.name in unreadable:
                    self.read_again(path.name)
                elif path.name in idle:
                    self.isolation.attempt(path.name, partial(complete, self.store, directory, idle[path.name]))
                elif path.name not in known and RUN_ID.fullmatch(path.name) and path.is_dir():
                    self.enter(directory)
                    report_progress()
        for run in self.reader.unfinished_runs():
            if run.status is RunStatus.RUNNING:
                self.isolation.attempt(run.id, partial(self._adopt, run))
        self.tick()

    def _adopt(self, run: Run) -> None:
        """Watch a run that was training under an earlier engine."""
        if run.id not in self._running:
            self._take_over(run, None)
        if run.intent is not Intent.RUN:
            # A previous engine acknowledged the request but died before asking the worker.
            self._stop_asked_at[run.id] = time.monotonic()
        if self._launcher.is_alive(self.directory(run.id)):
            with self.store.transaction():
                self.store.add_event(run.id, "adopted", "by a newly started engine")

    def rebuild(self) -> str:
        """Set the index aside, rebuild it from the run directories, and return the old one's new name."""
        self.reader.close()
        kept = self.store.start_empty()
        self.reader.refresh()
        self.labelling.load_unwritten()
        self.dispatcher.forget_waits()
        # Live workers are found again by their locks.
        self._running.clear()
        self._ends.clear()
        self.recover()
        return kept.name

    def enter(self, directory: RunDirectory, kind: str = "recovered", text: str = "from its run directory") -> None:
        """Add a run directory that is missing from the index: from a request, a lost database or an import."""
        self.isolation.attempt(directory.id, partial(self._enter, directory, kind, text))

    def _enter(self, directory: RunDirectory, kind: str, text: str) -> None:
        alive, start = enter_run(self.store, self._launcher, directory, kind=kind, text=text)
        if alive:
            self._take_over(self.reader.run(directory.id), start)

    def _take_over(self, run: Run, start: WorkerStart | None) -> None:
        """Adopt another engine's worker and count it on its device before starting others there."""
        self._running[run.id] = Worker(run.device or CPU.name, run.spec.model, run.step)
        if (wrong := self.directory(run.id).wrong_run()) is not None:
            raise wrong
        # Lines the worker wrote since the last engine come before new events of this one.
        self._locate(run.id, ingest(self.store, self.directory(run.id)) or start)

    def read_again(self, name: str) -> None:
        """Try to read a directory that was unreadable; if that succeeds, its run goes on from what its files say."""
        if self.isolation.attempt(name, partial(self._read_again, self.directory(name))):
            self.isolation.clear(name)

    def _read_again(self, directory: RunDirectory) -> None:
        if directory.id not in self.store.known_ids():
            if directory.path.exists():
                self._enter(directory, "recovered", "from its run directory")
            return
        establish_again(self.store, self._launcher, directory, self.reader.run(directory.id), self.labelling)
        run = self.reader.run(directory.id)
        if run.status is RunStatus.RUNNING and run.id not in self._running:
            self._take_over(run, None)

    def tick(self) -> None:
        """Check every worker once, and start queued runs.

        Raises:
            DatabaseUnusable: the index is damaged; call `rebuild`.
        """
        self.write_labels(at_most_seconds=SECONDS_FOR_FILES)
        for run in list(self._running):
            # One run's trouble must not affect others or the engine; the next tick tries again.
            if not self.isolation.attempt(run, partial(self._watch, run)) and run in self.isolation:
                self._watch_unreadable(run)
            elif run in self.isolation:
                self.isolation.clear(run)
        for name in self.isolation.due():
            if name not in self._running:
                self.read_again(name)
        try:
            self.dispatcher.requeue_waiting_for_disk()
            if not self.is_leaving:
                self.dispatcher.start_waiting()
        except DatabaseUnusable:
            raise
        except Exception as error:
            self.dispatcher.retry_later()
            if not isinstance(error, DepthscopeError):
                log.exception("nothing could be started")
            self.isolation.note_trouble("queue", error)

    def _not_written(self, run: str) -> None:
        """Make room for the outcome of a run whose worker has exited; earlier, the worker would fill it, too."""
        if run in self._ends:
            self.dispatcher.storage.give_up_reserve()

    def _watch_unreadable(self, run: str) -> None:
        """Ask the worker of an unreadable run to stop if the user wants that; without one, its slot is free."""
        try:
            directory = self.directory(run)
            if (alive := self._launcher.is_alive(directory)) and run in self._stop_asked_at:
                self._launcher.stop(directory)
        except (OSError, DepthscopeError):
            alive = is_assigned_alive(directory)
        if not alive:
            del self._running[run]

    def _watch(self, run: str) -> None:
        directory = self.directory(run)
        # Checked before reading the journal: if the worker is gone, its journal is complete.
        alive = self._launcher.is_alive(directory)
        if not directory.path.exists():
            if not self.is_leaving:
                # Raises if all run directories are missing, as for an unmounted file system, which may be temporary.
                self.home.runs.stat()
            self._give_up(directory, alive=alive)
            return
        if (wrong := directory.wrong_run()) is not None:
            raise wrong
        directory.check_files()
        if not alive and run not in self._ends:
            # Recorded once: a child's status can be collected only once, and the reserve may free space later.
            status = self._launcher.exit_status(directory)
            record = directory.read_exit(self.labelling.read(run).assigned)
            self._ends[run] = status, disk_trouble(directory, record, status)
        start = ingest(self.store, directory)
        if start is not None:
            self._locate(run, start)
        with contextlib.suppress(OSError):
            cap_log(directory.log)
        if not alive:
            self._settle(run)
        elif run in self._stop_asked_at:
            if time.monotonic() - self._stop_asked_at[run] > STOP_PATIENCE_SECONDS:
                log.warning("%s does not exit: killed its worker", run)
                self._launcher.kill(directory)
            else:
                self._launcher.stop(directory)

    def _give_up(self, directory: RunDirectory, *, alive: bool) -> None:
        """Kill the worker of a run whose directory was deleted, then mark the run as lost, which frees its slot."""
        if alive:
            self._launcher.kill(directory)
            return
        # Reaps the child process.
        self._launcher.exit_status(directory)
        run = directory.id
        with self.store.transaction():
            lose(self.store, run, f"its run directory is gone: {directory.path}")
        del self._running[run]
        self._ends.pop(run, None)
        self._stop_asked_at.pop(run, None)

    def _locate(self, run: str, start: WorkerStart | None) -> None:
        """Record a worker's device: the assigned one, unless a newer line of its journal names another.

        Args:
            run: Run of the worker.
            start: Newest line of its journal that names a device; None if there is no new one.
        """
        assigned = self.labelling.read(run).assigned
        if assigned is not None and start is not None:
            start = read_worker_start(self.directory(run), from_byte=assigned.journal_bytes)
        if start is not None and (assigned is None or start.device != assigned.device):
            # Started by someone else: the next engine must use the journal, too.
            device, assigned = start.device, None
            with self.labelling.transaction():
                self.labelling.change(run, assigned=None)
        else:
            device = self._running[run].device if assigned is None else self.slots.name_now(assigned)
        self._running[run].device = device
        with self.store.transaction():
            self.store.set_device(run, device)

    def _settle(self, run: str) -> None:
        """Set the status of a run whose worker is gone, from its exit record and the user's intent."""
        directory = self.directory(run)
        status, trouble = self._ends[run]
        assigned, found = self.labelling.read(run).assigned, self.reader.run(run)
        trouble = trouble if found.intent is Intent.RUN else None
        if not self._keeps_checkpoints:
            # Before the commit: killed in between, the next engine settles the run again and gets here, too.
            try:
                delete_spent_checkpoints(directory)
            except OSError as error:
                self.isolation.note_trouble(run, error)
        with self.labelling.transaction():
            outcome = settle(
                self.store,
                self.labelling,
                directory,
                found,
                status=status,
                trouble=trouble,
                stopping=run in self._stop_asked_at,
                leaving=self.is_leaving,
                assigned=assigned,
            )
            if outcome is RunOutcome.SUCCEEDED:
                self.labelling.change(run, taken_seconds=self.reader.run(run).taken_seconds)
                worker = self._running[run]
                if worker.began is not None and worker.first_step == 0:
                    self.store.set_worker_seconds(run, time.monotonic() - worker.began)
        del self._running[run], self._ends[run]
        self._stop_asked_at.pop(run, None)
        if trouble is not None:
            self.dispatcher.storage.met(self.reader.run(run), trouble)

    def needs_ticks(self) -> bool:
        """Whether anything needs regular ticks."""
        is_active = bool(self._running or self.labelling.num_unwritten or self.dispatcher.storage.trouble)
        return is_active or bool(self.isolation) or self.dispatcher.waits_to_retry()

    def want(self, run: Run, intent: Intent) -> None:
        """Set the intent of a run, in the caller's transaction, asking its worker to exit if needed.

        Args:
            run: The run as it is in the index.
            intent: New intent.
        """
        # Only queued runs are held: a run that leaves the queue loses its hold.
        self.labelling.change(run.id, intent=intent, held=run.held and intent is Intent.RUN)
        if run.status is not RunStatus.RUNNING:
            wanted = {Intent.RUN: RunStatus.QUEUED, Intent.PAUSE: RunStatus.PAUSED, Intent.STOP: RunStatus.FINISHED}
            stays = run.waits_for_disk and intent is Intent.PAUSE
            assert stays or wanted[intent] in TRANSITIONS[run.status], f"{run.status} to {intent} was not checked"
            if intent is Intent.RUN:
                # Its last exit record no longer applies.
                self.labelling.after_commit(lambda: self._clear_exit(run.id))
            rest(self.store, run.id, intent)
        elif intent is Intent.RUN:
            self.labelling.after_commit(lambda: self._stop_asked_at.pop(run.id, None))
        else:
            self.labelling.after_commit(lambda: self._stop_asked_at.setdefault(run.id, time.monotonic()))

    def _clear_exit(self, run: str) -> None:
        # If this fails, the launcher does it when it starts the run.
        with contextlib.suppress(OSError):
            self.directory(run).clear_exit()

    def write_labels(self, *, at_most_seconds: float = math.inf) -> bool:
        """Write labels.json of changed runs; returns whether more files could be written now."""
        return self.labelling.write(at_most_seconds=at_most_seconds)

    def forgive(self, run: str) -> None:
        """Reset a run's crash count for a retry, in the caller's transaction."""
        self.store.set_crashes(run, 0, None)

    def leave(self, *, stop_workers: bool) -> None:
        """Start nothing more.

        Args:
            stop_workers: Ask every worker to save and exit, so that its run returns to the queue; otherwise workers
                continue, and the next engine adopts them.
        """
        self.is_leaving = True
        if stop_workers:
            for run in self._running:
                self._stop_asked_at.setdefault(run, time.monotonic())
