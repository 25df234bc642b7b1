"""Whether the disk takes what a run writes: what is said where it does not, and when it is tried again.

A run whose worker met a full disk, or a directory that may not be written any more, rests as `paused` although it is
wanted to run, and goes on by itself. What there is room for is asked of the file system, without starting anything.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from engine.base.paths import Home, open_private
from engine.base.units import byte_size
from engine.data.catalog import BUILT_IN
from engine.runs.directory import RunDirectory
from engine.runs.run import DISK_FULL, NO_ACCESS, Run
from models.cost import num_parameters

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
FULL_BELOW_BYTES = 256 << 10
"""A worker that left without a word while less than that was free could not even write why."""
MARGIN_BYTES = 1 << 20
"""For journal, index and logs, beside a checkpoint."""
RESERVE_BYTES = 1 << 20
"""Kept by the engine, and given up when the disk is full, so that it can still say so in the index."""
SECONDS_BETWEEN_LOOKS = 2.0
MOST_SECONDS_BETWEEN_TRIES = 60.0
BY_ITSELF = "goes on by itself"


def trouble_of(error: BaseException) -> str | None:
    """What an error says of the disk, in a line that begins with DISK_FULL or NO_ACCESS; None for any other error."""
    for cause in chain_of(error):
        if isinstance(cause, OSError) and cause.errno in FULL:
            where = f" ({cause.filename})" if cause.filename else ""
            return f"{DISK_FULL}: {os.strerror(cause.errno)}{where}: {BY_ITSELF} when there is room"
        if isinstance(cause, OSError) and cause.errno in REFUSED and cause.filename:
            return no_access(Path(os.fsdecode(cause.filename)).parent, os.strerror(cause.errno))
    return None


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def no_access(directory: Path, why: str) -> str:
    return f"{NO_ACCESS}: {directory} cannot be written ({why}): {BY_ITSELF} once you may write there"


def free_bytes(path: Path) -> int:
    """What we may still write on the file system of a path."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def trouble_now(path: Path, needed_bytes: int) -> str | None:
    """Why so much could not be written into a directory just now; None where it could.

    Raises:
        OSError: the directory cannot be looked at, or is gone.
    """
    if not os.access(path, os.W_OK | os.X_OK):
        why = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
        return no_access(path, os.strerror(why))
    free = free_bytes(path)
    if free >= needed_bytes:
        return None
    short = f"{byte_size(free)} free in {path}, {byte_size(needed_bytes)} needed"
    return f"{DISK_FULL}: {short}: {BY_ITSELF} when there is room"


class Storage:
    """The disk under a home, as the runs see it that write there.

    Args:
        home: Whose.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._reserve = home.root / ".reserve"
        self._tries: dict[str, tuple[int, int, float]] = {}
        """By run: its step when it met the disk last, how often it did at that step, when it may be tried again."""
        self._look_at = 0.0
        self.trouble: str | None = None
        """Of the newest run that waits; None where none does."""

    def needed_bytes(self, run: Run) -> int:
        """What a run has to write to get any further: a checkpoint, and its dataset where that is not here yet."""
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
        """Why a run could not write what it has to; None where it could, or where nobody can tell."""
        try:
            return trouble_now(self._home.runs / run.id, self.needed_bytes(run))
        except OSError:
            return None

    def met(self, run: Run, trouble: str) -> None:
        """Note that a run's worker has met the disk: the more often without a step between, the later it is tried."""
        step, times, _ = self._tries.get(run.id, (run.step, 0, 0.0))
        times = times + 1 if run.step <= step else 1
        wait = min(MOST_SECONDS_BETWEEN_TRIES, SECONDS_BETWEEN_LOOKS * 2 ** (times - 1))
        self._tries[run.id] = run.step, times, time.monotonic() + wait
        self.trouble = trouble

    def may_go_on(self, run: Run) -> bool:
        """Whether a run that waits for the disk is to be tried again now."""
        _, _, again_at = self._tries.get(run.id, (0, 0, 0.0))
        return time.monotonic() >= again_at and self.trouble_for(run) is None

    def is_due(self) -> bool:
        """Whether it is time to look again, which is said once."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + SECONDS_BETWEEN_LOOKS
        return True

    def keep_reserve(self) -> None:
        """Set room aside, where there is plenty."""
        with contextlib.suppress(OSError):
            if self._reserve.exists() or free_bytes(self._home.root) < 8 * RESERVE_BYTES:
                return
            descriptor = open_private(self._reserve, os.O_WRONLY | os.O_CREAT)
            try:
                # Written and not only allocated: some file systems hold nothing for what is not.
                os.write(descriptor, bytes(RESERVE_BYTES))
            finally:
                os.close(descriptor)

    def give_up_reserve(self) -> None:
        """Make a little room, for the index."""
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)
