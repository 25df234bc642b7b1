"""Any source becomes uint8 images [N, 32, 32, 3] and int64 labels [N]: checked, converted once, mapped from then on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.base.errors import DatasetError
from engine.base.paths import Home
from engine.data import synthetic
from engine.data.archives import shown
from engine.data.cache import (
    DatasetInfo,
    Images,
    ImageSets,
    Labels,
    Report,
    check_content,
    check_sizes,
    conversion_lock,
    map_array,
    read_info,
    staging_directory,
    store,
)
from engine.data.catalog import BUILT_IN, check_new_name, get_again, is_name, unknown_dataset
from engine.data.image_folder import read_images
from engine.data.sources import DOWNLOAD_LIMIT_SECONDS, download, installed_source, read_published

__all__ = [
    "BUILT_IN",
    "Dataset",
    "DatasetInfo",
    "ListedDataset",
    "balanced_subset",
    "dataset_info",
    "describe",
    "import_images",
    "list_datasets",
    "load",
    "prepare",
    "verify",
]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A converted dataset; the arrays are read-only and mapped from its files."""

    info: DatasetInfo
    train_images: Images
    """uint8, [N, 32, 32, 3]."""
    train_labels: Labels
    """int64, [N]."""
    test_images: Images
    """uint8, [M, 32, 32, 3]."""
    test_labels: Labels
    """int64, [M]."""


@dataclass(frozen=True, slots=True)
class ListedDataset:
    """A dataset as a list shows it."""

    name: str
    built_in: bool
    cached: bool
    """Whether it is converted and complete; a built-in one that is not is fetched when a run needs it."""
    source: str
    synthetic: bool
    num_train: int | None
    """None where dataset.json cannot be read; so are the next two."""
    num_test: int | None
    num_classes: int | None
    num_bytes: int
    """On disk; 0 where nothing is."""
    problem: str | None = None
    """What is wrong with what is on disk; None for nothing."""


def ignore(_text: str) -> None:
    """Where nobody wants to be told."""


def dataset_info(home: Home, name: str) -> DatasetInfo | None:
    """What is known of a converted dataset; None where it is not converted, or there is none of the name.

    Raises:
        DatasetError: its dataset.json is damaged.
    """
    return read_info(home, name)


def complete_info(home: Home, name: str) -> DatasetInfo | None:
    """The info of a dataset all files of which are there at full length; None for any other."""
    try:
        info = read_info(home, name)
        if info is not None:
            check_sizes(home, info)
    except DatasetError:
        return None
    return info


def list_datasets(home: Home) -> list[ListedDataset]:
    """The built-in datasets, then the imported ones by name; reads no array and makes no directory."""
    imported = set(imported_names(home))
    return [listed(home, name) for name in [*BUILT_IN, *sorted(imported)]]


def imported_names(home: Home) -> list[str]:
    """Names of imported datasets, damaged ones included."""
    try:
        folders = [path.name for path in home.data.iterdir() if path.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in folders if is_name(name) and name not in BUILT_IN)


def listed(home: Home, name: str) -> ListedDataset:
    problem: str | None = None
    info: DatasetInfo | None = None
    try:
        info = read_info(home, name)
        if info is not None:
            check_sizes(home, info)
        elif (home.data / name).is_dir():
            problem = f"{name}: dataset.json is missing; {get_again(name)}"
    except DatasetError as error:
        problem = str(error)
    known = BUILT_IN.get(name)
    return ListedDataset(
        name=name,
        built_in=known is not None,
        cached=info is not None and problem is None,
        source=known.source if known is not None else info.source if info is not None else "unknown",
        synthetic=known.synthetic if known is not None else info is not None and info.synthetic,
        num_train=known.num_train if known is not None else info.num_train if info is not None else None,
        num_test=known.num_test if known is not None else info.num_test if info is not None else None,
        num_classes=known.num_classes if known is not None else len(info.classes) if info is not None else None,
        num_bytes=sum(path.stat().st_size for path in (home.data / name).glob("*") if path.is_file()),
        problem=problem,
    )


def describe(home: Home, name: str) -> tuple[int, int, int]:
    """Training images, test images and classes of a dataset; built-in ones need not be here yet.

    Raises:
        DatasetError: there is no dataset of the name, or its dataset.json is damaged.
    """
    known = BUILT_IN.get(name)
    if known is not None:
        return known.num_train, known.num_test, known.num_classes
    info = read_info(home, name)
    if info is None:
        raise unknown_dataset(name, [*BUILT_IN, *imported_names(home)])
    return info.num_train, info.num_test, len(info.classes)


def prepare(
    home: Home,
    name: str,
    *,
    source: Path | None = None,
    repair: bool = False,
    limit_seconds: float = DOWNLOAD_LIMIT_SECONDS,
    report: Report | None = None,
) -> DatasetInfo:
    """Have a dataset converted, doing what is missing for that; what is there already stays.

    Args:
        home: Where it is kept.
        name: A built-in dataset, or an imported one.
        source: A folder or archive with the published files of a built-in one; None downloads them (files that a
            system package has installed are found first).
        repair: Also compare what is there with its checksums, and convert it again where it is damaged.
        limit_seconds: How long a download may take.
        report: Told in words what is under way.

    Raises:
        DatasetError: there is no such dataset, its source is missing, wrong or cannot be reached, or the disk is full.
        UsageError: the home cannot be written.
    """
    say = report or ignore
    if name not in BUILT_IN and source is not None:
        raise DatasetError(
            f"{shown(name)} is not one of {', '.join(BUILT_IN)}: bring in other images with `depthscope data import`"
        )
    if name == "synthetic" and source is not None:
        raise DatasetError("synthetic is drawn, not read: leave --from out")
    info = sound_info(home, name) if repair else complete_info(home, name)
    if info is not None:
        return info
    if name not in BUILT_IN:
        # Raises unless it is an imported dataset that has a dataset.json.
        describe(home, name)
    if source is not None and not source.exists():
        raise DatasetError(f"{shown(str(source))} does not exist: give the folder or archive with the files of {name}")
    with conversion_lock(home, say):
        # Another process may have converted it while this one waited.
        info = sound_info(home, name) if repair else complete_info(home, name)
        if info is not None:
            return info
        if name not in BUILT_IN:
            verify(home, name)
        return store(home, name, read_built_in(home, name, source, limit_seconds, say))


def sound_info(home: Home, name: str) -> DatasetInfo | None:
    """The info of a dataset whose files all match their checksums; None for any other."""
    info = complete_info(home, name)
    try:
        if info is not None:
            check_content(home, info)
    except DatasetError:
        return None
    return info


def read_built_in(home: Home, name: str, source: Path | None, limit_seconds: float, report: Report) -> ImageSets:
    if name == "synthetic":
        report("drawing synthetic")
        return synthetic.draw()
    source = source or installed_source(name)
    if source is not None:
        report(f"converting {name} from {shown(str(source))}")
        return read_published(name, source)
    with staging_directory(home, name) as folder:
        download(name, folder, limit_seconds, report)
        report(f"converting {name}")
        return read_published(name, folder)


def import_images(
    home: Home,
    path: Path,
    name: str,
    *,
    replace: bool = False,
    resize: bool = False,
    sha256: str | None = None,
    report: Report | None = None,
) -> DatasetInfo:
    """Convert a folder of images, or an archive of one, to a dataset; nothing is written unless all of it is sound.

    Args:
        home: Where it is kept.
        path: A folder with train/<class>/ and test/<class>/, or a tar or zip archive of it, which is not extracted.
        name: What it will be called.
        replace: Whether it may take the place of a dataset of the same name; a damaged one it always may.
        resize: Stretch images of other sizes to 32×32; otherwise they are refused.
        sha256: What the archive's SHA-256 must be; None asks a SHA256SUMS beside it, if there is one.
        report: Told in words what is under way.

    Raises:
        DatasetError: the name cannot be used or is taken, or the images are not as they should be.
        UsageError: the home cannot be written.
    """
    say = report or ignore
    check_new_name(name)
    with conversion_lock(home, say):
        if not replace and sound_info(home, name) is not None:
            raise DatasetError(f"dataset {name} exists already: choose another --name, or give --replace")
        return store(home, name, read_images(path, resize=resize, sha256=sha256, report=say))


def verify(home: Home, name: str) -> DatasetInfo:
    """Compare a converted dataset with its checksums.

    Raises:
        DatasetError: it is unknown, not converted or damaged; a damaged file is named.
    """
    info = read_info(home, name)
    if info is None:
        describe(home, name)
        raise DatasetError(f"{name} is not here yet: fetch it with `depthscope data fetch {name}`")
    check_content(home, info)
    return info


def load(home: Home, name: str, *, verify: bool = True) -> Dataset:
    """Map a converted dataset.

    Args:
        home: Where it is kept.
        name: What it is called.
        verify: Compare every file with its checksum first, about half a second for 60,000 images.

    Raises:
        DatasetError: it is unknown, not converted or damaged; a damaged file is named.
    """
    info = read_info(home, name)
    if info is None:
        describe(home, name)
        raise DatasetError(f"{name} is not here yet: fetch it with `depthscope data fetch {name}`")
    if verify:
        check_content(home, info)
    return Dataset(
        info=info,
        train_images=map_array(home, info, "train_images"),
        train_labels=map_array(home, info, "train_labels"),
        test_images=map_array(home, info, "test_images"),
        test_labels=map_array(home, info, "test_labels"),
    )


SUBSET_SEED = 1512


def balanced_subset(labels: Labels, num: int, num_classes: int, *, what: str = "train_images") -> Labels:
    """Indices of a subset with equally many images of every class, the same at every call and on every machine.

    What does not divide goes to the first classes, and what a small class lacks to the others. A smaller subset with
    as many of a class lies within a larger one.

    Args:
        labels: int64, [N].
        num: Size of the subset.
        num_classes: Labels are in 0..num_classes-1.
        what: What the size is called in an error.

    Returns:
        int64, [num], sorted.

    Raises:
        DatasetError: num is not in 1..N.
    """
    if num > len(labels):
        raise DatasetError(f"{what} must be at most {len(labels)} (all there are), got {num}")
    if num < 1:
        raise DatasetError(f"{what} must be at least 1, got {num}")
    held = np.bincount(labels, minlength=num_classes)
    taken = np.zeros_like(held)
    while (missing := num - int(taken.sum())) > 0:
        (open_classes,) = np.nonzero(taken < held)
        share, rest = divmod(missing, len(open_classes))
        wanted = np.full(len(open_classes), share)
        wanted[:rest] += 1
        taken[open_classes] = np.minimum(held[open_classes], taken[open_classes] + wanted)
    # Only the raw stream of a bit generator is promised never to change with numpy's version.
    keys = np.random.PCG64(SUBSET_SEED).random_raw(len(labels))
    chosen = []
    for label, num_taken in enumerate(taken.tolist()):
        (members,) = np.nonzero(labels == label)
        chosen.append(members[np.argsort(keys[members], kind="stable")[:num_taken]])
    return np.sort(np.concatenate(chosen)).astype(np.int64)
