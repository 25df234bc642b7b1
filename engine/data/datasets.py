"""Datasets: uint8 images [N, 32, 32, 3] and int64 labels [N], converted and checked once, then memory-mapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.base.errors import DatasetError
from engine.base.paths import Home
from engine.data import synthetic
from engine.data.archives import shown
from engine.data.cache import (
    ARRAYS,
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
from engine.data.catalog import BUILT_IN, check_new_name, damaged_dataset, is_name, unknown_dataset
from engine.data.image_folder import read_images
from engine.data.sources import DOWNLOAD_LIMIT_SECONDS, download, installed_source, read_published
from engine.spec.run import DataSpec


@dataclass(frozen=True, slots=True)
class Dataset:
    """A converted dataset; its arrays are read-only and memory-mapped."""

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
    """Summary of a dataset for listings."""

    name: str
    built_in: bool
    cached: bool
    """Whether it is converted and complete; other built-in datasets are fetched when a run needs them."""
    source: str
    synthetic: bool
    num_train: int | None
    """None, like the next two, if dataset.json cannot be read."""
    num_test: int | None
    num_classes: int | None
    num_bytes: int
    """Size on disk."""
    problem: str | None = None
    """What is wrong with the files; None if nothing is."""


def ignore(_text: str) -> None:
    """Discard progress reports."""


def intact_info(home: Home, name: str, check: Callable[[Home, DatasetInfo], None]) -> DatasetInfo | None:
    """Read the info of a dataset whose files pass a check; None otherwise."""
    try:
        info = read_info(home, name)
        if info is not None:
            check(home, info)
    except DatasetError:
        return None
    return info


def list_datasets(home: Home) -> list[ListedDataset]:
    """List the built-in datasets, then the imported ones by name; reads no arrays, creates no directories."""
    return [listed(home, name) for name in [*BUILT_IN, *imported_names(home)]]


def imported_names(home: Home) -> list[str]:
    """List the names of imported datasets, including damaged ones, sorted."""
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
            problem = str(damaged_dataset(name, "dataset.json is missing"))
    except DatasetError as error:
        problem = str(error)
    known = BUILT_IN.get(name) or info
    return ListedDataset(
        name=name,
        built_in=name in BUILT_IN,
        cached=info is not None and problem is None,
        source=known.source if known is not None else "unknown",
        synthetic=known is not None and known.synthetic,
        num_train=known.num_train if known is not None else None,
        num_test=known.num_test if known is not None else None,
        num_classes=known.num_classes if known is not None else None,
        num_bytes=sum(path.stat().st_size for path in (home.data / name).glob("*") if path.is_file()),
        problem=problem,
    )


def describe(home: Home, name: str) -> tuple[int, int, int]:
    """Return the numbers of training images, test images and classes; a built-in dataset need not be converted yet.

    Raises:
        DatasetError: the dataset is unknown or its dataset.json is damaged.
    """
    known = BUILT_IN.get(name) or read_info(home, name)
    if known is None:
        raise unknown_dataset(name, [*BUILT_IN, *imported_names(home)])
    return known.num_train, known.num_test, known.num_classes


def prepare(
    home: Home,
    name: str,
    *,
    source: Path | None = None,
    repair: bool = False,
    limit_seconds: float = DOWNLOAD_LIMIT_SECONDS,
    report: Report = ignore,
) -> DatasetInfo:
    """Fetch and convert a dataset unless it is complete already.

    Args:
        name: A built-in or imported dataset.
        source: Folder or archive with the published files of a built-in dataset; None looks for files installed by a
            system package, then downloads.
        repair: Also verify checksums and convert again if the dataset is damaged.
        limit_seconds: Time limit of a download.
        report: Called with a line of text for each stage.

    Raises:
        DatasetError: the dataset is unknown, its source is missing, wrong or unreachable, or the disk is full.
        UsageError: the home is not writable.
    """
    if name not in BUILT_IN and source is not None:
        raise DatasetError(
            f"{shown(name)} is not one of {', '.join(BUILT_IN)}: bring in other images with `depthscope data import`"
        )
    if name == "synthetic" and source is not None:
        raise DatasetError("synthetic is generated, not read from files: leave out --from")
    check = check_content if repair else check_sizes
    if (info := intact_info(home, name, check)) is not None:
        return info
    if name not in BUILT_IN:
        # Raises unless an imported dataset has a dataset.json.
        describe(home, name)
    if source is not None and not source.exists():
        raise DatasetError(f"{shown(source)} does not exist: give the folder or archive with the files of {name}")
    with conversion_lock(home, report):
        # Another process may have converted it while we waited for the lock.
        if (info := intact_info(home, name, check)) is not None:
            return info
        if name not in BUILT_IN:
            verify(home, name)
        return store(home, name, read_built_in(home, name, source, limit_seconds, report))


def read_built_in(home: Home, name: str, source: Path | None, limit_seconds: float, report: Report) -> ImageSets:
    if name == "synthetic":
        report("generating synthetic")
        return synthetic.draw()
    source = source or installed_source(name)
    if source is not None:
        report(f"converting {name} from {shown(source)}")
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
    skip_broken: bool = False,
    report: Report = ignore,
) -> DatasetInfo:
    """Convert a folder or archive of images into a dataset; writes nothing unless every image is valid.

    Args:
        path: A folder with train/<class>/ and test/<class>/, or a tar or zip archive of one, which is read as a stream.
        replace: Allow replacing an existing dataset; a damaged one is always replaced.
        resize: Stretch images of other sizes to 32×32; otherwise they are refused.
        sha256: Expected SHA-256 of the archive; None looks for a SHA256SUMS file beside it.
        skip_broken: Leave out links that lead nowhere; otherwise they are refused.
        report: Called with a line of text for each stage and each kind of file that is left out.

    Raises:
        DatasetError: the name is invalid or taken, or the images are unusable.
        UsageError: the home is not writable.
    """
    check_new_name(name)
    with conversion_lock(home, report):
        if not replace and intact_info(home, name, check_content) is not None:
            raise DatasetError(f"dataset {name} exists already: choose another --name, or give --replace")
        images = read_images(path, resize=resize, sha256=sha256, report=report, skip_broken=skip_broken)
        return store(home, name, images)


def verify(home: Home, name: str) -> DatasetInfo:
    """Verify a converted dataset against its checksums.

    Raises:
        DatasetError: the dataset is unknown, not converted or damaged; the text names a damaged file.
    """
    info = converted_info(home, name)
    check_content(home, info)
    return info


def converted_info(home: Home, name: str) -> DatasetInfo:
    """Describe a converted dataset.

    Raises:
        DatasetError: the dataset is unknown, not converted or damaged.
    """
    info = read_info(home, name)
    if info is None:
        describe(home, name)
        raise DatasetError(f"{name} is not here yet: fetch it with `depthscope data fetch {name}`")
    return info


def load(home: Home, name: str, *, verify: bool = True) -> Dataset:
    """Memory-map a converted dataset.

    Args:
        verify: Verify checksums first, about half a second for 60,000 images.

    Raises:
        DatasetError: the dataset is unknown, not converted or damaged; the text names a damaged file.
    """
    info = converted_info(home, name)
    if verify:
        check_content(home, info)
    return Dataset(info, **{array: map_array(home, info, array) for array in ARRAYS})


SUBSET_SEED = 1512
VALIDATION_SEED = 3385
"""Of the images held out for validation, so that they are not those of a small training subset."""


def balanced_subset(
    labels: Labels, num: int, num_classes: int, *, name: str = "train_images", seed: int = SUBSET_SEED
) -> Labels:
    """Choose a class-balanced subset, the same on every call and every machine.

    A remainder goes to the first classes; what a small class lacks is taken from the others. For each class, a smaller
    selection is contained in a larger one.

    Args:
        labels: int64, [N].
        num: Size of the subset.
        num_classes: Number of classes; labels are in 0..num_classes-1.
        name: Name of the size in errors.
        seed: Determines the images chosen of each class.

    Returns:
        Indices, int64, [num], sorted.

    Raises:
        DatasetError: num is not in 1..N.
    """
    if num > len(labels):
        raise DatasetError(f"{name} must be at most {len(labels)} (all there are), got {num}")
    if num < 1:
        raise DatasetError(f"{name} must be at least 1, got {num}")
    held = np.bincount(labels, minlength=num_classes)
    taken = np.zeros_like(held)
    while (missing := num - int(taken.sum())) > 0:
        (open_classes,) = np.nonzero(taken < held)
        share, rest = divmod(missing, len(open_classes))
        wanted = np.full(len(open_classes), share)
        wanted[:rest] += 1
        taken[open_classes] = np.minimum(held[open_classes], taken[open_classes] + wanted)
    # NumPy guarantees only a bit generator's raw stream across versions.
    keys = np.random.PCG64(seed).random_raw(len(labels))
    chosen = []
    for label, num_taken in enumerate(taken.tolist()):
        (members,) = np.nonzero(labels == label)
        chosen.append(members[np.argsort(keys[members], kind="stable")[:num_taken]])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def split(labels: Labels, data: DataSpec, num_classes: int) -> tuple[Labels, Labels]:
    """Choose a run's training and validation images, which have none in common.

    The validation images come first, so they depend on their number alone; the training subset is chosen of the rest.

    Args:
        labels: Of the whole training set, int64, [N].
        data: Gives both sizes.
        num_classes: Number of classes.

    Returns:
        Indices of the training and of the validation images, int64, sorted.

    Raises:
        DatasetError: a size is larger than what there is.
    """
    left = np.arange(len(labels), dtype=np.int64)
    held_out = left[:0]
    if data.validation_images is not None:
        held_out = balanced_subset(
            labels, data.validation_images, num_classes, name="validation_images", seed=VALIDATION_SEED
        )
        left = np.setdiff1d(left, held_out, assume_unique=True)
    if data.train_images is not None:
        left = left[balanced_subset(labels[left], data.train_images, num_classes, name="train_images")]
    return left, held_out
