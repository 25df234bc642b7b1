"""Where things live: one home, everything in it readable by its owner alone."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from engine.base.errors import UsageError

# sun_path holds 108 bytes on Linux and 104 on macOS, the terminating zero included.
MAX_SOCKET_PATH_BYTES = 100


class LinkRefused(UsageError, OSError):
    """A link stands where a file of ours should: whoever made it could make us write elsewhere."""


@dataclass(frozen=True, slots=True)
class Home:
    """The directory that holds one engine, its runs and its datasets."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "depthscope.db"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def config(self) -> Path:
        return self.root / "config.toml"

    @property
    def view(self) -> Path:
        """How the console was left."""
        return self.root / "console.json"

    @property
    def queue(self) -> Path:
        """Whether the queue as a whole is held or drains."""
        return self.root / "queue.json"

    @property
    def saved_charts(self) -> Path:
        """Where the console writes charts and logs that a user saves."""
        return self.root / "saved"

    @property
    def probes(self) -> Path:
        """How fast networks were when `depthscope plan` tried them."""
        return self.root / "probes.json"

    @property
    def incoming(self) -> Path:
        """Where runs of another machine lie until the engine takes them."""
        return self.root / "incoming"

    @property
    def incoming_lock(self) -> Path:
        return self.root / "incoming.lock"

    @property
    def engine_lock(self) -> Path:
        return self.root / "engine.lock"

    @property
    def engine_log(self) -> Path:
        return self.root / "engine.log"

    @property
    def engine_stopped(self) -> Path:
        """A mark that somebody has ended the engine, so that only a command starts it again."""
        return self.root / "engine.stopped"

    @property
    def engine_socket(self) -> Path:
        """The socket's path; a short one under the runtime directory where the home's own is too long to bind."""
        path = self.root / "engine.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
            return path
        key = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]
        return short_runtime_directory() / f"{key}.sock"

    def create(self) -> Home:
        """Make the home and its directories, mode 0700, and check that they are ours to write.

        Raises:
            UsageError: the home is a link or a file, belongs to someone else, or cannot be written.
        """
        create_private_directory(self.root)
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise UsageError(f"{self.root} cannot be written: give yourself write permission, or set DEPTHSCOPE_HOME")
        create_private_directory(self.runs)
        create_private_directory(self.data)
        return self


def find_home() -> Home:
    """DEPTHSCOPE_HOME, or the platform's data directory for a user; not created yet."""
    chosen = os.environ.get("DEPTHSCOPE_HOME")
    if chosen:
        return Home(Path(chosen).expanduser().absolute())
    return Home(Path(platformdirs.user_data_dir("depthscope", appauthor=False)))


def short_runtime_directory() -> Path:
    """A directory of ours with a short path, for sockets whose natural place has too long a name."""
    directory = Path(tempfile.gettempdir()) / f"depthscope-{os.getuid()}"
    create_private_directory(directory)
    return directory


def create_private_directory(path: Path) -> None:
    """Make a directory with mode 0700 and its parents as they come; accept an existing one only if it is ours.

    Raises:
        UsageError: the path is a link or no directory, belongs to another user, is open to others and cannot be
            closed, or cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be made ({error.strerror}): choose another home with DEPTHSCOPE_HOME"
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{path} is not a directory: choose another home with DEPTHSCOPE_HOME")
    if found.st_uid != os.geteuid():
        raise UsageError(f"{path} belongs to uid {found.st_uid}: choose another home with DEPTHSCOPE_HOME")
    if found.st_mode & 0o077:
        path.chmod(0o700)


def open_private(path: Path, flags: int) -> int:
    """Open a file that only its owner may read; returns the descriptor.

    Raises:
        LinkRefused: it is a link.
        OSError: it cannot be opened.
    """
    try:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise LinkRefused(f"{path} is a link, which is not followed: take it away") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content so that a reader, or a machine that stops, sees the old or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename inside a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
