"""Datasets: converted once, found again, refused if damaged."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.base.errors import DatasetError
from engine.base.paths import Home
from engine.data import cache, datasets, synthetic
from engine.data.cache import ImageSets
from engine.data.catalog import BUILT_IN

ARRAYS = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes with three training images and one test image each, every image of one colour."""
    root = tmp_path / "pets"
    for split, num in (("train", 3), ("test", 1)):
        for label, name in enumerate(("cat", "dog")):
            directory = root / split / name
            directory.mkdir(parents=True)
            for index in range(num):
                Image.new("RGB", (32, 32), (100 * label, 10 * index, 7)).save(directory / f"{index}.png")
    return root


@pytest.fixture
def pets(home: Home, folder: Path) -> Home:
    datasets.import_images(home, folder, "pets")
    return home


def test_an_import_comes_back_as_arrays(pets: Home):
    """Classes are sorted by name and images by class and file, so labels and pixels are known exactly."""
    data = datasets.load(pets, "pets")

    assert data.info.classes == ("cat", "dog")
    assert (data.train_images.dtype, data.train_images.shape) == (np.uint8, (6, 32, 32, 3))
    assert data.train_labels.dtype == np.int64
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test_labels.tolist() == [0, 1]
    assert data.train_images[:, 5, 5].tolist() == [[100 * a, 10 * b, 7] for a in (0, 1) for b in (0, 1, 2)]
    assert datasets.describe(pets, "pets") == (6, 2, 2)


def test_loaded_arrays_are_mapped_and_cannot_be_written(pets: Home):
    """Sixty thousand images use no memory until read, and the cache is read-only."""
    data = datasets.load(pets, "pets")

    assert isinstance(data.train_images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        data.train_images[0] = 0


def test_mean_and_std_are_those_of_the_training_images(pets: Home):
    """Normalisation must not use the test set; a constant channel is divided by one."""
    data = datasets.load(pets, "pets")
    values = np.asarray(data.train_images, dtype=np.float64) / 255

    assert data.info.mean == pytest.approx(values.mean((0, 1, 2)), abs=1e-12)
    assert data.info.std[:2] == pytest.approx(values.std((0, 1, 2))[:2], abs=1e-12)
    assert data.info.std[2] == 1.0


def test_everything_is_private_under_a_usual_umask(home: Home, folder: Path):
    """Images are unreadable for other users, whatever the umask."""
    before = os.umask(0o022)
    try:
        datasets.import_images(home, folder, "pets")
    finally:
        os.umask(before)

    for path in [home.data, *home.data.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("file_name", ARRAYS)
def test_a_flipped_byte_is_refused_and_its_file_named(pets: Home, file_name: str):
    """A wrong bit in the data would silently change the experiment."""
    path = pets.data / "pets" / file_name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    expected = f"^pets: {file_name} does not match its checksum; import it again with `depthscope data import`$"
    with pytest.raises(DatasetError, match=expected):
        datasets.load(pets, "pets")
    with pytest.raises(DatasetError, match=expected):
        datasets.verify(pets, "pets")


@pytest.mark.parametrize("file_name", ARRAYS)
def test_a_file_cut_short_or_gone_is_refused_and_named(pets: Home, file_name: str):
    """A full disk or a partly copied home must not crash a worker."""
    path = pets.data / "pets" / file_name
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(DatasetError, match=rf"pets: {file_name} has \d+ bytes, expected \d+; import it again"):
        datasets.load(pets, "pets")

    path.unlink()
    with pytest.raises(DatasetError, match=f"pets: {file_name} cannot be read: No such file or directory"):
        datasets.load(pets, "pets")


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"format": 99}', b"\xff\xfe"])
def test_a_damaged_description_is_refused(pets: Home, content: bytes):
    """dataset.json determines how arrays are read, so a partial one is useless."""
    (pets.data / "pets" / "dataset.json").write_bytes(content)

    with pytest.raises(DatasetError, match=r"^pets: dataset.json is damaged; import it again"):
        datasets.load(pets, "pets")
    (listed,) = [each for each in datasets.list_datasets(pets) if each.name == "pets"]
    assert not listed.cached
    assert listed.problem is not None


def test_a_description_of_another_dataset_is_refused(pets: Home):
    """Otherwise a renamed folder would be used under a wrong name."""
    (pets.data / "pets").rename(pets.data / "birds")

    with pytest.raises(DatasetError, match=r"birds: dataset.json belongs to another dataset \(pets\)"):
        datasets.load(pets, "birds")


def test_a_taken_name_is_refused_without_replace(pets: Home, folder: Path):
    """Runs refer to datasets by name, so they change only on request."""
    for extra in (folder / "train/cat/9.png", folder / "test/cat/9.png"):
        Image.new("RGB", (32, 32)).save(extra)

    with pytest.raises(DatasetError, match=r"dataset pets exists already: choose another --name, or give --replace"):
        datasets.import_images(pets, folder, "pets")
    assert datasets.describe(pets, "pets") == (6, 2, 2)

    datasets.import_images(pets, folder, "pets", replace=True)
    assert datasets.describe(pets, "pets") == (7, 3, 2)
    assert sorted(path.name for path in pets.data.iterdir()) == [".lock", "pets"]


def test_a_damaged_dataset_is_imported_again_without_replace(pets: Home, folder: Path):
    """The remedy in the error message works as written."""
    (pets.data / "pets" / "train_labels.npy").write_bytes(b"")

    datasets.import_images(pets, folder, "pets")

    assert datasets.verify(pets, "pets").num_train == 6


@pytest.mark.parametrize("name", ["", "..", "../pets", "a/b", "Pets", ".lock", "-x", "x" * 65, "a\n", "pets\0"])
def test_a_name_unusable_as_a_file_name_is_refused(home: Home, folder: Path, name: str):
    """A name becomes a path; it must not reach outside the home."""
    with pytest.raises(DatasetError, match="name must be 1 to 64 of a-z"):
        datasets.import_images(home, folder, name)
    with pytest.raises(DatasetError, match="is not known"):
        datasets.describe(home, name)
    assert not home.root.exists()


def test_a_name_of_a_built_in_dataset_is_refused(home: Home, folder: Path):
    """Nothing else may pass for CIFAR-10."""
    with pytest.raises(DatasetError, match="name must not be that of a built-in dataset, got cifar10"):
        datasets.import_images(home, folder, "cifar10", replace=True)


def test_built_in_datasets_are_known_before_their_data(home: Home):
    """Planning happens before downloads, and queries create no directories."""
    assert datasets.describe(home, "cifar10") == (50_000, 10_000, 10)
    assert datasets.describe(home, "cifar100") == (50_000, 10_000, 100)
    assert datasets.describe(home, "fashion-mnist") == (60_000, 10_000, 10)
    assert datasets.describe(home, "synthetic") == (10_000, 2_000, 10)
    assert [each.name for each in datasets.list_datasets(home)] == list(BUILT_IN)
    assert cache.read_info(home, "cifar10") is None
    assert not home.root.exists()


def test_an_unknown_name_is_answered_with_the_known_ones(pets: Home):
    """The error for a typo lists all datasets, including imported ones."""
    expected = (
        "^dataset 'cifar-10' is not known: there are cifar10, cifar100, fashion-mnist, synthetic, pets, the nearest is "
        "cifar10; bring in another with `depthscope data import`$"
    )
    for ask in (datasets.describe, datasets.prepare, datasets.load, datasets.verify):
        with pytest.raises(DatasetError, match=expected):
            ask(pets, "cifar-10")


def test_loading_a_missing_dataset_says_how_to_get_it(home: Home):
    """Workers prepare datasets first; others get an error."""
    with pytest.raises(DatasetError, match=r"cifar10 is not here yet: fetch it with `depthscope data fetch cifar10`"):
        datasets.load(home, "cifar10")


def test_preparing_an_imported_dataset_checks_that_it_is_there(pets: Home):
    """A worker prepares whatever its run names."""
    assert datasets.prepare(pets, "pets").num_train == 6

    (pets.data / "pets" / "train_images.npy").unlink()
    with pytest.raises(DatasetError, match=r"pets: train_images.npy cannot be read"):
        datasets.prepare(pets, "pets")


def test_a_source_is_only_for_what_is_read_from_one(pets: Home, tmp_path: Path):
    """Otherwise --from would be silently ignored."""
    with pytest.raises(DatasetError, match="pets is not one of cifar10, cifar100"):
        datasets.prepare(pets, "pets", source=tmp_path)
    with pytest.raises(DatasetError, match="synthetic is generated, not read from files: leave out --from"):
        datasets.prepare(pets, "synthetic", source=tmp_path)
    with pytest.raises(DatasetError, match="nowhere does not exist: give the folder or archive"):
        datasets.prepare(pets, "cifar10", source=tmp_path / "nowhere")


def test_a_full_disk_leaves_what_was_there(pets: Home, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The old dataset stays usable if the new one does not fit."""

    def no_space(path: Path, array: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_array", no_space)
    with pytest.raises(
        DatasetError, match=r"pets cannot be stored in .*: No space left on device; nothing was changed"
    ):
        datasets.import_images(pets, folder, "pets", replace=True)

    assert datasets.verify(pets, "pets").num_train == 6
    assert sorted(path.name for path in pets.data.iterdir()) == [".lock", "pets"]


KILLED = """
import os, signal, sys
from pathlib import Path
from engine.data import cache, datasets, synthetic
from engine.base.paths import Home

original, function = getattr(cache, sys.argv[3]), sys.argv[3]
calls = 0

def killed(*arguments):
    global calls
    calls += 1
    if calls == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)

setattr(cache, function, killed)
datasets.import_images(Home(Path(sys.argv[1])), Path(sys.argv[2]), "pets", replace=True)
"""


@pytest.mark.parametrize(("function", "call"), [("write_array", 3), ("put_in_place", 1), ("remove", 1)])
@pytest.mark.parametrize("existing", [False, True])
def test_a_killed_conversion_leaves_nothing_half_done(
    home: Home, folder: Path, function: str, call: int, existing: bool
):
    """Killed while writing, before renaming and before cleaning up: old, new or nothing, never a part."""
    if existing:
        datasets.import_images(home, folder, "pets")
    done = subprocess.run([sys.executable, "-c", KILLED, str(home.root), str(folder), function, str(call)], check=False)
    if function == "remove" and not existing:
        assert done.returncode == 0
    else:
        assert done.returncode == -signal.SIGKILL

    present = existing or function == "remove"
    assert (cache.read_info(home, "pets") is not None) == present
    if present:
        datasets.verify(home, "pets")

    datasets.import_images(home, folder, "pets", replace=True)
    datasets.verify(home, "pets")
    assert sorted(path.name for path in home.data.iterdir()) == [".lock", "pets"]


def test_a_dataset_that_was_moved_aside_comes_back(pets: Home, folder: Path):
    """A kill between the two renames of a replacement must not lose the old dataset."""
    (pets.data / "pets").rename(pets.data / ".pets.replaced")

    datasets.import_images(pets, folder, "others")

    datasets.verify(pets, "pets")


def test_two_processes_at_once_convert_once(home: Home):
    """If workers start together, the second waits and uses the first one's result."""
    home.create()
    descriptor = os.open(home.data / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    script = (
        "import sys; from pathlib import Path; from engine.data import datasets; from engine.base.paths import Home; "
        "datasets.prepare(Home(Path(sys.argv[1])), 'synthetic', report=lambda text: print(text, flush=True))"
    )
    command = [sys.executable, "-c", script, str(home.root)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    # Both reach the lock before either continues.
    first_lines = [process.stdout.readline() for process in processes if process.stdout is not None]
    os.close(descriptor)
    said = [process.communicate(timeout=60)[0] for process in processes]

    assert first_lines == ["waiting for another conversion to finish\n"] * 2
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(said) == ["", "generating synthetic\n"]
    assert datasets.verify(home, "synthetic").num_train == 10_000


def test_datasets_need_no_torch():
    """Console and engine import them and must start quickly."""
    script = (
        "import sys, engine.data.datasets, console.commands.data; "
        "print({'torch', 'torchvision', 'textual', 'plotext'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


def test_equal_data_has_an_equal_digest(pets: Home, folder: Path, tmp_path: Path):
    """Runs record it: equal images under another name are the same data, a changed label is not."""
    again = datasets.import_images(pets, folder, "again")
    assert again.digest() == datasets.verify(pets, "pets").digest()

    (folder / "train/cat/0.png").rename(folder / "train/dog/00.png")
    assert datasets.import_images(pets, folder, "other").digest() != again.digest()


def test_synthetic_is_balanced_labelled_and_the_same_everywhere(home: Home):
    """It stands in for datasets that cannot be downloaded, and must be marked as synthetic."""
    said: list[str] = []
    info = datasets.prepare(home, "synthetic", report=said.append)
    data = datasets.load(home, "synthetic")

    assert info.synthetic
    assert "synthetic" in info.source
    assert all(name.startswith("synthetic ") for name in info.classes)
    assert np.bincount(data.train_labels).tolist() == [1000] * 10
    assert np.bincount(data.test_labels).tolist() == [200] * 10
    assert info.digest() == "a403cacc8216834ac46433179aa3b60b60dee715bdddb3ce417bdcd4761e156f"
    datasets.prepare(home, "synthetic", report=said.append)
    assert said == ["generating synthetic"]


def two_images() -> ImageSets:
    images, labels = np.zeros((2, 32, 32, 3), dtype=np.uint8), np.array([0, 1])
    return ImageSets("test", ("a", "b"), images, labels, images, labels, normalisation=((0.1,) * 3, (0.2,) * 3))


def test_repair_converts_again_what_is_damaged(home: Home, monkeypatch: pytest.MonkeyPatch):
    """`data fetch` repairs what `data verify` reports."""
    monkeypatch.setattr(synthetic, "draw", two_images)
    datasets.prepare(home, "synthetic")
    path = home.data / "synthetic" / "test_labels.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert datasets.prepare(home, "synthetic") is not None
    with pytest.raises(DatasetError, match="fetch it again with `depthscope data fetch synthetic`"):
        datasets.verify(home, "synthetic")

    datasets.prepare(home, "synthetic", repair=True)

    datasets.verify(home, "synthetic")


def test_stored_sets_keep_the_normalisation_they_came_with(home: Home):
    """CIFAR-10 is normalised with the report's figures, so that results are comparable."""
    home.create()

    assert cache.store(home, "x", two_images()).mean == (0.1, 0.1, 0.1)
    assert datasets.load(home, "x").info.std == (0.2, 0.2, 0.2)
