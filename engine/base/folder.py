"""An open directory: its files are reached through its descriptor, wherever it is renamed to meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.base.regular_files import OddFile, open_regular, read_regular


class Folder:
    """A directory opened once.

    Args:
        path: Where it is when it is opened; later only used in messages.

    Raises:
        OSError: the directory cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._descriptor)

    def open(self, name: str, flags: int) -> int:
        """Open a file, creating it with mode 0600 if the flags say so, and return its descriptor.

        Raises:
            OddFile: it is not a regular file.
            OSError: the file cannot be opened.
        """
        with self._naming(name):
            return open_regular(Path(name), flags, dir_fd=self._descriptor)

    def read(self, name: str) -> bytes:
        """Read a whole small file; raises as `read_regular` does."""
        with self._naming(name):
            return read_regular(Path(name), dir_fd=self._descriptor)

    def exists(self, name: str) -> bool:
        """Return whether there is a file."""
        try:
            os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def status(self, name: str) -> os.stat_result | None:
        """Return the status of a file, or of the link in its place; None if there is none."""
        try:
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        """Return the names of all files."""
        with os.scandir(self._descriptor) as entries:
            return [entry.name for entry in entries]

    def rename(self, name: str, other: str) -> None:
        """Rename a file, replacing any of the other name."""
        with self._naming(name):
            os.rename(name, other, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def link(self, name: str, other: str) -> None:
        """Give a file another name as well."""
        with self._naming(name):
            os.link(name, other, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def unlink(self, name: str) -> None:
        """Delete a file; one that does not exist is fine."""
        with self._naming(name):
            try:
                os.unlink(name, dir_fd=self._descriptor)
            except FileNotFoundError:
                return

    def sync(self) -> None:
        """Flush the directory, so that a rename inside it survives a power cut."""
        os.fsync(self._descriptor)

    def write_atomically(self, name: str, content: bytes) -> None:
        """Replace a file's content; a reader, even after a crash, sees either the old content or the new."""
        temporary = f".{name}.{os.getpid()}.tmp"
        descriptor = self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self.rename(temporary, name)
        except BaseException:
            self.unlink(temporary)
            raise
        self.sync()

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Let errors name a file with its directory."""
        try:
            yield
        except OddFile as error:
            raise OddFile(self.path / name, error.cause) from error
        except OSError as error:
            error.filename, error.filename2 = str(self.path / name), None
            raise
