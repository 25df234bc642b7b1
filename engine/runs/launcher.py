"""Starts and watches workers. Callers must not assume that a worker is a child process or on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from engine.base.errors import DepthscopeError
from engine.base.locks import hold, read_pid, write_pid
from engine.base.logs import cap_log
from engine.base.paths import open_private
from engine.base.processes import file_identity, start_time
from engine.runs.directory import RunDirectory, WorkerProcess
from engine.spec.devices import Device

KEEP_FREED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(64 << 20)}
"""Settings of glibc's malloc (mallopt(3)) that keep freed memory for the next step. By default it returns large tensors
to the kernel, and zeroing fresh pages at every step costs wide networks on a CPU a seventh of their speed."""

EXIT_TAKEN = 76
"""Exit status of a worker that found its run.lock replaced and held by another: it wrote nothing more."""
TAKEN = "left the run to another worker"

OOM_KILL_SECONDS = 10.0
"""A worker that dies this soon after an out-of-memory kill by the kernel is assumed to be its victim."""


def training_environment(home: Path, device: Device) -> dict[str, str]:
    """Environment of a process that trains on a device: a worker, or a probe that must be as fast as one."""
    return {
        **os.environ,
        **KEEP_FREED_MEMORY,
        "DEPTHSCOPE_HOME": str(home),
        "DEPTHSCOPE_DEVICE": device.name,
        "CUDA_VISIBLE_DEVICES": device.visible,
    }


class Launcher(Protocol):
    """Starts, checks and stops the worker of a run directory."""

    def start(
        self, directory: RunDirectory, device: Device, num_threads: int | None, worker: str
    ) -> WorkerProcess | None:
        """Start a worker, which counts as alive when this returns.

        Args:
            num_threads: CPU threads it may use; None leaves the choice to torch.
            worker: Id of this start.

        Returns:
            Its process; None if it has none on this machine or has ended already.

        Raises:
            OSError: the process could not be created.
        """

    def is_alive(self, directory: RunDirectory) -> bool:
        """Whether a worker is alive, whoever started it."""

    def stop(self, directory: RunDirectory) -> None:
        """Ask the worker, if any, to save a checkpoint and exit. May be repeated."""

    def kill(self, directory: RunDirectory) -> None:
        """Kill a worker that does not exit when asked; its last checkpoint remains."""

    def exit_status(self, directory: RunDirectory) -> str | None:
        """Text about how a worker without an exit record ended; None if unknown."""


class WorkerHolds(DepthscopeError):
    """Another worker already holds the run."""


class LocalLauncher:
    """Workers as local processes, each in its own session, alive as long as they hold run.lock.

    If someone deletes that file, they are known as child processes of this launcher or by their assignment.

    Args:
        home: Home in which workers find datasets.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started_at: dict[str, float] = {}
        """Monotonic start times of our child processes, by run id."""
        self._num_oom_kills = num_oom_kills()
        self._oom_kill_at: float | None = None
        """Monotonic time when that number was last seen to grow."""

    def start(
        self, directory: RunDirectory, device: Device, num_threads: int | None, worker: str
    ) -> WorkerProcess | None:
        lock = directory.open_lock()
        log = open_private(directory.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            # The worker inherits the held lock, so it is never alive without it.
            if not hold(lock, patience_seconds=0.0, for_child=True):
                raise WorkerHolds(f"a worker holds {directory.lock_file}")
            directory.clear_exit()
            with contextlib.suppress(OSError):
                cap_log(directory.log)
            self._look_for_oom_kills()
            self._started_at[directory.id] = time.monotonic()
            threads = {} if num_threads is None else {"DEPTHSCOPE_NUM_THREADS": str(num_threads)}
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine.worker", str(directory.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory.path,
                env={
                    **training_environment(self._home, device),
                    **threads,
                    "DEPTHSCOPE_LOCK_FD": str(lock),
                    "DEPTHSCOPE_WORKER": worker,
                },
                pass_fds=(lock,),
                start_new_session=True,
            )
            self._children[directory.id] = child
            # Written here, long before the worker has loaded torch and writes it itself. It is only for display, so a
            # full disk does not matter.
            with contextlib.suppress(OSError):
                write_pid(lock, child.pid)
            started = start_time(child.pid)
            if started is None:
                return None
            return WorkerProcess(pid=child.pid, started=started, lock=file_identity(os.fstat(lock)))
        finally:
            os.close(lock)
            os.close(log)

    def is_alive(self, directory: RunDirectory) -> bool:
        child = self._children.get(directory.id)
        is_ours = child is not None and child.poll() is None
        self._look_for_oom_kills()
        return is_ours or directory.is_alive()

    def stop(self, directory: RunDirectory) -> None:
        if (child := self._children.get(directory.id)) is not None and child.poll() is None:
            # Another run's directory may have its name by now.
            child.send_signal(signal.SIGTERM)
            return
        signal_holder(directory, signal.SIGTERM)

    def kill(self, directory: RunDirectory) -> None:
        if (child := self._children.get(directory.id)) is not None:
            # Safe even if it has ended meanwhile: the pid is not reused before it is reaped.
            child.kill()
        signal_holder(directory, signal.SIGKILL)

    def exit_status(self, directory: RunDirectory) -> str | None:
        status = self._reap(directory)
        self._look_for_oom_kills()
        out_of_memory = " because the kernel ran out of memory" if self._was_oom_kill(directory.id) else ""
        if status is None:
            # A child of another engine, whose status cannot be read.
            return f"ended without a message{out_of_memory}" if out_of_memory else None
        del self._children[directory.id]
        if status == -signal.SIGKILL:
            return f"killed by SIGKILL{out_of_memory}"
        if status == EXIT_TAKEN:
            return TAKEN
        if status < 0:
            return f"killed by {signal_name(-status)}"
        return f"exited with status {status}"

    def _look_for_oom_kills(self) -> None:
        """Record when the kernel's count of kills grows, which happens before the killed process is gone."""
        if (now := num_oom_kills()) != self._num_oom_kills:
            self._num_oom_kills, self._oom_kill_at = now, time.monotonic()

    def _was_oom_kill(self, run: str) -> bool:
        """Whether an out-of-memory kill happened recently, during this worker's lifetime."""
        at = self._oom_kill_at
        return at is not None and at > max(self._started_at.get(run, 0.0), time.monotonic() - OOM_KILL_SECONDS)

    def _reap(self, directory: RunDirectory) -> int | None:
        """Collect the exit status of a child that has ended, so that it does not remain a zombie."""
        child = self._children.get(directory.id)
        return None if child is None else child.poll()


def num_oom_kills() -> int | None:
    """Number of out-of-memory kills since Linux started, including those in containers and cgroups; None if unknown."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def signal_name(number: int) -> str:
    """Name of a signal, such as SIGKILL; real-time signals have only a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def signal_holder(directory: RunDirectory, number: signal.Signals) -> None:
    """Signal the worker that holds run.lock, or is assigned to the run, and never another process.

    The holder wrote its pid to the file while holding the lock. A handle for that pid is opened first; if the lock is
    still held and the file unchanged after that, the handle belongs to the holder even if the pid is reused later. The
    assigned process, of use when the file was deleted or replaced, is checked in the same way.
    """
    pid = read_pid(directory.lock_file) if directory.is_locked() else None
    if pid is not None:
        signal_process(pid, number, lambda: directory.is_locked() and read_pid(directory.lock_file) == pid)
    elif (process := directory.assigned_process()) is not None:
        signal_process(process.pid, number, lambda: process.is_alive(directory.path))


def signal_process(pid: int, number: signal.Signals, is_meant: Callable[[], bool]) -> None:
    """Signal a process if, with a handle on it open, it is still the one that is meant."""
    try:
        handle = os.pidfd_open(pid) if sys.platform == "linux" else None
    except ProcessLookupError:
        return
    try:
        if not is_meant():
            return
        if handle is not None and sys.platform == "linux":
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(pid, number)
    except ProcessLookupError:
        return
    finally:
        if handle is not None:
            os.close(handle)
