"""Untrusted archives, read as streams: nothing is extracted, and names and sizes are checked."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tarfile import EOFHeaderError, HeaderError, ReadError  # type: ignore[attr-defined]
from typing import IO, BinaryIO, Self, cast

from engine.base.errors import DatasetError

MAX_MEMBER_BYTES = 256 * 2**20
MAX_TOTAL_BYTES = 32 * 2**30
MAX_MEMBERS = 2_000_000
MAX_HEADER_BYTES = 2**20
CHUNK_BYTES = 2**20

EXTENDED_HEADERS = {
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
}


@dataclass(frozen=True, slots=True)
class Member:
    """A file or folder in an archive."""

    parts: tuple[str, ...]
    """Relative path, without `.` or `..`."""
    content: bytes | None
    """None for a folder or a file that was not requested."""
    is_folder: bool


class StrictMember(tarfile.TarInfo):
    """A tar header that raises if damaged; tarfile itself treats a damaged header as the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:
            if isinstance(error, EOFHeaderError):
                raise
            raise ReadError(str(error)) from error

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type in EXTENDED_HEADERS and header.size > MAX_HEADER_BYTES:
            raise ReadError(f"an extended header of {header.size} bytes")
        return header


class LimitedStream(io.RawIOBase):
    """A stream that raises past MAX_TOTAL_BYTES, as a guard against decompression bombs."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self.stream = stream
        self.path = path
        self.num_bytes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self.stream.read(CHUNK_BYTES if size < 0 else size)
        self.num_bytes += len(content)
        if self.num_bytes > MAX_TOTAL_BYTES:
            raise DatasetError(
                f"{self.path} unpacks to more than {MAX_TOTAL_BYTES >> 30} GiB: make an archive of the images alone"
            )
        return content


def shown(value: object) -> str:
    """Make an untrusted name, path or message printable, at most 200 characters."""
    text = "".join(character if character.isprintable() else "�" for character in str(value))
    return text if len(text) <= 200 else f"{text[:200]}…"


def read_members(path: Path, file: BinaryIO, wanted: Callable[[tuple[str, ...]], bool]) -> Iterator[Member]:
    """Iterate over the members of a tar (plain, gz, bz2, xz) or zip archive, in archive order.

    Args:
        path: Name of the archive in errors.
        file: The archive, positioned at its beginning.
        wanted: Selects files to read; the others come without content.

    Raises:
        DatasetError: the file is not an archive, or is truncated or damaged; a member is a link, a device or outside
            the archive's folder; or the archive unpacks to more than the limit.
    """
    magic = file.read(6)
    file.seek(0)
    if magic.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return read_zip(path, file, wanted)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        raise DatasetError(f"{shown(path)} is compressed with zstd, which is not supported: use .tar.xz or .tar.gz")
    stream: IO[bytes] = file
    if magic.startswith(b"\x1f\x8b"):
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=file))
    elif magic.startswith(b"BZh"):
        stream = bz2.BZ2File(file)
    elif magic == b"\xfd7zXZ\x00":
        stream = lzma.LZMAFile(file)  # noqa: SIM115 - ends with the file that it reads
    return read_tar(path, stream, wanted)


def read_tar(path: Path, stream: IO[bytes], wanted: Callable[[tuple[str, ...]], bool]) -> Iterator[Member]:
    limited = LimitedStream(stream, path)
    num_members = 0
    try:
        with tarfile.open(fileobj=limited, mode="r|", tarinfo=StrictMember) as tar:
            for header in tar:
                num_members += 1
                check_count(path, num_members)
                parts = checked_parts(path, header.name)
                if header.isdir():
                    yield Member(parts, None, is_folder=True)
                    continue
                if not header.isreg() or header.issparse():
                    raise DatasetError(
                        f"{shown(path)}: {shown(header.name)} is a link, a device or sparse: "
                        "make an archive of plain files (tar --dereference)"
                    )
                content = None
                if wanted(parts):
                    check_size(path, header.name, header.size)
                    member = tar.extractfile(header)
                    content = member.read() if member is not None else b""
                    if len(content) != header.size:
                        raise ReadError("unexpected end of data")
                yield Member(parts, content, is_folder=False)
                # tarfile keeps every header it has seen, to find it again; a stream never does.
                tar.members.clear()  # type: ignore[attr-defined]
        # Read to the end of the compressed stream to verify its checksum.
        while limited.read(CHUNK_BYTES):
            pass
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error, OSError, ValueError) as error:
        raise damaged(path, error) from error


def read_zip(path: Path, file: BinaryIO, wanted: Callable[[tuple[str, ...]], bool]) -> Iterator[Member]:
    total_bytes = 0
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            check_count(path, len(entries))
            for entry in entries:
                parts = checked_parts(path, entry.filename)
                if entry.is_dir():
                    yield Member(parts, None, is_folder=True)
                    continue
                if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
                    raise DatasetError(f"{shown(path)}: {shown(entry.filename)} is a link or a device")
                content = None
                if wanted(parts):
                    check_size(path, entry.filename, entry.file_size)
                    total_bytes += entry.file_size
                    if total_bytes > MAX_TOTAL_BYTES:
                        raise DatasetError(f"{shown(path)} unpacks to more than {MAX_TOTAL_BYTES >> 30} GiB")
                    # Reads at most file_size bytes and verifies the CRC.
                    content = archive.read(entry)
                yield Member(parts, content, is_folder=False)
    except (zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error, OSError, RuntimeError, ValueError) as error:
        raise damaged(path, error) from error


def checked_parts(path: Path, name: str) -> tuple[str, ...]:
    """Split a member's path into parts.

    Raises:
        DatasetError: the path is absolute or climbs out of the archive.
    """
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise DatasetError(
            f"{shown(path)}: {shown(name)} would lie outside the archive's folder: do not trust this archive"
        )
    return parts


def check_size(path: Path, name: str, num_bytes: int) -> None:
    if num_bytes > MAX_MEMBER_BYTES:
        raise DatasetError(f"{shown(path)}: {shown(name)} must have at most {MAX_MEMBER_BYTES} bytes, has {num_bytes}")


def check_count(path: Path, num_members: int) -> None:
    if num_members > MAX_MEMBERS:
        raise DatasetError(f"{shown(path)} must have at most {MAX_MEMBERS} members, has more")


def damaged(path: Path, error: BaseException) -> DatasetError:
    return DatasetError(
        f"{shown(path)} is truncated, damaged or not a tar or zip archive ({shown(error)}): get it again"
    )
