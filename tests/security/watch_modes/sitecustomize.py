"""Record every file and directory in the home created too open by a Python process with this folder on PYTHONPATH.

The arguments of `os.open` and `os.mkdir` are checked before the call, so files closed afterwards are caught, too;
`open` passes no mode and relies on the umask.
"""

from __future__ import annotations

import builtins
import io
import os
from typing import Any

_home = os.environ["DEPTHSCOPE_HOME"]
_notes = os.environ["DEPTHSCOPE_TEST_MODES"]
_os_open, _os_mkdir, _os_chmod, _io_open = os.open, os.mkdir, os.chmod, io.open


def _is_ours(path: Any) -> bool:
    return isinstance(path, str | bytes | os.PathLike) and (os.fsdecode(path) + "/").startswith(_home + "/")


def _note(path: Any, mode: int) -> None:
    mask = os.umask(0o777)
    os.umask(mask)
    if mode & ~mask & 0o077:
        descriptor = _os_open(_notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, f"{os.fsdecode(path)} {mode & ~mask:o}\n".encode())
        os.close(descriptor)


def _open_watched(path: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
    if flags & os.O_CREAT and _is_ours(path) and not os.path.lexists(path):
        _note(path, mode)
    return _os_open(path, flags, mode, **more)


def _mkdir_watched(path: Any, mode: int = 0o777, **more: Any) -> None:
    if _is_ours(path) and not os.path.lexists(path):
        _note(path, mode)
    _os_mkdir(path, mode, **more)


def _chmod_watched(path: Any, mode: int, **more: Any) -> None:
    if _is_ours(path):
        # Anything that has to be closed was open before.
        _note(path, 0o777)
    _os_chmod(path, mode, **more)


def _builtin_watched(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
    if _is_ours(file) and set(mode) & set("wax") and not os.path.lexists(file):
        _note(file, 0o666)
    return _io_open(file, mode, *more, **named)


os.open, os.mkdir, os.chmod = _open_watched, _mkdir_watched, _chmod_watched
io.open = builtins.open = _builtin_watched  # type: ignore[assignment]
