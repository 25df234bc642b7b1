"""Paths inside the home directory, and files and directories only their owner can read."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from engine.base.errors import UsageError
from engine.base.folder import Folder
from engine.base.regular_files import open_regular


class Inside:
    """Attribute of a class that stands for a directory: the path of a file or folder with a fixed name in it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, directory: os.PathLike[str], _kind: type) -> Path:
        return Path(directory, self._name)


@dataclass(frozen=True, slots=True)
class Home:
    """The directory that holds one engine, its runs and its datasets."""

    root: Path

    database = Inside("depthscope.db")
    runs = Inside("runs")
    data = Inside("data")
    config = Inside("config.toml")
    view = Inside("console.json")
    """The console's saved view."""
    queue = Inside("queue.json")
    """Whether the queue is held or draining."""
    saved_charts = Inside("saved")
    """Charts and logs saved from the console."""
    probes = Inside("probes.json")
    """Speeds measured by `depthscope plan`."""
    incoming = Inside("incoming")
    """Staging area for runs imported from another machine."""
    incoming_lock = Inside("incoming.lock")
    pruned = Inside("pruned")
    """Runs that `depthscope prune` is deleting."""
    submission = Inside("submission.json")
    """Submission in progress, which the next engine completes if this one dies."""
    launch_lock = Inside("launch.lock")
    engine_socket = Inside("engine.sock")
    engine_lock = Inside("engine.lock")
    engine_log = Inside("engine.log")
    engine_failed = Inside("engine.failed")
    """Why the newest engine could not start, or which error ended it; deleted once one serves."""
    engine_stopped = Inside("engine.stopped")
    """Mark that training was ended, and why; only a command that asks for training removes it."""

    def __fspath__(self) -> str:
        return str(self.root)

    def create(self) -> Home:
        """Create the home and its directories, mode 0700, and check that they are writable.

        Raises:
            UsageError: the home is a link or a file, belongs to another user, or is not writable.
        """
        create_private_directory(self.root)
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise UsageError(f"{self.root} is not writable: change its permissions, or set DEPTHSCOPE_HOME")
        create_private_directory(self.runs)
        create_private_directory(self.data)
        return self


def find_home() -> Home:
    """Return DEPTHSCOPE_HOME or the platform's user data directory, without creating it.

    Raises:
        UsageError: DEPTHSCOPE_HOME is not UTF-8, which the index needs, or names the home of an unknown user.
    """
    chosen = os.environ.get("DEPTHSCOPE_HOME")
    if chosen:
        try:
            chosen.encode()
            return Home(Path(chosen).expanduser().absolute())
        except UnicodeEncodeError:
            raise UsageError(f"DEPTHSCOPE_HOME must be UTF-8, got {chosen!r}") from None
        except RuntimeError as error:
            raise UsageError(f"DEPTHSCOPE_HOME={chosen}: {error}") from error
    return Home(Path(platformdirs.user_data_dir("depthscope", appauthor=False)))


def short_runtime_directory() -> Path:
    """Create and return a private directory with a short path, for sockets whose usual path is too long."""
    directory = Path(tempfile.gettempdir()) / f"depthscope-{os.getuid()}"
    create_private_directory(directory)
    return directory


def create_private_directory(path: Path) -> None:
    """Create a directory with mode 0700; accept an existing one only if it is ours. Parents get default modes.

    Raises:
        UsageError: the path is a link or not a directory, belongs to another user, or cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise UsageError(
            f"cannot create {path} ({error.strerror}): choose another home with DEPTHSCOPE_HOME"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{path} is not a directory: choose another home with DEPTHSCOPE_HOME")
    if found.st_uid != os.geteuid():
        raise UsageError(f"{path} belongs to uid {found.st_uid}: choose another home with DEPTHSCOPE_HOME")
    if found.st_mode & 0o077:
        path.chmod(0o700)


def open_private(path: Path, flags: int) -> int:
    """Open a file, creating it with mode 0600 if the flags say so, and return its descriptor.

    Raises:
        OddFile: the path is not a regular file; a link could lead anywhere.
        OSError: the file cannot be opened.
    """
    return open_regular(path, flags)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content; a reader, even after a crash, sees either the old content or the new."""
    with Folder(path.parent) as folder:
        folder.write_atomically(path.name, content)


def sync_directory(path: Path) -> None:
    """Flush a directory, so that a rename inside it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
