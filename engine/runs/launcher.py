"""How workers are started and watched. Nothing above this may assume that a worker is a child, or on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from engine.base.errors import DepthscopeError
from engine.base.locks import hold, read_pid, write_pid
from engine.base.logs import cap_log
from engine.base.paths import open_private
from engine.runs.directory import RunDirectory
from engine.spec.devices import Device

KEEP_FREED_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(64 << 20)}
"""For glibc's malloc (mallopt(3)), to keep what a step frees for the next one. By default it hands large tensors back
to the kernel and takes fresh pages at every step, whose zeroing costs a wide network on a CPU a seventh of its pace."""

OOM_KILL_SECONDS = 10.0
"""A worker that is killed so soon after the kernel killed for want of memory is taken to be whom it killed."""


def training_environment(home: Path, device: Device) -> dict[str, str]:
    """What a process is given that trains on a device: a worker, or a probe that is to be as fast as one."""
    return {
        **os.environ,
        **KEEP_FREED_MEMORY,
        "DEPTHSCOPE_HOME": str(home),
        "DEPTHSCOPE_DEVICE": device.name,
        "CUDA_VISIBLE_DEVICES": device.visible,
    }


class Launcher(Protocol):
    """Starts a worker for a run directory, says whether one lives there, and asks it to leave."""

    def start(self, directory: RunDirectory, device: Device, num_threads: int | None) -> None:
        """Start a worker; it is alive from the return of this on.

        Args:
            directory: Of its run.
            device: Where it trains.
            num_threads: CPU threads that it may use; None leaves the choice to torch.

        Raises:
            OSError: no process could be made.
        """

    def is_alive(self, directory: RunDirectory) -> bool:
        """Whether a worker lives, no matter who started it."""

    def stop(self, directory: RunDirectory) -> None:
        """Ask the worker to save a checkpoint and leave; does nothing where there is none. May be repeated."""

    def kill(self, directory: RunDirectory) -> None:
        """End a worker that does not leave when asked; it keeps the checkpoint it saved last."""

    def exit_status(self, directory: RunDirectory) -> str | None:
        """How a worker ended that left no record, in words; None where that cannot be known."""


class WorkerHolds(DepthscopeError):
    """A worker of this run lives already."""


class LocalLauncher:
    """Workers as processes of this machine, each in a session of its own, alive for as long as they hold run.lock.

    Our own children are known as such too, also where somebody has deleted that file under them.

    Args:
        home: The home that workers find their datasets in.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started_at: dict[str, float] = {}
        """By run id, by the monotonic clock; of our own children alone."""
        self._num_oom_kills = num_oom_kills()
        self._oom_kill_at: float | None = None
        """When that number was last seen to grow, by the monotonic clock."""

    def start(self, directory: RunDirectory, device: Device, num_threads: int | None) -> None:
        lock = directory.open_lock()
        log = open_private(directory.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            # The worker inherits the lock held, so that there is no instant at which it lives without it.
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
                env={**training_environment(self._home, device), **threads, "DEPTHSCOPE_LOCK_FD": str(lock)},
                pass_fds=(lock,),
                start_new_session=True,
            )
            self._children[directory.id] = child
            # Known from the first instant, long before the worker has loaded torch and writes it itself; for display,
            # so a full disk does not matter here.
            with contextlib.suppress(OSError):
                write_pid(lock, child.pid)
        finally:
            os.close(lock)
            os.close(log)

    def is_alive(self, directory: RunDirectory) -> bool:
        child = self._children.get(directory.id)
        is_ours = child is not None and child.poll() is None
        self._look_for_oom_kills()
        return is_ours or directory.is_locked()

    def stop(self, directory: RunDirectory) -> None:
        signal_holder(directory, signal.SIGTERM)

    def kill(self, directory: RunDirectory) -> None:
        if (child := self._children.get(directory.id)) is not None:
            # Signals nobody else where it has ended meanwhile.
            child.kill()
        signal_holder(directory, signal.SIGKILL)

    def exit_status(self, directory: RunDirectory) -> str | None:
        status = self._reap(directory)
        self._look_for_oom_kills()
        as_the_kernel = " as the kernel ran out of memory" if self._was_oom_kill(directory.id) else ""
        if status is None:
            # Another engine's child: the kernel tells its status to nobody.
            return f"ended without a message{as_the_kernel}" if as_the_kernel else None
        del self._children[directory.id]
        if status == -signal.SIGKILL:
            return f"killed by SIGKILL{as_the_kernel}"
        if status < 0:
            return f"killed by {signal_name(-status)}"
        return f"left with status {status}"

    def _look_for_oom_kills(self) -> None:
        """Note when the kernel's count grows: it does before the process is gone that it counts."""
        if (now := num_oom_kills()) != self._num_oom_kills:
            self._num_oom_kills, self._oom_kill_at = now, time.monotonic()

    def _was_oom_kill(self, run: str) -> bool:
        """Whether the kernel ended a process for want of memory as this worker lived, a moment ago."""
        at = self._oom_kill_at
        return at is not None and at > max(self._started_at.get(run, 0.0), time.monotonic() - OOM_KILL_SECONDS)

    def _reap(self, directory: RunDirectory) -> int | None:
        """Collect the exit status of a child that has ended, so that it does not stay as a zombie."""
        child = self._children.get(directory.id)
        return None if child is None else child.poll()


def num_oom_kills() -> int | None:
    """Processes that Linux has killed for want of memory since it started, those of containers and cgroups among them;
    None where it does not tell."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def signal_name(number: int) -> str:
    """SIGKILL and its like; a number where it has no name, as real-time signals."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def signal_holder(directory: RunDirectory, number: signal.Signals) -> None:
    """Signal the process that holds run.lock, and surely no other.

    The holder wrote its pid into the file while it held the lock. A handle on that pid is taken first; if the lock is
    held and the file unchanged after that, the handle is the holder's, whatever becomes of the pid later.
    """
    pid = read_pid(directory.lock_file)
    if pid is None:
        return
    try:
        handle = os.pidfd_open(pid) if sys.platform == "linux" else None
    except ProcessLookupError:
        return
    try:
        if not directory.is_locked() or read_pid(directory.lock_file) != pid:
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
