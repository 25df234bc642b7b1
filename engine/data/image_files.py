"""Image files below a folder: which are taken, and what is left out, counted by kind."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from engine.base.errors import DatasetError
from engine.data.archives import check_count, shown

SPLITS = ("train", "test")
COMMON = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats found under wrong suffixes; any other is only read under its own, because decoders have had holes."""
NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Formats that Pillow only identifies, or decodes with another program."""
NAMES = {"JPEG2000": "JPEG 2000", "WEBP": "WebP"}
"""Names of formats where Pillow's are not the usual ones."""
LITTER = frozenset({".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory", "__macosx"})
"""Files and folders of file managers, left out without a word."""
NO_FORMAT = "not supported"


class Place(NamedTuple):
    """Position of an image in the layout; `file` is empty for a class folder."""

    top: str
    split: str
    class_name: str
    """In NFC: file systems and archives differ in how they write accents."""
    file: str


class Found(NamedTuple):
    """A file or folder below a folder, by its relative path."""

    parts: tuple[str, ...]
    is_folder: bool


@cache
def formats() -> dict[str, str]:
    """Pillow's name of the format by suffix, for everything that it decodes by itself."""
    from PIL import Image

    Image.init()
    # A file of MPO is opened by the decoder of JPEG.
    found = {suffix: name for suffix, name in Image.registered_extensions().items() if name in (*Image.OPEN, "MPO")}
    return {suffix: name for suffix, name in found.items() if name not in NOT_DECODED}


def decoders(suffix: str) -> tuple[str, ...]:
    """Formats that a file with a suffix may have."""
    own = formats()[suffix.lower()]
    return tuple(dict.fromkeys((*COMMON, "JPEG" if own == "MPO" else own)))


def format_name(suffix: str) -> str:
    """Usual name of the format of a suffix."""
    name = formats()[suffix.lower()]
    return NAMES.get(name, name)


def place_of(parts: tuple[str, ...], *, is_folder: bool) -> Place | None:
    """Parse a path; None if it is neither an image nor a class folder."""
    first = 0 if parts and parts[0] in SPLITS else 1
    if len(parts) < first + 2 or parts[first] not in SPLITS:
        return None
    if any(part.startswith(".") or is_litter(part) for part in parts):
        return None
    top, rest = "/".join(parts[:first]), parts[first + 2 :]
    name = unicodedata.normalize("NFC", parts[first + 1])
    if is_folder:
        return Place(top, parts[first], name, "")
    if not rest or Path(rest[-1]).suffix.lower() not in formats():
        return None
    return Place(top, parts[first], name, "/".join(rest))


def is_litter(name: str) -> bool:
    """Whether file managers make files or folders of this name."""
    return name.lower() in LITTER or name.startswith("._")


class LeftOut:
    """What is not taken, by kind and reason, each with one example."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], str] = {}
        self._folders: set[str] = set()

    def add(self, parts: tuple[str, ...], kind: str, reason: str) -> None:
        """Count a file or folder.

        Args:
            kind: In the singular, such as ".tiff file".
            reason: Why it is left out.
        """
        self._counts[kind, reason] += 1
        path = "/".join(parts)
        # The first by name, as the order in an archive means nothing.
        self._examples[kind, reason] = min(path, self._examples.get((kind, reason), path))

    def add_file(self, parts: tuple[str, ...]) -> None:
        """Count a file that is not an image of a class, or the hidden folder that it is in."""
        if any(map(is_litter, parts)):
            return
        for index, part in enumerate(parts[:-1]):
            if part.startswith("."):
                self.add_hidden_folder(parts[: index + 1])
                return
        first = 0 if parts[0] in SPLITS else 1
        if len(parts) < first + 3 or parts[first] not in SPLITS:
            self.add(parts, "file", "outside train/<class>/ and test/<class>/")
        elif parts[-1].startswith("."):
            self.add(parts, "file", "hidden")
        else:
            suffix = Path(parts[-1]).suffix.lower()
            self.add(parts, f"{suffix} file" if suffix else "file without suffix", NO_FORMAT)

    def add_hidden_folder(self, parts: tuple[str, ...]) -> None:
        """Count a folder whose name begins with a dot, once."""
        path = "/".join(parts)
        if path not in self._folders:
            self._folders.add(path)
            self.add(parts, "folder", "its name begins with a dot")

    def lines(self) -> list[str]:
        """A line for each kind and reason: 2 .xyz files left out: not supported (train/cat/0.xyz)."""
        return [
            f"{num} {shown(plural(kind, num))} left out: {reason} ({shown(self._examples[kind, reason])})"
            for (kind, reason), num in sorted(self._counts.items())
        ]


def plural(kind: str, num: int) -> str:
    """Kind in the plural unless there is one: file without suffix, files without suffix."""
    if num == 1:
        return kind
    for noun in ("file", "folder", "link"):
        if noun in kind.split():
            return " ".join(f"{word}s" if word == noun else word for word in kind.split())
    return f"{kind}s"


class FolderWalk:
    """Files and class folders below a folder, sorted, following links within train/ and test/.

    Args:
        root: The folder.
        left_out: Counts what is not taken.
        skip_broken: Leave out links that lead nowhere instead of refusing them.
    """

    def __init__(self, root: Path, left_out: LeftOut, *, skip_broken: bool) -> None:
        self._root = root
        self._left_out = left_out
        self._skips_broken = skip_broken
        self._broken: list[tuple[str, ...]] = []
        self._num_seen = 0

    def find(self) -> list[Found]:
        """List the images and class folders.

        Raises:
            DatasetError: a folder cannot be read, or a link leads nowhere.
        """
        try:
            found = list(self._below((), ()))
        except OSError as error:
            raise DatasetError(f"{shown(error.filename or self._root)} cannot be read: {error.strerror}") from error
        if self._broken and not self._skips_broken:
            links = "1 link leads" if len(self._broken) == 1 else f"{len(self._broken)} links lead"
            raise DatasetError(
                f"{shown(self._root)}: {links} nowhere, such as {shown('/'.join(self._broken[0]))}:"
                " get what they stand for (dvc pull, git annex get), or leave them out with --skip-broken"
            )
        for parts in self._broken:
            self._left_out.add(parts, "link", "leads nowhere")
        return found

    def _below(self, parts: tuple[str, ...], around: tuple[tuple[int, int], ...]) -> Iterator[Found]:
        status = os.stat(Path(self._root, *parts))  # noqa: PTH116
        around = (*around, (status.st_dev, status.st_ino))
        with os.scandir(Path(self._root, *parts)) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            self._num_seen += 1
            check_count(self._root, self._num_seen)
            below = (*parts, entry.name)
            if is_litter(entry.name):
                continue
            if entry.is_dir():
                yield from self._folder(entry, below, around)
            elif entry.is_file():
                if place_of(below, is_folder=False) is not None:
                    yield Found(below, is_folder=False)
                else:
                    self._left_out.add_file(below)
            elif entry.is_symlink():
                self._add_broken(below)
            else:
                self._left_out.add(below, "file", "neither a file nor a folder")

    def _folder(
        self, entry: os.DirEntry[str], parts: tuple[str, ...], around: tuple[tuple[int, int], ...]
    ) -> Iterator[Found]:
        status = entry.stat()
        if entry.name.startswith("."):
            self._left_out.add_hidden_folder(parts)
        elif (status.st_dev, status.st_ino) in around:
            self._left_out.add(parts, "link", "leads to a folder that contains it")
        elif parts[0] in SPLITS or (len(parts) > 1 and parts[1] in SPLITS) or self._is_top(entry, parts):
            first = 0 if parts[0] in SPLITS else 1
            if len(parts) == first + 2:
                yield Found(parts, is_folder=True)
            yield from self._below(parts, around)
        else:
            self._left_out.add(parts, "folder", "outside train/ and test/")

    def _is_top(self, entry: os.DirEntry[str], parts: tuple[str, ...]) -> bool:
        """Whether a folder holds train/ or test/, as most archives have one around both."""
        return len(parts) == 1 and any(Path(entry.path, split).is_dir() for split in SPLITS)

    def _add_broken(self, parts: tuple[str, ...]) -> None:
        """Count a link that leads nowhere, as broken only if an image or a folder of images may be missing."""
        first = 0 if parts[0] in SPLITS else 1
        in_layout = len(parts) > first + 1 and parts[first] in SPLITS and not any(p.startswith(".") for p in parts)
        suffix = Path(parts[-1]).suffix.lower()
        if in_layout and (not suffix or suffix in formats() or len(parts) == first + 2):
            self._broken.append(parts)
        else:
            self._left_out.add_file(parts)
