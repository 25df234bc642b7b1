"""CIFAR-10, CIFAR-100 and Fashion-MNIST, read from the files their authors publish.

Every file is verified against its published checksum before it is parsed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from engine.base.errors import DatasetError
from engine.data.archives import read_members, shown
from engine.data.cache import Images, ImageSets, Labels, Report
from engine.data.catalog import BUILT_IN

T = TypeVar("T")

DOWNLOAD_LIMIT_SECONDS = 3600.0
MAX_FILE_BYTES = 256 * 2**20
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

# The report's rounded figures, for comparable results.
CIFAR10_NORMALISATION = ((0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616))


@dataclass(frozen=True, slots=True)
class CifarFiles:
    """Files of a CIFAR archive, with the checksums published by its authors and torchvision."""

    folder: str
    archive: str
    archive_sha256: str
    train: Mapping[str, str]
    """MD5 by file name."""
    test: Mapping[str, str]
    meta: Mapping[str, str]
    labels_key: str
    names_key: str

    @property
    def checksums(self) -> dict[str, str]:
        return {**self.train, **self.test, **self.meta}


CIFAR = {
    "cifar10": CifarFiles(
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        archive_sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        train={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        test={"test_batch": "40351d587109b95175f43aff81a1287e"},
        meta={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
        labels_key="labels",
        names_key="label_names",
    ),
    "cifar100": CifarFiles(
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        archive_sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        train={"train": "16019d7e3df5f24257cddd939b257f8d"},
        test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        meta={"meta": "7973b15100ade9c7d40fb424638fde48"},
        labels_key="fine_labels",
        names_key="fine_label_names",
    ),
}

FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""Checksums of the uncompressed files; compression differs between distributors."""

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def read_published(name: str, source: Path) -> ImageSets:
    """Read a built-in dataset from its published files.

    Args:
        name: cifar10, cifar100 or fashion-mnist.
        source: The folder with the files, torchvision's root folder, or CIFAR's .tar.gz archive.

    Raises:
        DatasetError: files are missing or differ from the published ones.
    """
    return read_cifar(name, source) if name in CIFAR else read_fashion_mnist(source)


def installed_source(name: str) -> Path | None:
    """Return where a system package installed a dataset; None if none did."""
    return DEBIAN_FASHION_MNIST if name == "fashion-mnist" and DEBIAN_FASHION_MNIST.is_dir() else None


def download(name: str, folder: Path, limit_seconds: float, report: Report) -> None:
    """Download the published files into a folder, with torchvision in a separate process.

    Raises:
        DatasetError: the server is unreachable or sent other files; the text names the alternatives.
    """
    report(f"downloading {name}")
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "engine.programs.fetch", name, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=limit_seconds,
            check=False,
        )
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = None if done.returncode == 0 else shown(lines[-1]) if lines else f"exit status {done.returncode}"
    except subprocess.TimeoutExpired:
        reason = f"timed out after {limit_seconds:.0f} s"
    if reason is not None:
        raise DatasetError(
            f"{name} cannot be downloaded ({reason}): copy its files here and use "
            f"`depthscope data fetch {name} --from DIR`, or bring in other images with `depthscope data import`"
        )


def read_cifar(name: str, source: Path) -> ImageSets:
    """Read CIFAR-10 or CIFAR-100 from its batches."""
    files = CIFAR[name]
    contents = cifar_contents(files, source)
    for file_name, expected in files.checksums.items():
        # Only MD5 is published for single files. It detects damage; the restricted unpickler guards against malice.
        found = hashlib.md5(contents[file_name], usedforsecurity=False).hexdigest()
        if found != expected:
            raise DatasetError(
                f"{name}: {file_name} in {shown(source)} is not the published file: its MD5 is {found}, expected "
                f"{expected}; get it again"
            )
    train_images, train_labels = cifar_arrays(name, files, [contents[batch] for batch in files.train])
    test_images, test_labels = cifar_arrays(name, files, [contents[batch] for batch in files.test])
    (meta,) = (contents[batch] for batch in files.meta)
    return ImageSets(
        source=BUILT_IN[name].source,
        classes=tuple(unpickle(name, meta)[files.names_key]),
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        normalisation=CIFAR10_NORMALISATION if name == "cifar10" else None,
    )


def cifar_contents(files: CifarFiles, source: Path) -> dict[str, bytes]:
    """Read the batches by name, from a folder or an archive."""
    places = [source, source / files.folder, source / files.archive]
    for place in places:
        if place.is_file():
            return cifar_archive_contents(files, place)
        if place.is_dir() and (place / next(iter(files.test))).is_file():
            return {name: read_file(place / name, lambda path: path.read_bytes()) for name in files.checksums}
    raise DatasetError(
        f"{shown(source)} holds neither {files.folder}/ nor {files.archive}: give the folder that does, "
        "or the archive itself"
    )


def cifar_archive_contents(files: CifarFiles, archive: Path) -> dict[str, bytes]:
    with read_file(archive, lambda path: path.open("rb")) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != files.archive_sha256:
            raise DatasetError(
                f"{shown(archive)} is not the published {files.archive}: its SHA-256 is {found}, expected "
                f"{files.archive_sha256}; get it again"
            )
        file.seek(0)
        wanted = {(files.folder, name) for name in files.checksums}
        members = read_members(archive, file, lambda parts: parts in wanted)
        contents = {member.parts[-1]: member.content for member in members if member.content is not None}
    missing = [name for name in files.checksums if name not in contents]
    if missing:
        raise DatasetError(f"{shown(archive)} lacks {files.folder}/{missing[0]}: get it again")
    return contents


def cifar_arrays(name: str, files: CifarFiles, batches: list[bytes]) -> tuple[Images, Labels]:
    """Concatenate batches into images [N, 32, 32, 3] and labels [N]."""
    images, labels = [], []
    for batch in batches:
        content = unpickle(name, batch)
        planes = content["data"]  # [N, 3072]: red, green and blue planes
        if not isinstance(planes, np.ndarray) or planes.dtype != np.uint8 or planes.shape[1:] != (3072,):
            raise DatasetError(f"{name}: a batch is not a uint8 array of 3072 values per image; get it again")
        images.append(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(np.array(content[files.labels_key], dtype=np.int64))
    return np.concatenate(images), np.concatenate(labels)


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler restricted to dicts, lists, numbers, strings and NumPy arrays, so that nothing runs code."""

    # NumPy's function for rebuilding arrays is private; an array's __reduce__ returns it.
    REBUILD = np.zeros(0).__reduce__()[0]
    PERMITTED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): REBUILD,
        ("numpy._core.multiarray", "_reconstruct"): REBUILD,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.PERMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not permitted") from None


def unpickle(name: str, content: bytes) -> dict[str, Any]:
    """Unpickle a CIFAR batch, written by Python 2.

    Raises:
        DatasetError: the batch contains anything but plain values and arrays, or is not a dict.
    """
    try:
        # latin1, as in torchvision: array bytes are Python 2 strings.
        batch = ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise DatasetError(f"{name}: a batch cannot be read ({shown(error)}); get it again") from error
    if not isinstance(batch, dict):
        raise DatasetError(f"{name}: a batch is not a dict; get it again")
    return batch


def read_fashion_mnist(source: Path) -> ImageSets:
    """Read Fashion-MNIST from its four IDX files, compressed or not; 28×28 grey becomes 32×32 with a black frame."""
    folders = [source, source / "raw", source / "FashionMNIST" / "raw"]
    first = next(iter(FASHION_MNIST_SHA256))
    found = [folder for folder in folders if (folder / first).is_file() or (folder / f"{first}.gz").is_file()]
    if not found:
        raise DatasetError(
            f"{shown(source)} holds neither {first} nor {first}.gz: give the folder with the four IDX files, or "
            "the one that holds FashionMNIST/raw/"
        )
    arrays = {name: read_idx(found[0], name) for name in FASHION_MNIST_SHA256}
    return ImageSets(
        source=BUILT_IN["fashion-mnist"].source,
        classes=FASHION_MNIST_CLASSES,
        train_images=framed(arrays["train-images-idx3-ubyte"]),
        train_labels=arrays["train-labels-idx1-ubyte"].astype(np.int64),
        test_images=framed(arrays["t10k-images-idx3-ubyte"]),
        test_labels=arrays["t10k-labels-idx1-ubyte"].astype(np.int64),
    )


def read_idx(folder: Path, name: str) -> npt.NDArray[np.uint8]:
    """Read one IDX file of bytes and verify its checksum."""
    plain = folder / name
    if plain.is_file():
        content = read_file(plain, lambda path: path.read_bytes())
    else:
        content = read_file(folder / f"{name}.gz", unpacked)
    found = hashlib.sha256(content).hexdigest()
    if found != FASHION_MNIST_SHA256[name]:
        raise DatasetError(
            f"fashion-mnist: {name} in {shown(folder)} is not the published file: its SHA-256 is {found}, "
            f"expected {FASHION_MNIST_SHA256[name]}; get it again"
        )
    # Header: two zero bytes, 8 (uint8), the number of dimensions, then each dimension as a big-endian uint32.
    num_dimensions = content[3]
    start = 4 + 4 * num_dimensions
    shape = np.frombuffer(content[4:start], dtype=">u4").tolist()
    return np.frombuffer(content[start:], dtype=np.uint8).reshape(shape)


def unpacked(path: Path) -> bytes:
    with gzip.open(path) as file:
        return file.read(MAX_FILE_BYTES)


def framed(grey: npt.NDArray[np.uint8]) -> Images:
    """Centre grey images [N, 28, 28] in black RGB images [N, 32, 32, 3]."""
    images = np.zeros((len(grey), 32, 32, 3), dtype=np.uint8)
    images[:, 2:30, 2:30] = grey[..., None]
    return images


def read_file(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DatasetError(f"{shown(path)} cannot be read: {reason}; get it again") from error
