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

from engine.base.errors import DepthscopeError
from engine.base.logs import cap_log
from engine.base.paths import Home
from engine.index.database import DatabaseUnusable, IndexNotWritten
from engine.index.ingest import ingest, read_worker_start
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import RunDirectory, WrongRun
from engine.runs.identity import RUN_ID
from engine.runs.journal import WorkerStart
from engine.runs.launcher import Launcher
from engine.runs.run import TRANSITIONS, Intent, Run, RunOutcome, RunStatus
from engine.runs.usage import delete_spent_checkpoints
from engine.scheduler.dispatch import Dispatcher, Worker
from engine.scheduler.labels import Labelling
from engine.scheduler.outcomes import disk_trouble, displaced, lose, rest, settle
from engine.scheduler.placement import Slots
from engine.scheduler.recovery import enter_run
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
        self.labelling = Labelling(home, store)
        self._keeps_checkpoints = settings is not None and settings.keep_checkpoints
        self._launcher = launcher
        self._running: dict[str, Worker] = {}
        """By run id."""
        self.dispatcher = Dispatcher(home, store, reader, launcher, self.slots, self.labelling, self._running)
        self._stop_asked_at: dict[str, float] = {}
        self._ends: dict[str, tuple[str | None, str | None]] = {}
        """Exit status and disk trouble of workers that are gone but whose runs have no outcome yet."""
        self.pending: frozenset[str] = frozenset()
        """Runs of a submission in progress, whose directories are not runs yet."""
        self.is_leaving = False
        """Whether this engine is stopping and starts nothing more."""
        self._trouble: dict[str, str] = {}
        """Last error of each run, so that it is logged only once."""

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
        self.write_labels()
        known, idle = self.store.known_ids() | self.pending, self.store.idle_journal_offsets()
        with self.store.rebuilding():
            for path in sorted(self.home.runs.iterdir()):
                directory = RunDirectory(path)
                if path.name in idle:
                    self._complete(directory, idle[path.name])
                elif path.name not in known and RUN_ID.fullmatch(path.name) and path.is_dir():
                    self.enter(directory)
                    report_progress()
        for run in self.reader.unfinished_runs():
            if run.status is not RunStatus.RUNNING:
                continue
            if run.id not in self._running:
                self._take_over(run, None)
            if run.intent is not Intent.RUN:
                # A previous engine acknowledged the request but died before asking the worker.
                self._stop_asked_at[run.id] = time.monotonic()
            if self._launcher.is_alive(self.directory(run.id)):
                try:
                    with self.store.transaction():
                        self.store.add_event(run.id, "adopted", "by a newly started engine")
                except IndexNotWritten as error:
                    self._note_trouble(run.id, error)
        self.tick()

    def _complete(self, directory: RunDirectory, offset: int) -> None:
        """Read the part of a journal that a killed engine had not read yet, for a run without a worker."""
        try:
            if directory.journal.stat().st_size > offset:
                directory.check_own()
                ingest(self.store, directory)
        except DatabaseUnusable:
            raise
        except (OSError, DepthscopeError) as error:
            self._note_trouble(directory.id, error)

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
        self._trouble.clear()
        self.recover()
        return kept.name

    def enter(self, directory: RunDirectory, kind: str = "recovered", text: str = "from its run directory") -> None:
        """Add a run directory missing from the index, with an event that records this.

        It comes from an interrupted request, a lost database or an import.
        """
        try:
            identity, labels = directory.read_identity(), directory.read_labels()
            directory.check_own(identity)
        except (OSError, DepthscopeError) as error:
            log.warning("skipped a run directory: %s", error)
            return
        alive = self._launcher.is_alive(directory)
        start = enter_run(self.store, directory, identity, labels, alive=alive, kind=kind, text=text)
        if alive:
            self._take_over(self.reader.run(directory.id), start)

    def _take_over(self, run: Run, start: WorkerStart | None) -> None:
        """Adopt another engine's worker and count it on its device before starting others there."""
        self._running[run.id] = Worker(run.device or CPU.name, run.spec.model, run.step)
        try:
            if (wrong := self.directory(run.id).wrong_run()) is not None:
                raise wrong
            # Lines the worker wrote since the last engine come before new events of this one.
            self._locate(run.id, ingest(self.store, self.directory(run.id)) or start)
        except DatabaseUnusable:
            raise
        except (OSError, DepthscopeError) as error:
            self._note_trouble(run.id, error)

    def tick(self) -> None:
        """Check every worker once, and start queued runs.

        Raises:
            DatabaseUnusable: the index is damaged; call `rebuild`.
        """
        self.write_labels(at_most_seconds=SECONDS_FOR_FILES)
        for run in list(self._running):
            try:
                self._watch(run)
            except DatabaseUnusable:
                raise
            except (OSError, DepthscopeError) as error:
                # One run's trouble must not affect others or the engine; the next tick tries again.
                self._note_trouble(run, error)
        try:
            self.dispatcher.requeue_waiting_for_disk()
            if not self.is_leaving:
                self.dispatcher.start_waiting()
        except DatabaseUnusable:
            raise
        except DepthscopeError as error:
            self.dispatcher.retry_later()
            self._note_trouble("queue", error)

    def _note_trouble(self, run: str, error: Exception) -> None:
        """Log a problem with a run, once for each new problem."""
        if isinstance(error, IndexNotWritten) and run in self._ends:
            # Only after its worker has exited, or it would fill that space, too.
            self.dispatcher.storage.give_up_reserve()
        text = f"{type(error).__name__}: {error}"
        if self._trouble.get(run) != text:
            self._trouble[run] = text
            log.error("%s: %s", run, text)

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
            self._set_apart(directory, wrong, alive=alive)
            return
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
        """Kill the worker of a run whose directory was deleted, then mark the run as lost.

        Its slot stays taken until the worker is gone, so that no other worker trains beside it.
        """
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

    def _set_apart(self, directory: RunDirectory, wrong: WrongRun, *, alive: bool) -> None:
        """Mark a run as lost, once its worker has ended, because another run is in its directory.

        Nothing is read or written there. The worker writes to its own directory, wherever that is now.
        """
        run = directory.id
        self._note_trouble(run, wrong)
        if alive:
            if run in self._stop_asked_at or self.is_leaving:
                self._launcher.stop(directory)
            return
        status = self._launcher.exit_status(directory)
        with self.store.transaction():
            self.store.add_event(run, "crashed", f"its worker {status or 'ended without a message'}")
            lose(self.store, run, displaced(run, wrong))
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
                self._note_trouble(run, error)
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
        return is_active or self.dispatcher.waits_to_retry()

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
        try:
            self.labelling.write(at_most_seconds=at_most_seconds)
        except OSError as error:
            # The change is in the index, and the next tick tries again.
            self._note_trouble("labels", error)
            return False
        self._trouble.pop("labels", None)
        return self.labelling.num_unwritten > 0

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
