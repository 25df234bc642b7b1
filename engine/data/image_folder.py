"""Image folders named after their classes, like torchvision's ImageFolder, from a directory or an archive.

Layout: train/<class>/<image> and test/<class>/<image>, optionally under one top folder. Classes and their images are
sorted by name, so the order in an archive does not matter. As in torchvision, EXIF orientation is left alone.
"""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from engine.base.errors import DatasetError
from engine.data.archives import check_size, read_members, shown
from engine.data.cache import Images, ImageSets, Labels, Report
from engine.data.image_files import SPLITS, FolderWalk, Found, LeftOut, Place, decoders, format_name, place_of

SIDE = 32
MAX_PIXELS = 2**25
MAX_IMAGES = 1_000_000
# Modes that Pillow converts to RGB without loss; it would clip 16-bit and float images.
MODES = frozenset({"1", "CMYK", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "YCbCr"})
# Pillow releases the GIL while decoding but not while opening, so more threads gain nothing.
NUM_THREADS = 2
BATCH_IMAGES = 256
BATCH_BYTES = 2**23
MAX_BATCHES_UNDER_WAY = 8
REPORT_EVERY_IMAGES = 20_000

KNOWN_ARCHIVES = {"e82212b8f8580e3e79f41a32c7db0e6a5b8fb10188d1723b706e150379c98be9": "CIFAR-10 (JPEG)"}
"""Names of well-known archives by SHA-256."""
POINTERS = {
    b"version https://git-lfs.github.com/spec/": "get it with `git lfs pull`",
    b"/annex/objects/": "get it with `git annex get`",
}
"""How files begin that stand for an image stored elsewhere, and how to get it."""


class Content(io.BytesIO):
    """Content of a file that shows as its name in Pillow's messages."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self._name = name

    def __repr__(self) -> str:
        return self._name


class Entry(NamedTuple):
    """An image file, or a class folder (content None)."""

    place: Place
    path: str
    content: bytes | None


def read_images(
    path: Path, *, resize: bool, sha256: str | None, report: Report, skip_broken: bool = False
) -> ImageSets:
    """Read all images of a directory or an archive.

    Args:
        path: A folder, or a tar or zip archive of one.
        resize: Stretch images of other sizes to 32×32; otherwise they are refused.
        sha256: Expected SHA-256 of the archive, in hexadecimal; None looks for a SHA256SUMS file beside it.
        report: Called with a line of text on progress, and for each kind of file that is left out.
        skip_broken: Leave out links that lead nowhere; otherwise they are refused.

    Raises:
        DatasetError: the path does not exist, a checksum is wrong, the archive is damaged, an image is unreadable or of
            another size, or train/ and test/ do not have the same classes.
    """
    left_out = LeftOut()
    if path.is_dir():
        if sha256 is not None:
            raise DatasetError(f"{shown(path)} is a folder: --sha256 is for an archive")
        origin = path.resolve().name
        named = None
        found = FolderWalk(path, left_out, skip_broken=skip_broken).find()
        sets = collect(path, folder_entries(path, found), left_out, resize=resize, report=report)
    elif path.is_file():
        with open_archive(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            check_digest(path, digest, sha256)
            file.seek(0)
            origin = path.name
            named = KNOWN_ARCHIVES.get(digest)
            entries = archive_entries(path, file, left_out)
            sets = collect(path, entries, left_out, resize=resize, report=report)
    elif path.exists():
        raise DatasetError(f"{shown(path)} is neither a folder nor an archive")
    else:
        raise DatasetError(f"{shown(path)} does not exist: give a folder with train/ and test/, or an archive of it")
    kind = named or f"{sets.source} images"
    return replace(sets, source=f"{kind}, imported from {shown(origin)}")


def open_archive(path: Path) -> io.BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise DatasetError(f"{shown(path)} cannot be read: {error.strerror}") from error


def check_digest(path: Path, found: str, given: str | None) -> None:
    """Check an archive's SHA-256 against the given one and against a SHA256SUMS file beside it."""
    expected = {"--sha256": given.strip().lower()} if given is not None else {}
    try:
        lines = (path.parent / "SHA256SUMS").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        digest, _, name = line.partition(" ")
        if name.strip().removeprefix("*").removeprefix("./") == path.name:
            expected["SHA256SUMS"] = digest.lower()
    for where, digest in expected.items():
        if digest != found:
            raise DatasetError(
                f"{shown(path)} does not match its checksum: SHA-256 is {found}, {where} says {shown(digest)}; "
                "get the archive again"
            )


def archive_entries(path: Path, file: io.BufferedReader, left_out: LeftOut) -> Iterator[Entry]:
    for member in read_members(path, file, lambda parts: place_of(parts, is_folder=False) is not None):
        place = place_of(member.parts, is_folder=member.is_folder)
        if place is not None:
            yield Entry(place, "/".join(member.parts), member.content)
        elif not member.is_folder and member.parts:
            left_out.add_file(member.parts)


def folder_entries(root: Path, found: Iterable[Found]) -> Iterator[Entry]:
    try:
        for parts, is_folder in found:
            place = place_of(parts, is_folder=is_folder)
            assert place is not None, f"{parts} was taken"
            if is_folder:
                yield Entry(place, "/".join(parts), None)
                continue
            image = Path(root, *parts)
            check_size(root, "/".join(parts), image.stat().st_size)
            yield Entry(place, "/".join(parts), image.read_bytes())
    except OSError as error:
        raise DatasetError(f"{shown(error.filename or root)} cannot be read: {error.strerror}") from error


def collect(path: Path, entries: Iterable[Entry], left_out: LeftOut, *, resize: bool, report: Report) -> ImageSets:
    """Decode entries in threads and sort them; the result's `source` is their format.

    Args:
        left_out: What is left out, complete after the last entry.
    """
    decoded: dict[Place, Images] = {}
    folders: set[Place] = set()
    under_way: deque[Future[dict[Place, Images]]] = deque()
    batch: list[Entry] = []
    batch_bytes = 0
    seen: set[Place] = set()

    with ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="decode") as pool:
        for place, name, content in entries:
            folders.add(place._replace(file=""))
            if content is None:
                continue
            if place in seen:
                raise DatasetError(f"{shown(path)} holds {shown(name)} twice: make the archive again")
            seen.add(place)
            if len(seen) > MAX_IMAGES:
                raise DatasetError(f"{shown(path)} must hold at most {MAX_IMAGES} images, holds more")
            if len(seen) % REPORT_EVERY_IMAGES == 0:
                report(f"{len(seen)} images read")
            batch.append(Entry(place, name, content))
            batch_bytes += len(content)
            if len(batch) == BATCH_IMAGES or batch_bytes > BATCH_BYTES:
                under_way.append(pool.submit(decode_batch, path, batch, resize))
                batch, batch_bytes = [], 0
            while len(under_way) > MAX_BATCHES_UNDER_WAY:
                decoded |= under_way.popleft().result()
        under_way.append(pool.submit(decode_batch, path, batch, resize))
        for future in under_way:
            decoded |= future.result()

    # Before the layout is checked: what is left out may be why a class is empty.
    for line in left_out.lines():
        report(line)
    classes = check_layout(path, folders, decoded)
    train_images, train_labels = in_order(decoded, "train", classes)
    test_images, test_labels = in_order(decoded, "test", classes)
    names = sorted({format_name(Path(place.file).suffix) for place in decoded})
    return ImageSets(" and ".join(names), classes, train_images, train_labels, test_images, test_labels)


def decode_batch(path: Path, batch: list[Entry], resize: bool) -> dict[Place, Images]:
    return {entry.place: decode(path, entry, resize=resize) for entry in batch}


def decode(path: Path, entry: Entry, *, resize: bool) -> Images:
    """Decode one image to uint8 [32, 32, 3].

    Raises:
        DatasetError: the image is unreadable, or has another size and `resize` is off; the text names its path.
    """
    where = f"{shown(path)}: {shown(entry.path)}"
    try:
        suffix = Path(entry.place.file).suffix
        with Image.open(Content(entry.content or b"", entry.path), formats=decoders(suffix)) as image:
            width, height = image.size
            if not resize and (width, height) != (SIDE, SIDE):
                raise DatasetError(f"{where} must be {SIDE}×{SIDE} pixels, is {width}×{height}: --resize stretches it")
            if width * height > MAX_PIXELS:
                raise DatasetError(f"{where} must have at most {MAX_PIXELS} pixels, has {width}×{height}")
            if image.mode not in MODES:
                raise DatasetError(f"{where} has pixels of type {image.mode}: convert it to 8 bits a channel")
            # Avoids Pillow's warning about palette transparency, which is irrelevant here.
            image.info.pop("transparency", None)
            colours = image.convert("RGB")
            if colours.size != (SIDE, SIDE):
                colours = colours.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            return np.asarray(colours)
    except DatasetError:
        raise
    except Exception as error:
        # On arbitrary bytes a decoder may raise anything, including struct.error and KeyError.
        for begin, remedy in POINTERS.items():
            if (entry.content or b"").startswith(begin):
                raise DatasetError(f"{where} is a pointer to an image that is not here: {remedy}") from error
        raise DatasetError(f"{where} is not a readable image ({shown(error)}): replace or remove it") from error


def check_layout(path: Path, folders: set[Place], images: Iterable[Place]) -> tuple[str, ...]:
    """Check that every class has images in both sets, and return the classes, sorted.

    Raises:
        DatasetError: the layout is different; the text says how.
    """
    here = shown(path)
    tops = sorted({place.top for place in folders})
    if len(tops) > 1:
        raise DatasetError(f"{here} must hold one train/ and test/, has them in {' and '.join(t or '.' for t in tops)}")
    classes = {split: {place.class_name for place in folders if place.split == split} for split in SPLITS}
    for split in SPLITS:
        if not classes[split]:
            raise DatasetError(
                f"{here} has no {split}/<class>/ folder: images belong in train/<class>/ and test/<class>/"
            )
    filled = {(place.split, place.class_name) for place in images}
    for name in sorted(classes["train"] | classes["test"]):
        if not name.isprintable():
            raise DatasetError(f"{here}: class {shown(name)!r} has characters that cannot be shown: rename its folder")
        for split, other in (SPLITS, SPLITS[::-1]):
            if name not in classes[split]:
                raise DatasetError(
                    f"{here}: class {shown(name)!r} is in {other}/ but not in {split}/: it needs images in both"
                )
            if (split, name) not in filled:
                raise DatasetError(
                    f"{here}: {split}/{shown(name)} holds no images that Pillow reads: fill or remove it"
                )
    if len(classes["train"]) < 2:
        raise DatasetError(f"{here} must have at least 2 classes, has {len(classes['train'])}")
    return tuple(sorted(classes["train"]))


def in_order(decoded: dict[Place, Images], split: str, classes: tuple[str, ...]) -> tuple[Images, Labels]:
    """Stack the images [N, 32, 32, 3] and labels [N] of one set, sorted by class, then by file name."""
    places = sorted(place for place in decoded if place.split == split)
    index = {name: label for label, name in enumerate(classes)}
    images = np.empty((len(places), SIDE, SIDE, 3), dtype=np.uint8)
    for position, place in enumerate(places):
        images[position] = decoded[place]
    return images, np.array([index[place.class_name] for place in places], dtype=np.int64)
