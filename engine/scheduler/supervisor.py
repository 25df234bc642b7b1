"""The runs of one home under way: started in order, watched, their journals brought into the index, their ends settled.

Everything that a restart needs stands in run directories and index, so that a new supervisor goes on where a killed
one stopped: workers that live are adopted, those that ended meanwhile are settled by what they left behind.
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
from engine.base.system import is_another_boot
from engine.index.database import DatabaseUnusable, IndexNotWritten
from engine.index.ingest import ingest, read_worker_start
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import Labels, RunDirectory
from engine.runs.journal import WorkerStart
from engine.runs.launcher import Launcher
from engine.runs.run import TRANSITIONS, Intent, Run, RunOutcome, RunStatus
from engine.scheduler.dispatch import Dispatcher, Worker
from engine.scheduler.labels import Labelling
from engine.scheduler.outcomes import disk_trouble, lose, rest, settle
from engine.scheduler.placement import Slots
from engine.scheduler.recovery import enter_run
from engine.spec.devices import CPU, Device, MemoryReading, read_memory
from engine.spec.settings import Settings

log = logging.getLogger(__name__)

STOP_PATIENCE_SECONDS = 120.0
"""A worker that was asked to leave and has not is killed after this."""
SECONDS_FOR_FILES = 0.05
"""Within which files are written before somebody else has a turn; each is made durable, which takes a disk its time."""


class Supervisor:
    """Carries runs from the queue to their ends.

    Args:
        home: Where run directories lie.
        store: The index; this is its only writer, together with the request handlers.
        reader: A view of the same index.
        launcher: Starts and watches workers.
        devices: Where to train, at least the CPU.
        settings: How many workers a device takes.
        read_memory: What tells how much memory a device has free.
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
        self._launcher = launcher
        self._running: dict[str, Worker] = {}
        """By run id."""
        self.dispatcher = Dispatcher(home, store, reader, launcher, self.slots, self.labelling, self._running)
        self._stop_asked_at: dict[str, float] = {}
        self._ends: dict[str, tuple[str | None, str | None]] = {}
        """Of workers that are gone and not settled yet: how they ended, and what that says of the disk."""
        self.is_leaving = False
        """Whether this engine ends, and starts nothing any more."""
        self._trouble: dict[str, str] = {}
        """The last error of each run, so that it is not told at every tick."""

    def directory(self, run: str) -> RunDirectory:
        return RunDirectory(self.home.runs / run)

    @property
    def devices(self) -> tuple[Device, ...]:
        return self.slots.devices

    @property
    def num_running(self) -> int:
        return len(self._running)

    def recover(self, tell_progress: Callable[[], None] = lambda: None) -> None:
        """Bring the index up to what the run directories say, and take over the workers that live.

        Args:
            tell_progress: Called behind each run directory that the index did not know; there may be ten thousand.
        """
        self.write_labels()
        known, idle = self.store.known_ids(), self.store.idle_journal_offsets()
        with self.store.rebuilding():
            for path in sorted(self.home.runs.iterdir()):
                directory = RunDirectory(path)
                if path.name in idle:
                    self._complete(directory, idle[path.name])
                elif path.name not in known and path.is_dir():
                    self.enter(directory)
                    tell_progress()
        for run in self.reader.unfinished_runs():
            if run.status is not RunStatus.RUNNING:
                continue
            if run.id not in self._running:
                self._take_over(run, None)
            if run.intent is not Intent.RUN:
                # Acknowledged by an engine that did not live to ask the worker.
                self._stop_asked_at[run.id] = time.monotonic()
            if self._launcher.is_alive(self.directory(run.id)):
                try:
                    with self.store.transaction():
                        self.store.add_event(run.id, "adopted", "by an engine that was started after its worker")
                except IndexNotWritten as error:
                    self._note_trouble(run.id, error)
        self.tick()

    def _complete(self, directory: RunDirectory, offset: int) -> None:
        """Read what an engine that was killed had not read yet of the journal of a run without a worker."""
        try:
            if directory.journal.stat().st_size > offset:
                ingest(self.store, directory)
        except DatabaseUnusable:
            raise
        except (OSError, DepthscopeError) as error:
            self._note_trouble(directory.id, error)

    def rebuild(self) -> str:
        """Put the index aside and build it anew from the run directories; returns what the old one is called now."""
        self.reader.close()
        kept = self.store.begin_anew()
        self.reader.refresh()
        self.labelling.begin_anew()
        self.dispatcher.forget_waits()
        # Workers that live are found again by their locks.
        self._running.clear()
        self._ends.clear()
        self._trouble.clear()
        self.recover()
        return kept.name

    def enter(self, directory: RunDirectory, kind: str = "recovered", text: str = "from its run directory") -> None:
        """Enter a run directory missing from the index, and an event that records this.

        One of an interrupted request or a lost database; or of another home, brought here.
        """
        try:
            spec, labels = directory.read_spec(), directory.read_labels()
        except (OSError, DepthscopeError) as error:
            log.warning("passed over: %s", error)
            return
        alive = self._launcher.is_alive(directory)
        said = enter_run(self.store, directory, spec, labels, alive=alive, kind=kind, text=text)
        if alive:
            self._take_over(self.reader.run(directory.id), said)

    def _take_over(self, run: Run, said: WorkerStart | None) -> None:
        """Count the worker of another engine where it is, before anything is started beside it."""
        self._running[run.id] = Worker(run.device or CPU.name, run.spec.model, run.step)
        try:
            # What its worker has written since the last engine comes before what this one has to say of it.
            self._locate(run.id, ingest(self.store, self.directory(run.id)) or said)
        except DatabaseUnusable:
            raise
        except (OSError, DepthscopeError) as error:
            self._note_trouble(run.id, error)

    def tick(self) -> None:
        """Look once at every worker, and start what can be started.

        Raises:
            DatabaseUnusable: the index is damaged; `rebuild` is the remedy.
        """
        self.write_labels(at_most_seconds=SECONDS_FOR_FILES)
        for run in list(self._running):
            try:
                self._watch(run)
            except DatabaseUnusable:
                raise
            except (OSError, DepthscopeError) as error:
                # One run's trouble is not the others', and not the engine's end; the next tick looks again.
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
        """Say in the log what went wrong with a run, once for each new trouble."""
        if isinstance(error, IndexNotWritten) and run in self._ends:
            # Not before its worker has left, which would go on until that room is taken too.
            self.dispatcher.storage.give_up_reserve()
        text = f"{type(error).__name__}: {error}"
        if self._trouble.get(run) != text:
            self._trouble[run] = text
            log.error("%s: %s", run, text)

    def _watch(self, run: str) -> None:
        directory = self.directory(run)
        # Asked before the journal is read: a worker that is gone now has written all that it ever will.
        alive = self._launcher.is_alive(directory)
        if not directory.path.exists():
            if not self.is_leaving:
                # Where all of them are out of sight, as when a file system is, that is trouble, which may pass.
                self.home.runs.stat()
            self._give_up(directory, alive=alive)
            return
        if not alive and run not in self._ends:
            # Seen once: a child's status is told once, and a reserve given up for the index makes room again.
            status = self._launcher.exit_status(directory)
            self._ends[run] = status, disk_trouble(directory, directory.read_exit(), status)
        said = ingest(self.store, directory)
        if said is not None:
            self._locate(run, said)
        with contextlib.suppress(OSError):
            cap_log(directory.log)
        if not alive:
            self._settle(run)
        elif run in self._stop_asked_at:
            if time.monotonic() - self._stop_asked_at[run] > STOP_PATIENCE_SECONDS:
                log.warning("%s does not leave: killed", run)
                self._launcher.kill(directory)
            else:
                self._launcher.stop(directory)

    def _give_up(self, directory: RunDirectory, *, alive: bool) -> None:
        """Lose a run whose directory somebody has deleted under its worker, which is ended: nothing of it can be kept.

        Where its place was free before it is gone, the next worker would train beside it.
        """
        if alive:
            self._launcher.kill(directory)
            return
        # For its child to be taken from the kernel.
        self._launcher.exit_status(directory)
        run = directory.id
        with self.store.transaction():
            lose(self.store, run, f"its run directory is gone: {directory.path}")
        del self._running[run]
        self._ends.pop(run, None)
        self._stop_asked_at.pop(run, None)

    def _locate(self, run: str, said: WorkerStart | None) -> None:
        """Note on which device a worker is: where it was sent, unless it says since then that it is elsewhere.

        Args:
            run: Whose worker.
            said: The newest line of its journal that names a device; None where no new one has come.
        """
        assigned = self.labelling.read(run).assigned
        if assigned is not None and said is not None:
            said = read_worker_start(self.directory(run), behind_bytes=assigned.journal_bytes)
        if said is not None and (assigned is None or said.device != assigned.device):
            # Started by somebody else: the next engine is to go by the journal too.
            device, assigned = said.device, None
            with self.labelling.transaction():
                self.labelling.change(run, assigned=None)
        else:
            device = self._running[run].device if assigned is None else self.slots.name_now(assigned)
        self._running[run].device = device
        with self.store.transaction():
            self.store.set_device(run, device)

    def _settle(self, run: str) -> None:
        """A worker is gone: what it left behind, and what was wanted of the run, say where the run stands now."""
        directory = self.directory(run)
        status, trouble = self._ends[run]
        assigned, found = self.labelling.read(run).assigned, self.reader.run(run)
        trouble = trouble if found.intent is Intent.RUN else None
        with self.labelling.transaction():
            outcome = settle(
                self.store,
                directory,
                found,
                status=status,
                trouble=trouble,
                stopping=run in self._stop_asked_at,
                leaving=self.is_leaving,
                restarted=assigned is not None and is_another_boot(assigned.boot),
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
        """Whether something is under way that has to be looked at again and again."""
        is_active = bool(self._running or self.labelling.num_unwritten or self.dispatcher.storage.trouble)
        return is_active or self.dispatcher.waits_to_retry()

    def submit(self, run: str, labels: Labels) -> None:
        """Note, in the caller's transaction, that a run has entered the queue."""
        self.store.add_event(run, "queued", f"as {labels.experiment}/{labels.name}")

    def want(self, run: Run, intent: Intent) -> None:
        """Set what is wanted of a run, in the caller's transaction; a worker is asked to leave where need be.

        Args:
            run: As it stands in the index.
            intent: What is wanted from now on.
        """
        # Held is what waits in the queue: a run that leaves it comes back like any other.
        self.labelling.change(run.id, intent=intent, held=run.held and intent is Intent.RUN)
        if run.status is not RunStatus.RUNNING:
            wanted = {Intent.RUN: RunStatus.QUEUED, Intent.PAUSE: RunStatus.PAUSED, Intent.STOP: RunStatus.FINISHED}
            stays = run.waits_for_disk and intent is Intent.PAUSE
            assert stays or wanted[intent] in TRANSITIONS[run.status], f"{run.status} to {intent} was not checked"
            if intent is Intent.RUN:
                # How it ended the last time is no longer how it ended.
                self.labelling.behind_commit(lambda: self._clear_exit(run.id))
            rest(self.store, run.id, intent)
        elif intent is Intent.RUN:
            self.labelling.behind_commit(lambda: self._stop_asked_at.pop(run.id, None))
        else:
            self.labelling.behind_commit(lambda: self._stop_asked_at.setdefault(run.id, time.monotonic()))

    def _clear_exit(self, run: str) -> None:
        # Where that fails, the launcher does it when the run is started.
        with contextlib.suppress(OSError):
            self.directory(run).clear_exit()

    def write_labels(self, *, at_most_seconds: float = math.inf) -> bool:
        """Bring labels.json of changed runs up to the index; whether there is more to do that could be done now."""
        try:
            self.labelling.write(at_most_seconds=at_most_seconds)
        except OSError as error:
            # What was asked for stands in the index, and the next tick tries again.
            self._note_trouble("labels", error)
            return False
        self._trouble.pop("labels", None)
        return self.labelling.num_unwritten > 0

    def forgive(self, run: str) -> None:
        """Forget a run's crashes, in the caller's transaction: somebody has asked to try it again."""
        self.store.set_crashes(run, 0, None)

    def leave(self, *, stop_workers: bool) -> None:
        """Start nothing more.

        Args:
            stop_workers: Ask every worker to save and leave, so that their runs go back to the queue; else they are
                left alone, for the next engine to adopt.
        """
        self.is_leaving = True
        if stop_workers:
            for run in self._running:
                self._stop_asked_at.setdefault(run, time.monotonic())
