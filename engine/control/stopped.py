"""The mark `engine.stopped`: training was ended, and only a command that asks for training starts workers again."""

from __future__ import annotations

import errno
import os
import socket
import time
from enum import StrEnum
from typing import Annotated

import msgspec

from engine.base.decoding import Moment, decode_json
from engine.base.paths import Home, open_private, write_atomically
from engine.base.regular_files import OddFile, read_regular
from engine.base.system import is_another_boot
from engine.control.engine_lock import Holder


class Cause(StrEnum):
    """What ended training."""

    COMMAND = "command"
    """`depthscope engine stop`, of any version."""
    SIGNAL = "signal"
    REBOOT = "reboot"
    LOST = "lost"
    """The engine is gone, and nothing says why."""
    NONE = "none"
    """No engine has trained here yet."""


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of the mark; empty if an older version wrote it."""

    cause: Cause = Cause.COMMAND
    signal: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    at: Moment | None = None
    """When; for a restart or a lost engine, when it was last heard of. None if unknown."""
    host: Annotated[str, msgspec.Meta(max_length=256)] | None = None

    def __str__(self) -> str:
        match self.cause:
            case Cause.COMMAND:
                what = "stopped by `depthscope engine stop`"
            case Cause.SIGNAL:
                what = f"interrupted by {self.signal or 'a signal'}"
            case Cause.REBOOT:
                what = "interrupted by a restart of the machine"
            case Cause.LOST:
                what = "interrupted when the engine ended unexpectedly"
            case Cause.NONE:
                return "not started yet"
        last = " after" if self.cause in (Cause.REBOOT, Cause.LOST) else " at"
        when = "" if self.at is None else f"{last} {time.strftime('%Y-%m-%d %H:%M', time.localtime(self.at))}"
        return f"{what}{when}{f' on {self.host}' if self.host not in (None, socket.gethostname()) else ''}"


def read_stopped(home: Home) -> Stopped | None:
    """Read the mark; None if there is none."""
    try:
        return decode_json(read_regular(home.engine_stopped) or b"{}", Stopped)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OddFile):
        return Stopped()


def leave_mark(home: Home, cause: Cause, *, signal: str | None = None) -> None:
    """Leave the mark, unless another cause ended training before."""
    before = read_stopped(home)
    if before is None or before.cause in (Cause.LOST, Cause.NONE):
        write_mark(home, Stopped(cause=cause, signal=signal, at=time.time(), host=socket.gethostname()))


def write_mark(home: Home, stopped: Stopped) -> None:
    """Write the mark; on a full disk an empty one, which needs no space, rather than none.

    Raises:
        OSError: not even that is possible.
    """
    try:
        write_atomically(home.engine_stopped, msgspec.json.encode(stopped))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.close(open_private(home.engine_stopped, os.O_WRONLY | os.O_CREAT))


def end_of(holder: Holder, heard_at: float | None) -> Stopped:
    """Say how the last engine ended that left no mark.

    Args:
        holder: What it wrote into its lock file.
        heard_at: When a run's journal last grew; None if unknown.
    """
    if holder.pid is None:
        return Stopped(cause=Cause.NONE)
    is_reboot = is_another_boot(holder.boot) and holder.host in (None, socket.gethostname())
    return Stopped(cause=Cause.REBOOT if is_reboot else Cause.LOST, at=heard_at or holder.since, host=holder.host)
