"""Converted datasets on disk: memory-mapped arrays with checksums.

A rename makes a complete dataset appear at once. Writers hold one lock; readers need none.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import tokenize
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from engine.base.decoding import Count, Real, decode_json
from engine.base.errors import FULL, PRUNE_ADVICE, DatasetError
from engine.base.locks import locked
from engine.base.paths import Home, open_private, sync_directory
from engine.base.regular_files import open_regular, read_regular, reading_regular
from engine.data.catalog import damaged_dataset, is_name

FORMAT = 1
MAX_INFO_BYTES = 16 << 20
"""Of dataset.json, most of which is names of classes."""
IMAGE_SHAPE = (32, 32, 3)
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
STAGING_SUFFIX = ".tmp"
REPLACED_SUFFIX = ".replaced"
HISTOGRAM_CHUNK_IMAGES = 4096

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Channels = tuple[Real, Real, Real]
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ImageSets:
    """Images and labels read from a source, in memory and not yet stored."""

    source: str
    """Description and origin."""
    classes: tuple[str, ...]
    train_images: Images
    """[N, 32, 32, 3]."""
    train_labels: Labels
    """[N], indices into classes."""
    test_images: Images
    """[M, 32, 32, 3]."""
    test_labels: Labels
    """[M]."""
    synthetic: bool = False
    normalisation: tuple[Channels, Channels] | None = None
    """Mean and standard deviation for normalisation; None computes those of the training set."""


class ArrayFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Expected size and checksum of a file."""

    num_bytes: Count
    sha256: str


class DatasetInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of dataset.json."""

    format: Count = FORMAT
    name: str
    source: str
    """Description and origin."""
    synthetic: bool
    """Whether it was generated; its errors say nothing about photographs."""
    classes: tuple[str, ...]
    num_train: Count
    num_test: Count
    mean: Channels
    """Mean subtracted from each channel (red, green, blue; values in 0..1)."""
    std: Channels
    """Standard deviation each channel is then divided by."""
    files: dict[str, ArrayFile]
    """The four arrays by file name."""
    sha256: str | None = None
    """Checksum over all other fields; None in files written by older versions."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def own_digest(self) -> str:
        """Compute SHA-256 over all fields but `sha256`, which covers the normalisation too."""
        return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(self, sha256=None))).hexdigest()

    def digest(self) -> str:
        """Compute SHA-256 over the arrays' checksums: equal for equal images and labels."""
        lines = "".join(f"{self.files[f'{array}.npy'].sha256}  {array}\n" for array in ARRAYS)
        return hashlib.sha256(lines.encode()).hexdigest()


@contextmanager
def conversion_lock(home: Home, report: Report) -> Iterator[None]:
    """Hold the lock on conversions, and clean up after interrupted ones.

    Raises:
        UsageError: the home cannot be created or is not writable.
    """
    home.create()
    with locked(home.data / ".lock", on_wait=lambda: report("waiting for another conversion to finish")):
        clear_leftovers(home)
        yield


def clear_leftovers(home: Home) -> None:
    """Remove leftovers of interrupted conversions, and restore a dataset that was moved aside but not replaced."""
    for leftover in home.data.glob(f".*{STAGING_SUFFIX}"):
        remove(leftover)
    for aside in home.data.glob(f".*{REPLACED_SUFFIX}"):
        final = home.data / aside.name.removeprefix(".").removesuffix(REPLACED_SUFFIX)
        if final.exists():
            remove(aside)
        else:
            aside.rename(final)


def remove(path: Path) -> None:
    """Remove a directory and its contents, or a link to one."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


@contextmanager
def staging_directory(home: Home, name: str) -> Iterator[Path]:
    """Create a temporary directory beside the datasets; after a crash, the next conversion removes it."""
    path = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=STAGING_SUFFIX, dir=home.data))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def store(home: Home, name: str, sets: ImageSets) -> DatasetInfo:
    """Write a dataset, replacing an existing one; the caller holds the lock.

    Raises:
        DatasetError: the disk is full or the write failed; an existing dataset is left unchanged.
    """
    mean, std = sets.normalisation or channel_statistics(sets.train_images)
    try:
        with staging_directory(home, name) as staging:
            files = {f"{array}.npy": write_array(staging / f"{array}.npy", getattr(sets, array)) for array in ARRAYS}
            info = DatasetInfo(
                name=name,
                source=sets.source,
                synthetic=sets.synthetic,
                classes=sets.classes,
                num_train=len(sets.train_labels),
                num_test=len(sets.test_labels),
                mean=mean,
                std=std,
                files=files,
            )
            info = msgspec.structs.replace(info, sha256=info.own_digest())
            with os.fdopen(open_private(staging / "dataset.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(info)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            sync_directory(staging)
            put_in_place(staging, home.data / name)
    except OSError as error:
        advice = f": {PRUNE_ADVICE}" if error.errno in FULL else ""
        raise DatasetError(
            f"{name} cannot be stored in {home.data}: {error.strerror}; nothing was changed{advice}"
        ) from error
    return info


def put_in_place(staging: Path, final: Path) -> None:
    """Rename a complete dataset into place, moving an existing one aside until then."""
    aside = final.with_name(f".{final.name}{REPLACED_SUFFIX}")
    if final.exists():
        final.rename(aside)
    staging.rename(final)
    sync_directory(final.parent)
    if aside.exists():
        remove(aside)


def write_array(path: Path, array: npt.NDArray[Any]) -> ArrayFile:
    """Write an array to a new private file, flush it to disk, and return its size and checksum."""
    with os.fdopen(open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL), "wb+") as file:
        contiguous = np.ascontiguousarray(array)
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(contiguous))
        # np.save loses the reason of a partial write.
        file.write(contiguous.data)
        file.flush()
        os.fsync(file.fileno())
        num_bytes = file.tell()
        file.seek(0)
        return ArrayFile(num_bytes, hashlib.file_digest(file, "sha256").hexdigest())


def channel_statistics(images: Images) -> tuple[Channels, Channels]:
    """Compute each channel's mean and standard deviation, of values in 0..1, in integers up to the last division.

    A constant channel gets a standard deviation of 1, so that it normalises to zero.
    """
    histograms = np.zeros((3, 256), dtype=np.int64)
    for first in range(0, len(images), HISTOGRAM_CHUNK_IMAGES):
        chunk = images[first : first + HISTOGRAM_CHUNK_IMAGES]
        for channel in range(3):
            histograms[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    means, deviations = [], []
    for counts in histograms.tolist():
        num = sum(counts)
        total = sum(value * count for value, count in enumerate(counts))
        squares = sum(value * value * count for value, count in enumerate(counts))
        means.append(total / (255 * num))
        spread = num * squares - total * total
        deviations.append(float(np.sqrt(spread / num**2)) / 255 if spread else 1.0)
    return (means[0], means[1], means[2]), (deviations[0], deviations[1], deviations[2])


def read_info(home: Home, name: str) -> DatasetInfo | None:
    """Read a dataset's dataset.json; None if nothing is stored under the name.

    Raises:
        DatasetError: dataset.json is damaged or has an unknown format.
    """
    if not is_name(name):
        return None
    try:
        content = read_regular(home.data / name / "dataset.json", limit=MAX_INFO_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise DatasetError(f"{error.filename} cannot be read ({error.strerror}): is this home yours?") from error
    except OSError as error:
        raise damaged_dataset(name, f"dataset.json cannot be read: {error.strerror}") from error
    try:
        info = decode_json(content, DatasetInfo)
    except msgspec.DecodeError as error:
        raise damaged_dataset(name, "dataset.json is damaged") from error
    if info.sha256 is not None and info.sha256 != info.own_digest():
        raise damaged_dataset(name, "dataset.json does not match its checksum")
    if info.format != FORMAT:
        raise damaged_dataset(name, f"format {info.format} is not supported (expected {FORMAT})")
    if info.name != name or set(info.files) != {f"{array}.npy" for array in ARRAYS}:
        raise damaged_dataset(name, f"dataset.json belongs to another dataset ({info.name})")
    return info


def size_of(path: Path) -> int:
    """Size of a regular file.

    Raises:
        OSError: the path is something else, or cannot be opened.
    """
    descriptor = open_regular(path)
    try:
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def check_sizes(home: Home, info: DatasetInfo) -> None:
    """Check that every array file exists with its full size.

    Raises:
        DatasetError: a file is missing or truncated; the text names it.
    """
    for file_name, expected in info.files.items():
        try:
            found = size_of(home.data / info.name / file_name)
        except OSError as error:
            raise damaged_dataset(info.name, f"{file_name} cannot be read: {error.strerror}") from error
        if found != expected.num_bytes:
            raise damaged_dataset(info.name, f"{file_name} has {found} bytes, expected {expected.num_bytes}")


def check_content(home: Home, info: DatasetInfo) -> None:
    """Verify every array file's checksum, about half a second for 60,000 images.

    Raises:
        DatasetError: a file is missing, truncated or changed; the text names it.
    """
    check_sizes(home, info)
    for file_name, expected in info.files.items():
        with reading_regular(home.data / info.name / file_name) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected.sha256:
            raise damaged_dataset(info.name, f"{file_name} does not match its checksum")


def map_array(home: Home, info: DatasetInfo, array: str) -> npt.NDArray[Any]:
    """Memory-map one array of a dataset, read-only.

    Raises:
        DatasetError: the file is not the array described by dataset.json.
    """
    is_train, is_images = array.startswith("train"), array.endswith("images")
    num = info.num_train if is_train else info.num_test
    shape, dtype = ((num, *IMAGE_SHAPE), np.uint8) if is_images else ((num,), np.int64)
    path = home.data / info.name / f"{array}.npy"
    try:
        size_of(path)
        mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, SyntaxError, tokenize.TokenError) as error:
        raise damaged_dataset(info.name, f"{path.name} is not a NumPy array") from error
    if mapped.shape != shape or mapped.dtype != dtype:
        raise damaged_dataset(
            info.name, f"{path.name} holds {mapped.dtype} {mapped.shape}, expected {np.dtype(dtype)} {shape}"
        )
    return mapped
