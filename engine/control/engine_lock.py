"""Who holds engine.lock: after the holder's pid, its second line says where and since when."""

from __future__ import annotations

import os
import socket
import time
from typing import Annotated, Self

import msgspec

from engine.base.decoding import Moment, decode_json
from engine.base.locks import is_held, write_pid
from engine.base.paths import Home
from engine.base.regular_files import OddFile, read_regular
from engine.base.system import boot_id, is_another_boot

MAX_BYTES = 4096

Short = Annotated[str, msgspec.Meta(max_length=256)]


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The engine that holds the lock, or held it last."""

    pid: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None
    """None if the file has none."""
    host: Short | None = None
    """None, like all below, if an older version wrote the file."""
    boot: Short | None = None
    """Boot id of its machine; None if unknown."""
    since: Moment | None = None
    socket: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    """Path of its socket if that is not in the home."""

    @classmethod
    def here(cls, socket_path: str | None) -> Self:
        """Describe this process."""
        return cls(pid=os.getpid(), host=socket.gethostname(), boot=boot_id(), since=time.time(), socket=socket_path)

    @property
    def is_elsewhere(self) -> bool:
        """Whether it runs on another machine, so that nobody here can reach it."""
        return self.host not in (None, socket.gethostname()) or is_another_boot(self.boot)

    def __str__(self) -> str:
        where = f" on {self.host}" if self.host is not None else ""
        since = "" if self.since is None else f", since {time.strftime('%Y-%m-%d %H:%M', time.localtime(self.since))}"
        return f"pid {self.pid or 'unknown'}{where}{since}"


def write_holder(descriptor: int, holder: Holder) -> None:
    """Record the holder; only the holder may call this."""
    assert holder.pid is not None
    write_pid(descriptor, holder.pid, msgspec.json.encode(holder))


def read_holder(home: Home) -> Holder:
    """Read who holds the lock or held it last; without a pid if there is no such file or it is damaged."""
    try:
        first, _, rest = read_regular(home.engine_lock, limit=MAX_BYTES).partition(b"\n")
    except (FileNotFoundError, OddFile):
        return Holder(pid=None)
    try:
        return decode_json(rest or b'{"pid":%s}' % first, Holder)
    except msgspec.DecodeError:
        return Holder(pid=None)


def absent_listener(home: Home) -> str | None:
    """Say who holds the lock although nobody listens here, and what to do; None if nobody holds it."""
    if not is_held(home.engine_lock):
        return None
    holder = read_holder(home)
    if holder.is_elsewhere:
        return (
            f"the engine of {home.root} runs on another machine ({holder}): run the command there, or end that engine"
            " there with `depthscope engine stop`"
        )
    return (
        f"the engine ({holder}) holds {home.engine_lock} but is not listening: it is starting or stopping; if that"
        f" does not end, `kill -9 {holder.pid or 'PID'}` and run the command again, training continues"
    )
