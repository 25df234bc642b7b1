"""The runs of one home under way: started in order, watched, their journals brought into the index, their ends settled.

Everything that a restart needs stands in run directories and index, so that a new supervisor goes on where a killed
one stopped: workers that live are adopted, those that ended meanwhile are settled by what they left behind.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec

from engine.devices import CPU, Device, can_compute, candidates
from engine.errors import DepthscopeError, UsageError
from engine.journal import read_journal
from engine.launcher import Launcher, WorkerHolds
from engine.paths import Home
from engine.queries import Reader
from engine.run import TRANSITIONS, Intent, Run, RunOutcome, RunStatus
from engine.run_directory import ExitReason, Labels, RunDirectory
from engine.store import Store

log = logging.getLogger(__name__)

MAX_CRASHES = 3
"""In a row, with no new checkpoint in between; then a run has failed."""
STOP_PATIENCE_SECONDS = 120.0
"""A worker that was asked to leave and has not is killed after this."""
START_RETRY_SECONDS = 5.0


class Supervisor:
    """Carries runs from the queue to their ends.

    Args:
        home: Where run directories lie.
        store: The index; this is its only writer, together with the request handlers.
        reader: A view of the same index.
        launcher: Starts and watches workers.
        devices: Where to train, at least the CPU.
    """

    def __init__(self, home: Home, store: Store, reader: Reader, launcher: Launcher, devices: Sequence[Device]) -> None:
        self.home = home
        self.store = store
        self.reader = reader
        self.devices = tuple(devices)
        self._launcher = launcher
        self._running: dict[str, str] = {}
        """Device by run id."""
        self._stop_asked_at: dict[str, float] = {}
        self._start_again_at = 0.0
        self.is_draining = False
        """Whether nothing is to be started any more."""
        self._trouble: dict[str, str] = {}
        """The last error of each run, so that it is not told at every tick."""

    def directory(self, run: str) -> RunDirectory:
        return RunDirectory(self.home.runs / run)

    @property
    def num_running(self) -> int:
        return len(self._running)

    def recover(self) -> None:
        """Bring the index up to what the run directories say, and take over the workers that live."""
        known = self.store.known_ids()
        for path in sorted(self.home.runs.iterdir()):
            if path.is_dir() and path.name not in known:
                self._enter(RunDirectory(path))
        for run in self.reader.unfinished_runs():
            if run.status is RunStatus.RUNNING:
                self._running[run.id] = run.device or CPU.name
                if run.intent is not Intent.RUN:
                    # Acknowledged by an engine that did not live to ask the worker.
                    self._stop_asked_at[run.id] = time.monotonic()
                if self._launcher.is_alive(self.directory(run.id)):
                    with self.store.transaction():
                        self.store.add_event(run.id, "adopted", "by an engine that was started after its worker")
        self.tick()

    def _enter(self, directory: RunDirectory) -> None:
        """Enter a run directory that the index does not know: of an interrupted request, or of a lost database."""
        try:
            spec, labels = directory.read_spec(), directory.read_labels()
        except DepthscopeError as error:
            log.warning("passed over: %s", error)
            return
        record = directory.read_exit()
        # Entered and set where it stands at once: a run that is known and queued for an instant would be trained again.
        with self.store.transaction():
            self.store.add_run(directory.id, spec, labels)
            self.store.add_event(directory.id, "recovered", "from its run directory")
            if self._launcher.is_alive(directory):
                # Its journal says on which device, as soon as it is read.
                self.store.set_running(directory.id, CPU.name, started_at=labels.created_at)
            elif record is not None and record.reason is not ExitReason.STOPPED:
                outcome = RunOutcome(record.reason.value)
                self.store.set_status(
                    directory.id, RunStatus.FINISHED, outcome=outcome, error=record.error, finished_at=record.at
                )
            else:
                self._rest(directory.id, labels.intent)
        self._ingest(directory.id)

    def tick(self) -> None:
        """Look once at every worker, and start what can be started."""
        for run in list(self._running):
            try:
                self._watch(run)
            except (OSError, DepthscopeError) as error:
                # One run's trouble is not the others', and not the engine's end; the next tick looks again.
                self._note_trouble(run, error)
        try:
            self._start_waiting()
        except DepthscopeError as error:
            self._start_again_at = time.monotonic() + START_RETRY_SECONDS
            self._note_trouble("queue", error)

    def _note_trouble(self, run: str, error: Exception) -> None:
        """Say in the log what went wrong with a run, once for each new trouble."""
        text = f"{type(error).__name__}: {error}"
        if self._trouble.get(run) != text:
            self._trouble[run] = text
            log.error("%s: %s", run, text)

    def _watch(self, run: str) -> None:
        directory = self.directory(run)
        # Asked before the journal is read: a worker that is gone now has written all that it ever will.
        alive = self._launcher.is_alive(directory)
        self._ingest(run)
        if not alive:
            self._settle(run)
        elif run in self._stop_asked_at:
            if time.monotonic() - self._stop_asked_at[run] > STOP_PATIENCE_SECONDS:
                log.warning("%s does not leave: killed", run)
                self._launcher.kill(directory)
            else:
                self._launcher.stop(directory)

    def _ingest(self, run: str) -> None:
        """Bring what is new in a run's journal into the index, each piece in one transaction with its offset."""
        offset = self.store.journal_offset(run)
        journal = self.directory(run).journal
        if offset and journal.exists() and journal.stat().st_size < offset:
            # A power cut took lines that the index had seen: read from the start, where rows replace each other.
            log.warning("%s: the journal is shorter than what was read of it; read again", run)
            offset = 0
        while True:
            reading = read_journal(journal, offset)
            if reading.end == offset:
                return
            with self.store.transaction():
                self.store.ingest(run, reading.events, reading.garbage, end=reading.end)
            offset = reading.end

    def _settle(self, run: str) -> None:
        """A worker is gone: what it left behind, and what was wanted of the run, say where the run stands now."""
        directory = self.directory(run)
        status = self._launcher.exit_status(directory)
        record = directory.read_exit()
        intent = self.reader.run(run).intent
        with self.store.transaction():
            if record is not None and record.reason is not ExitReason.STOPPED:
                outcome = RunOutcome(record.reason.value)
                self.store.set_status(
                    run, RunStatus.FINISHED, outcome=outcome, error=record.error, finished_at=record.at
                )
                self.store.add_event(run, "finished", outcome.value)
                if outcome is RunOutcome.SUCCEEDED:
                    taken_seconds = self.reader.run(run).taken_seconds
                    directory.write_labels(
                        msgspec.structs.replace(directory.read_labels(), taken_seconds=taken_seconds)
                    )
            elif record is None and intent is Intent.RUN and run not in self._stop_asked_at:
                self._settle_crash(run, status or "ended without a word")
            else:
                self._rest(run, intent)
        del self._running[run]
        self._stop_asked_at.pop(run, None)

    def _settle_crash(self, run: str, status: str) -> None:
        """Queue a crashed run again, unless it keeps crashing without getting any further."""
        crashes, crash_step, checkpoint_step = self.store.crashes(run)
        crashes = crashes + 1 if crash_step == checkpoint_step else 1
        self.store.set_crashes(run, crashes, checkpoint_step)
        self.store.add_event(run, "crashed", f"its worker {status}")
        if crashes < MAX_CRASHES:
            self._rest(run, Intent.RUN)
            return
        tail = self.directory(run).log_tail()
        error = f"its worker {status}, {crashes} times without a new checkpoint in between"
        error_and_log = f"{error}\n{tail}".strip()
        # The worker could not say how it ended; without this the run would begin again if the index were lost.
        self.directory(run).write_exit(ExitReason.FAILED, step=self.reader.run(run).step, error=error_and_log)
        self.store.set_status(
            run, RunStatus.FINISHED, outcome=RunOutcome.FAILED, error=error_and_log, finished_at=time.time()
        )
        self.store.add_event(run, "finished", f"failed: {error}")

    def _rest(self, run: str, intent: Intent) -> None:
        """Where a run without a worker belongs, by what is wanted of it."""
        match intent:
            case Intent.RUN:
                self.store.set_status(run, RunStatus.QUEUED)
                self.store.add_event(run, "queued", "")
            case Intent.PAUSE:
                self.store.set_status(run, RunStatus.PAUSED)
                self.store.add_event(run, "paused", "")
            case Intent.STOP:
                self.store.set_status(run, RunStatus.FINISHED, outcome=RunOutcome.CANCELLED, finished_at=time.time())
                self.store.add_event(run, "finished", "cancelled")

    def _start_waiting(self) -> None:
        """Start queued runs in order, each on the first free device that it may use."""
        if self.is_draining or time.monotonic() < self._start_again_at:
            return
        busy = set(self._running.values())
        free = [device for device in self.devices if device.name not in busy]
        if not free:
            return
        for run in self.reader.unfinished_runs():
            device = choose_device(run, free, self.devices)
            if run.status is not RunStatus.QUEUED or device is None:
                continue
            if self._start(run, device):
                free.remove(device)
            if not free or time.monotonic() < self._start_again_at:
                return

    def _start(self, run: Run, device: Device) -> bool:
        """Start one run; whether its device is taken now. Where no process can be made, all wait for a while."""
        with self.store.transaction():
            self.store.set_running(run.id, device.name, started_at=time.time())
        try:
            self._launcher.start(self.directory(run.id), device)
        except WorkerHolds:
            # Somebody started one by hand; what it writes is read like any other's.
            log.warning("%s: adopted a worker that this engine did not start", run.id)
        except FileNotFoundError as error:
            self._lose(run.id, f"its run directory is gone: {error.filename}")
            return False
        except OSError as error:
            self._start_again_at = time.monotonic() + START_RETRY_SECONDS
            with self.store.transaction():
                self.store.set_status(run.id, RunStatus.QUEUED)
                if self._trouble.get(run.id) != str(error):
                    self.store.add_event(run.id, "notice", f"could not be started, tried again soon: {error}")
            self._note_trouble(run.id, error)
            return False
        self._running[run.id] = device.name
        return True

    def _lose(self, run: str, error: str) -> None:
        """A run whose directory is gone cannot go on, and stands in nobody's way."""
        with self.store.transaction():
            self.store.set_status(
                run, RunStatus.FINISHED, outcome=RunOutcome.LOST, error=error, finished_at=time.time()
            )
            self.store.add_event(run, "finished", f"lost: {error}")

    def needs_ticks(self) -> bool:
        """Whether something is under way that has to be looked at again and again."""
        return bool(self._running) or time.monotonic() < self._start_again_at

    def submit(self, run: str, labels: Labels) -> None:
        """Note, in the caller's transaction, that a run has entered the queue."""
        self.store.add_event(run, "queued", f"as {labels.experiment}/{labels.name}")

    def want(self, run: Run, intent: Intent) -> None:
        """Set what is wanted of a run, in the caller's transaction; a worker is asked to leave where need be.

        Args:
            run: As it stands in the index.
            intent: What is wanted from now on.
        """
        self.relabel(run, intent=intent)
        if run.status is not RunStatus.RUNNING:
            wanted = {Intent.RUN: RunStatus.QUEUED, Intent.PAUSE: RunStatus.PAUSED, Intent.STOP: RunStatus.FINISHED}
            assert wanted[intent] in TRANSITIONS[run.status], f"{run.status} to {intent} was not checked"
            if intent is Intent.RUN:
                # How it ended the last time is no longer how it ended.
                self.directory(run.id).clear_exit()
            self._rest(run.id, intent)
        elif intent is Intent.RUN:
            self._stop_asked_at.pop(run.id, None)
        else:
            self._stop_asked_at.setdefault(run.id, time.monotonic())

    def relabel(self, run: Run, **changes: object) -> None:
        """Change labels in the run directory and in the index, in the caller's transaction."""
        directory = self.directory(run.id)
        labels = msgspec.structs.replace(directory.read_labels(), **changes)
        directory.write_labels(labels)
        self.store.set_labels(run.id, labels)

    def forgive(self, run: str) -> None:
        """Forget a run's crashes, in the caller's transaction: somebody has asked to try it again."""
        self.store.set_crashes(run, 0, None)

    def drain(self, *, stop_workers: bool) -> None:
        """Start nothing more.

        Args:
            stop_workers: Ask every worker to save and leave, so that their runs go back to the queue; else they are
                left alone, for the next engine to adopt.
        """
        self.is_draining = True
        if stop_workers:
            for run in self._running:
                self._stop_asked_at.setdefault(run, time.monotonic())


def choose_device(run: Run, free: Sequence[Device], devices: Sequence[Device]) -> Device | None:
    """The first free device that a run may go to, and that does its precision natively; None where it has to wait.

    Args:
        run: Names the device it wants, or None.
        free: Devices on which nothing runs.
        devices: All of them.
    """
    try:
        possible = candidates(run.spec.device, devices)
    except UsageError:
        # A GPU that was here when it was queued, and may come back.
        return None
    precision = run.spec.recipe.precision
    return next((device for device in possible if device in free and can_compute(device, precision)), None)
