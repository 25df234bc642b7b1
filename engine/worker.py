"""The process that trains one run, from start to exit: `python -P -m engine.worker RUN_DIRECTORY`.

It writes only to its run directory (and the dataset cache) and never opens the database. On SIGTERM, SIGUSR1 or SIGUSR2
it saves a checkpoint and exits. Environment: DEPTHSCOPE_HOME, the home with the datasets; DEPTHSCOPE_DEVICE, `cpu` or
`cuda:N` as numbered by the engine (CUDA_VISIBLE_DEVICES exposes only that GPU); DEPTHSCOPE_NUM_THREADS, its share of
the CPU; DEPTHSCOPE_LOCK_FD, a descriptor that already holds run.lock; and DEPTHSCOPE_WORKER, the id of this start.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any


class StopRequested(BaseException):
    """A request to stop arrived before there was anything to save."""


class StopSignal:
    """Signals to stop, as a flag checked between steps; before the first step they raise StopRequested."""

    def __init__(self) -> None:
        self.is_set = False
        self.has_state = False
        self._is_loading = True

    def listen(self) -> None:
        # Batch systems announce the end of a job with any of these.
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._receive)
        # A worker has no terminal, so signals from one are not meant for it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def end_loading(self) -> None:
        """From now on, requests are recorded in the run directory.

        Raises:
            StopRequested: one arrived already.
        """
        self._is_loading = False
        if self.is_set:
            raise StopRequested

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        is_first, self.is_set = not self.is_set, True
        # Only once: the engine repeats the signal until we exit, which must not interrupt the cleanup.
        if is_first and not self.has_state and not self._is_loading:
            raise StopRequested

    def __call__(self) -> bool:
        return self.is_set


STOP = StopSignal()
if __name__ == "__main__":
    # Before torch is loaded, which takes seconds: a signal would end the process without a record until then.
    STOP.listen()

# torch makes so many objects while it is loaded that searching them for cycles takes a sixth of that time.
gc.disable()

import torch

from engine.analysis.early_stopping import epochs_to_judge
from engine.base.errors import DepthscopeError, UsageError
from engine.base.paths import Home, find_home
from engine.base.version import VERSION
from engine.data import datasets
from engine.runs.directory import ExitReason, RunDirectory
from engine.runs.disk import trouble_of
from engine.runs.held_lock import HeldLock, RunTaken
from engine.runs.journal import JournalWriter, Notice, Resumed, Started
from engine.runs.launcher import EXIT_TAKEN
from engine.runs.open_run import OpenRun
from engine.spec.precision import Precision
from engine.spec.run import RunSpec, check_fits_data
from engine.training import failures, numerics
from engine.training.device import assigned_device, device_name, divide_threads, limit_memory, torch_device
from engine.training.loop import train
from engine.training.session import Session, newest_checkpoint, restore, state_for
from engine.training.step import load_to_device
from engine.training.steps import steps_for

# What is loaded stays: no later search need look at it.
gc.freeze()
gc.enable()

EXIT_LOCKED = 75
"""Another worker holds the run: nothing was done (EX_TEMPFAIL of sysexits.h)."""
EXIT_NO_RUN = 66
"""The directory cannot be read or is not that of the run: nothing was done (EX_NOINPUT)."""


def begin(run: OpenRun, home: Home, journal: JournalWriter, lock: HeldLock) -> Session:
    """Load data and network to the device and restore the newest checkpoint."""
    spec = run.identity.spec
    device = torch_device(assigned_device())
    limit_memory(device, spec.memory_limit_bytes)
    datasets.prepare(home, spec.data.name, report=lambda text: journal.append(Notice(text=text)))
    dataset = datasets.load(home, spec.data.name)
    info = dataset.info
    try:
        check_fits_data(spec, num_train=info.num_train, num_test=info.num_test, num_classes=info.num_classes)
    except ValueError as error:
        raise UsageError(f"{spec.data.name} has changed since the run was queued: {error}") from error
    data = load_to_device(dataset, spec, device)
    loaded, fallback = newest_checkpoint(run), run.fallback()
    state = state_for(spec, device, loaded, fallback)
    session = Session(run, data, state, journal, data_sha256=info.digest())
    session.check_lock = lock.check
    restored = restore(session, loaded)
    session.judged = epochs_to_judge(journal.events(), session.state.next_step // session.steps_per_epoch)
    num_threads = torch.get_num_threads()
    used = session.state.precision
    numerics.configure(device, used, deterministic=spec.recipe.deterministic)
    session.steps = steps_for(session.state, data, spec, lambda text: journal.append(Notice(text=text)))
    common: dict[str, Any] = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "device": assigned_device(),
        "device_name": device_name(device),
        "torch": str(torch.__version__),
        "num_threads": num_threads,
        "total_steps": session.total_steps,
        "precision": used,
        "worker": lock.worker,
        "layout": session.state.layout,
        "class_counts": session.class_counts,
    }
    if restored:
        journal.append(Resumed(**common, step=session.state.next_step))
    else:
        journal.append(
            Started(
                **common,
                num_parameters=sum(parameter.numel() for parameter in session.state.model.parameters()),
                num_train=len(data.train_labels),
                num_test=len(data.test_labels),
                num_validation=0 if data.validation is None else len(data.validation.labels),
                data_sha256=info.digest(),
                synthetic=info.synthetic,
                version=VERSION,
            )
        )
    if fallback is not None:
        # In the journal, so that an index made anew shows it, too.
        asked = spec.recipe.precision
        overrides = "" if asked is Precision.AUTO else f" (overrides --precision {asked})"
        text = f"trains in {fallback}: earlier workers crashed in its first steps{overrides}"
        journal.append(Notice(text=text))
    return session


def work(run: OpenRun, stop: StopSignal, lock: HeldLock) -> ExitReason:
    """Train a run and record how it ended, including any error.

    Raises:
        RunTaken: another worker may train the run; nothing more was written.
    """
    journal = run.open_journal()
    session: Session | None = None
    error: str | None = None
    try:
        session = begin(run, find_home(), journal, lock)
        stop.has_state = True
        reason, error = train(session, stop), session.ended_because
    except StopRequested:
        reason = ExitReason.STOPPED
    except RunTaken:
        raise
    except Exception as failure:
        reason, error = log_failure(failure, run.identity.spec)
    lock.check()
    try:
        journal.sync()
        journal.close()
    except OSError as failure:
        reason, error = log_failure(failure, run.identity.spec)
    record_exit(lock, reason, step=session.state.next_step if session is not None else 0, error=error)
    return reason


def log_failure(failure: Exception, spec: RunSpec) -> tuple[ExitReason, str]:
    """Log a failure and return the exit reason with its text."""
    if (trouble := trouble_of(failure)) is not None:
        write_log(f"depthscope: {trouble}")
        return ExitReason.DISK, trouble
    if isinstance(failure, DepthscopeError):
        write_log(f"depthscope: {failure}")
        return ExitReason.FAILED, str(failure)
    text = "".join(traceback.format_exception(failure))
    write_log(text)
    if failures.is_out_of_memory(failure):
        why = failures.out_of_memory(spec, find_home(), failure, torch_device(assigned_device()))
        return ExitReason.FAILED, why
    if failures.is_device_failure(failure):
        return ExitReason.CRASHED, failures.first_line(failure)
    return ExitReason.FAILED, text


def write_log(text: str) -> None:
    """Write to the log directly: on a full disk, buffered sys.stderr would fail again at exit."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode(errors="replace"))


def record_exit(lock: HeldLock, reason: ExitReason, *, step: int, error: str | None) -> None:
    """Record how the worker ended. If even that fails on a full disk, the engine notices the missing record."""
    lock.check()
    try:
        lock.run.write_exit(reason, step=step, error=error, worker=lock.worker)
    except OSError as failure:
        if (trouble := trouble_of(failure)) is None:
            raise
        write_log(f"depthscope: {trouble}")


def train_run(lock: HeldLock) -> ExitReason:
    """Train the run whose lock we hold.

    Raises:
        RunTaken: another worker may train the run; nothing more was written.
    """
    error: str | None = None
    try:
        STOP.end_loading()
        return work(lock.run, STOP, lock)
    except StopRequested:
        # The journal was not open yet, so there is nothing else to record.
        reason = ExitReason.STOPPED
    except OSError as failure:
        # Even the journal could not be opened.
        reason, error = log_failure(failure, lock.run.identity.spec)
    record_exit(lock, reason, step=0, error=error)
    return reason


def main() -> int:
    """Entry point; the exit status reflects exit.json for whoever watches the process."""
    os.umask(0o077)
    # Logs the Python traceback of a segmentation fault.
    faulthandler.enable()
    directory = RunDirectory(Path(sys.argv[1]))
    try:
        run = OpenRun.open(directory)
    except (DepthscopeError, OSError) as failure:
        # Nothing is recorded in a directory that may be another run's.
        write_log(f"depthscope: {failure}")
        return EXIT_NO_RUN
    lock = HeldLock.take(run)
    if lock is None:
        print(f"{directory.id}: another worker holds this run", file=sys.stderr)
        return EXIT_LOCKED
    divide_threads()
    try:
        reason = train_run(lock)
    except RunTaken as taken:
        write_log(f"depthscope: {directory.id}: {taken}; this worker left and wrote nothing more")
        return EXIT_TAKEN
    return 1 if reason in (ExitReason.FAILED, ExitReason.DISK, ExitReason.CRASHED) else 0


if __name__ == "__main__":
    status = main()
    # Speeds up exit: the interpreter's teardown skips looking for cycles in everything torch has loaded.
    gc.freeze()
    sys.exit(status)
