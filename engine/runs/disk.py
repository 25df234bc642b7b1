"""Disk trouble of runs: messages for a full or unwritable disk, and when to try again.

A run whose worker found the disk full or its directory unwritable is `paused` although its intent is to run, and
continues automatically. Free space is checked by asking the file system, without starting anything.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from engine.base.errors import FULL, PRUNE_ADVICE
from engine.base.paths import Home, open_private
from engine.base.units import byte_size
from engine.data.catalog import BUILT_IN
from engine.runs.directory import RunDirectory
from engine.runs.run import DISK_FULL, NO_ACCESS, Run
from models.cost import num_parameters

REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
FULL_BELOW_BYTES = 256 << 10
"""With less free space, a worker that left no exit record is assumed to have failed to write one."""
MARGIN_BYTES = 1 << 20
"""Space for journal, index and logs, besides a checkpoint."""
RESERVE_BYTES = 1 << 20
"""Kept by the engine and freed when the disk is full, so that the index can still record it."""
SECONDS_BETWEEN_LOOKS = 2.0
MOST_SECONDS_BETWEEN_TRIES = 60.0
BY_ITSELF = "continues automatically"


def trouble_of(error: BaseException) -> str | None:
    """Disk trouble behind an error, as a line that begins with DISK_FULL or NO_ACCESS; None for other errors."""
    for cause in chain_of(error):
        if isinstance(cause, OSError) and cause.errno in FULL:
            where = f" ({cause.filename})" if cause.filename else ""
            return f"{DISK_FULL}: {os.strerror(cause.errno)}{where}: {BY_ITSELF} once there is space; {PRUNE_ADVICE}"
        if isinstance(cause, OSError) and cause.errno in REFUSED and cause.filename:
            return no_access(Path(os.fsdecode(cause.filename)).parent, os.strerror(cause.errno))
    return None


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def no_access(directory: Path, why: str) -> str:
    return f"{NO_ACCESS}: {directory} is not writable ({why}): {BY_ITSELF} once it is"


def free_bytes(path: Path) -> int:
    """Bytes this user can still write on the file system of a path."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def trouble_now(path: Path, needed_bytes: int) -> str | None:
    """Reason why an amount of data cannot be written to a directory now; None if it can.

    Raises:
        OSError: the directory cannot be accessed or does not exist.
    """
    if not os.access(path, os.W_OK | os.X_OK):
        why = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
        return no_access(path, os.strerror(why))
    free = free_bytes(path)
    if free >= needed_bytes:
        return None
    short = f"{byte_size(free)} free in {path}, {byte_size(needed_bytes)} needed"
    return f"{DISK_FULL}: {short}: {BY_ITSELF} once there is space; {PRUNE_ADVICE}"


class Storage:
    """Disk of a home, with the runs that wait for it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._reserve = home.root / ".reserve"
        self._tries: dict[str, tuple[int, int, float]] = {}
        """By run: step at its last disk trouble, number of troubles at that step, and time of the next try."""
        self._look_at = 0.0
        self.trouble: str | None = None
        """Trouble of the newest waiting run; None if none waits."""

    def needed_bytes(self, run: Run) -> int:
        """Space a run needs to continue: a checkpoint, and its dataset if it is not cached yet."""
        directory = RunDirectory(self._home.runs / run.id)
        try:
            checkpoint = directory.checkpoint.stat().st_size
        except OSError:
            # Weights and momentum, in float32.
            checkpoint = 8 * num_parameters(run.spec.model)
        known = BUILT_IN.get(run.spec.data.name)
        is_here = known is None or (self._home.data / run.spec.data.name).exists()
        dataset = 0 if is_here or known is None else (known.num_train + known.num_test) * (32 * 32 * 3 + 8)
        # The final weights are another half of a checkpoint.
        return checkpoint + checkpoint // 2 + dataset + MARGIN_BYTES

    def trouble_for(self, run: Run) -> str | None:
        """Reason why a run could not write its files; None if it could or if that is unknown."""
        try:
            return trouble_now(self._home.runs / run.id, self.needed_bytes(run))
        except OSError:
            return None

    def met(self, run: Run, trouble: str) -> None:
        """Record disk trouble of a run; repeated trouble without progress delays the next try."""
        step, times, _ = self._tries.get(run.id, (run.step, 0, 0.0))
        times = times + 1 if run.step <= step else 1
        wait = min(MOST_SECONDS_BETWEEN_TRIES, SECONDS_BETWEEN_LOOKS * 2 ** (times - 1))
        self._tries[run.id] = run.step, times, time.monotonic() + wait
        self.trouble = trouble

    def may_retry(self, run: Run) -> bool:
        """Whether to try a run that waits for the disk again now."""
        _, _, again_at = self._tries.get(run.id, (0, 0, 0.0))
        return time.monotonic() >= again_at and self.trouble_for(run) is None

    def is_due(self) -> bool:
        """Whether it is time to check again; True only once per interval."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + SECONDS_BETWEEN_LOOKS
        return True

    def keep_reserve(self) -> None:
        """Reserve some space while there is plenty."""
        with contextlib.suppress(OSError):
            if self._reserve.exists() or free_bytes(self._home.root) < 8 * RESERVE_BYTES:
                return
            descriptor = open_private(self._reserve, os.O_WRONLY | os.O_CREAT)
            try:
                # Written, because some file systems do not reserve space that is only allocated.
                os.write(descriptor, bytes(RESERVE_BYTES))
            finally:
                os.close(descriptor)

    def give_up_reserve(self) -> None:
        """Free the reserve, to make space for the index."""
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)
