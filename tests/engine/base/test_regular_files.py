"""Tests of files opened as regular files: whatever lies in their place, a reader neither waits nor reads it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.base.errors import UsageError
from engine.base.paths import open_private, write_atomically
from engine.base.regular_files import OddFile, open_regular, read_end, read_regular, reading_regular


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))


def link(path: Path) -> None:
    path.with_name("target").write_bytes(b"{}")
    path.symlink_to("target")


ODD: dict[str, Callable[[Path], object]] = {
    "a directory": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a socket": bind,
    "a symbolic link": link,
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_CREAT | os.O_APPEND])
def test_what_is_not_a_regular_file_is_refused_at_once(kind: str, flags: int, tmp_path: Path) -> None:
    path = tmp_path / "exit.json"
    ODD[kind](path)
    with pytest.raises(OddFile, match=f"exit.json is {kind}, not a file: restore") as caught:
        open_regular(path, flags)
    assert isinstance(caught.value, UsageError)
    assert (caught.value.path, caught.value.cause) == (path, f"is {kind}, not a file")
    with pytest.raises(OddFile):
        open_private(path, flags)
    with pytest.raises(OddFile):
        read_regular(path)


def test_descriptors_of_refused_files_are_closed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(bytes(11))
    before = os.dup(0)
    os.close(before)
    for _ in range(3):
        with pytest.raises(OddFile):
            read_regular(tmp_path / "fifo")
        with pytest.raises(OddFile):
            reading_regular(tmp_path / "large", limit=10)
    # The lowest free descriptor is the same.
    after = os.dup(0)
    os.close(after)
    assert after == before


def test_a_file_of_implausible_size_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(OddFile, match=r"labels.json has 3.00 GiB, at most 64.0 KiB are expected"):
        read_regular(path, limit=64 << 10)
    with pytest.raises(OddFile, match=r"at most 1.00 MiB are expected"):
        read_regular(path)
    path.write_bytes(b"12345")
    assert read_regular(path, limit=5) == b"12345"
    assert read_end(path, num_bytes=2) == "45"


def test_files_that_are_missing_or_not_ours_keep_their_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        read_regular(tmp_path / "file" / "exit.json")


def test_links_are_followed_where_that_is_asked_for(tmp_path: Path) -> None:
    link(tmp_path / "config.toml")
    assert read_regular(tmp_path / "config.toml", follow=True) == b"{}"
    (tmp_path / "to-a-directory").symlink_to(tmp_path)
    with pytest.raises(OddFile, match="is a directory"):
        read_regular(tmp_path / "to-a-directory", follow=True)


def test_a_file_can_be_opened_in_an_open_directory(tmp_path: Path) -> None:
    write_atomically(tmp_path / "spec.json", b"{}")
    os.mkfifo(tmp_path / "fifo")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert read_regular(Path("spec.json"), dir_fd=directory) == b"{}"
        with pytest.raises(OddFile, match="fifo is a FIFO"):
            read_regular(Path("fifo"), dir_fd=directory)
    finally:
        os.close(directory)
