"""Built-in datasets from published files: verified first, then parsed as untrusted."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.base.errors import DatasetError
from engine.base.paths import Home
from engine.data import datasets, sources
from engine.data.sources import CIFAR, FASHION_MNIST_SHA256

NUM = 6


def batch(seed: int, **labels: list[int]) -> bytes:
    data = np.random.default_rng(seed).integers(0, 256, (NUM, 3072), dtype=np.uint8)
    return pickle.dumps({"data": data, **labels}, protocol=4)


@pytest.fixture
def cifar10(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Six batches of six images and their class names, accepted as the published ones."""
    files = {name: batch(seed, labels=[0, 1, 2, 3, 4, seed]) for seed, name in enumerate(CIFAR["cifar10"].train)}
    files["test_batch"] = batch(9, labels=[9] * NUM)
    files["batches.meta"] = pickle.dumps({"label_names": [f"name{index}" for index in range(10)]}, protocol=2)
    trust(monkeypatch, "cifar10", files)
    return files


def trust(monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes]) -> None:
    """Accept other contents as the published files."""
    known = CIFAR[name]
    sums = {file: hashlib.md5(content).hexdigest() for file, content in files.items()}
    monkeypatch.setitem(
        CIFAR,
        name,
        dataclasses.replace(
            known,
            archive_sha256=hashlib.sha256(archive_of(known.folder, files)).hexdigest(),
            **{part: {file: sums[file] for file in getattr(known, part)} for part in ("train", "test", "meta")},
        ),
    )


def archive_of(folder: str, files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            header = tarfile.TarInfo(f"{folder}/{name}")
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_cifar10_is_read_from_its_folder_its_root_and_its_archive(
    home: Home, tmp_path: Path, cifar10: dict[str, bytes]
):
    """All these forms of the data give the same dataset."""
    folder = write(tmp_path / "root" / "cifar-10-batches-py", cifar10)
    packed = write(tmp_path / "packed", {"cifar-10-python.tar.gz": archive_of("cifar-10-batches-py", cifar10)})
    digests = set()
    for number, source in enumerate([folder, folder.parent, packed, packed / "cifar-10-python.tar.gz"]):
        here = Home(tmp_path / f"home{number}")
        digests.add(datasets.prepare(here, "cifar10", source=source).digest())

    assert len(digests) == 1
    data = datasets.load(Home(tmp_path / "home0"), "cifar10")
    assert data.train_labels.tolist() == [label for seed in range(5) for label in [0, 1, 2, 3, 4, seed]]
    assert data.info.classes[:2] == ("name0", "name1")
    red = np.random.default_rng(0).integers(0, 256, (NUM, 3072), dtype=np.uint8)[0, :1024].reshape(32, 32)
    assert np.array_equal(data.train_images[0, :, :, 0], red)


def test_cifar10_is_normalised_by_the_figures_of_the_report(home: Home, tmp_path: Path, cifar10: dict[str, bytes]):
    """Results are compared with the report's, so inputs are normalised the same way."""
    info = datasets.prepare(home, "cifar10", source=write(tmp_path / "cifar-10-batches-py", cifar10))

    assert (info.mean, info.std) == ((0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616))


def test_cifar100_takes_the_fine_labels(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A hundred classes, not the twenty coarse ones; its own mean."""
    files = {
        "train": batch(1, fine_labels=[99, 98, 97, 96, 95, 94], coarse_labels=[0] * NUM),
        "test": batch(2, fine_labels=[1] * NUM, coarse_labels=[0] * NUM),
        "meta": pickle.dumps({"fine_label_names": [str(index) for index in range(100)], "coarse_label_names": []}),
    }
    trust(monkeypatch, "cifar100", files)
    datasets.prepare(home, "cifar100", source=write(tmp_path / "cifar-100-python", files))
    data = datasets.load(home, "cifar100")

    assert data.train_labels.tolist() == [99, 98, 97, 96, 95, 94]
    assert len(data.info.classes) == 100
    assert data.info.mean == pytest.approx(data.train_images.mean((0, 1, 2)) / 255, abs=1e-12)


def test_another_file_than_the_published_one_is_not_parsed(
    home: Home, tmp_path: Path, cifar10: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    """Pickles can execute code, so the hash is checked first."""
    monkeypatch.setattr(sources, "unpickle", lambda *_: pytest.fail("parsed"))
    cifar10["data_batch_3"] += b"x"
    folder = write(tmp_path / "cifar-10-batches-py", cifar10)
    with pytest.raises(
        DatasetError, match=r"cifar10: data_batch_3 in .* is not the published file: its MD5 is .*; get"
    ):
        datasets.prepare(home, "cifar10", source=folder)

    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(archive_of("cifar-10-batches-py", cifar10))
    with pytest.raises(DatasetError, match=r"is not the published cifar-10-python.tar.gz: its SHA-256 is .*; get it"):
        datasets.prepare(home, "cifar10", source=archive)
    assert [path.name for path in home.data.iterdir()] == [".lock"]


def python2_pickle(pixels: bytes) -> bytes:
    """{"data": uint8 [1, 3072], "labels": [7]} as pickled by Python 2 and NumPy of 2009, with byte strings."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    content = b"T" + len(pixels).to_bytes(4, "little") + pixels
    state = b"(K\x01K\x01M\x00\x0c\x86" + dtype + b"\x89" + content + b"tb"
    return b"\x80\x02}(U\x04data" + array + state + b"U\x06labels]K\x07au."


def test_batches_are_read_as_python_2_pickled_them(
    home: Home, tmp_path: Path, cifar10: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    """The published files are from 2009; NumPy's modules have moved since."""
    pixels = np.random.default_rng(0).integers(0, 256, 3072, dtype=np.uint8)
    cifar10["test_batch"] = python2_pickle(pixels.tobytes())
    trust(monkeypatch, "cifar10", cifar10)
    datasets.prepare(home, "cifar10", source=write(tmp_path / "cifar-10-batches-py", cifar10))
    data = datasets.load(home, "cifar10")

    assert data.test_labels.tolist() == [7]
    assert np.array_equal(data.test_images[0].transpose(2, 0, 1).ravel(), pixels)


class Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/depthscope-test-malice",)


@pytest.mark.parametrize("content", [pickle.dumps(Malice()), b"", b"garbage", pickle.dumps([1]), pickle.dumps(print)])
def test_a_pickle_that_is_more_than_arrays_runs_nothing(
    home: Home, tmp_path: Path, cifar10: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, content: bytes
):
    """MD5 can be forged, so even matching files must be harmless."""
    cifar10["data_batch_1"] = content
    trust(monkeypatch, "cifar10", cifar10)
    with pytest.raises(DatasetError, match=r"cifar10: a batch (cannot be read|is not a dict)"):
        datasets.prepare(home, "cifar10", source=write(tmp_path / "cifar-10-batches-py", cifar10))
    assert not Path("/tmp/depthscope-test-malice").exists()


def test_a_folder_without_the_files_says_what_is_looked_for(home: Home, tmp_path: Path, cifar10: dict[str, bytes]):
    """A wrong --from never falls back to a download."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        DatasetError, match=r"empty holds neither cifar-10-batches-py/ nor cifar-10-python.tar.gz: give"
    ):
        datasets.prepare(home, "cifar10", source=tmp_path / "empty")
    with pytest.raises(DatasetError, match="empty holds neither train-images-idx3-ubyte nor"):
        datasets.prepare(home, "fashion-mnist", source=tmp_path / "empty")

    del cifar10["data_batch_5"]
    with pytest.raises(DatasetError, match="data_batch_5 cannot be read: No such file or directory"):
        datasets.prepare(home, "cifar10", source=write(tmp_path / "cifar-10-batches-py", cifar10))


@pytest.fixture
def idx(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four IDX files of four images, accepted as the published ones."""
    files = {}
    for name in FASHION_MNIST_SHA256:
        shape = (4, 28, 28) if "images" in name else (4,)
        values = np.full(shape, 200) if "images" in name else np.arange(4)
        header = bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">u4").tobytes()
        files[name] = header + values.astype(np.uint8).tobytes()
        monkeypatch.setitem(FASHION_MNIST_SHA256, name, hashlib.sha256(files[name]).hexdigest())
    return files


def test_fashion_mnist_is_read_in_every_layout(tmp_path: Path, idx: dict[str, bytes]):
    """Debian's package has .gz files, torchvision's root plain ones in FashionMNIST/raw; all give the same."""
    packed = {f"{name}.gz": gzip.compress(content) for name, content in idx.items()}
    debian = write(tmp_path / "debian", packed)
    raw = write(tmp_path / "root" / "FashionMNIST" / "raw", idx)
    digests = {
        datasets.prepare(Home(tmp_path / f"home{number}"), "fashion-mnist", source=source).digest()
        for number, source in enumerate([debian, raw, raw.parent, raw.parent.parent])
    }

    assert len(digests) == 1


def test_grey_images_stand_in_a_black_frame(home: Home, tmp_path: Path, idx: dict[str, bytes]):
    """28×28 becomes 32×32 without resizing, and grey becomes three equal channels."""
    datasets.prepare(home, "fashion-mnist", source=write(tmp_path / "raw", idx))
    data = datasets.load(home, "fashion-mnist")

    assert (data.train_images[:, 2:30, 2:30] == 200).all()
    assert int(data.train_images.astype(np.int64).sum()) == 4 * 28 * 28 * 3 * 200
    assert data.train_labels.tolist() == [0, 1, 2, 3]


def test_a_wrong_or_cut_idx_file_is_refused_and_named(home: Home, tmp_path: Path, idx: dict[str, bytes]):
    """The uncompressed content is checked, since compression differs between distributors."""
    name = "t10k-labels-idx1-ubyte"
    wrong = write(tmp_path / "wrong", idx | {name: idx[name][:-1] + b"\x09"})
    with pytest.raises(DatasetError, match=f"fashion-mnist: {name} in .*wrong is not the published file: its SHA-256"):
        datasets.prepare(home, "fashion-mnist", source=wrong)

    packed = {f"{each}.gz": gzip.compress(content) for each, content in idx.items()}
    packed[f"{name}.gz"] = packed[f"{name}.gz"][:-5]
    with pytest.raises(DatasetError, match=rf"{name}\.gz cannot be read: Compressed file ended"):
        datasets.prepare(home, "fashion-mnist", source=write(tmp_path / "cut", packed))


def test_installed_files_are_used_before_a_download(
    home: Home, tmp_path: Path, idx: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    """Debian's package dataset-fashion-mnist makes the download unnecessary."""
    monkeypatch.setattr(sources, "DEBIAN_FASHION_MNIST", write(tmp_path / "debian", idx))
    said: list[str] = []

    datasets.prepare(home, "fashion-mnist", report=said.append)

    assert said == [f"converting fashion-mnist from {tmp_path / 'debian'}"]


def test_a_failed_download_names_alternatives(home: Home, monkeypatch: pytest.MonkeyPatch):
    """A cluster node may have no network; the error says so, and nothing is left behind."""
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(DatasetError) as caught:
        datasets.prepare(home, "cifar10")

    assert "cifar10 cannot be downloaded (" in str(caught.value)
    assert "Connection refused" in str(caught.value)
    assert "`depthscope data fetch cifar10 --from DIR`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in home.data.iterdir()] == [".lock"]


def test_a_download_that_takes_too_long_is_given_up(home: Home):
    """A server that sends a byte per minute must not hold the lock forever."""
    with pytest.raises(DatasetError, match=r"cifar100 cannot be downloaded \(timed out after 0 s\)"):
        datasets.prepare(home, "cifar100", limit_seconds=0.01)


def test_what_was_downloaded_is_converted_and_not_kept_twice(
    home: Home, cifar10: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
):
    """The archive is as large as the arrays and deleted once they exist."""

    def place(name: str, folder: Path, limit_seconds: float, report: object) -> None:
        (folder / CIFAR[name].archive).write_bytes(archive_of(CIFAR[name].folder, cifar10))

    monkeypatch.setattr(datasets, "download", place)
    datasets.prepare(home, "cifar10")

    assert datasets.verify(home, "cifar10").num_train == 30
    assert sorted(path.name for path in home.data.iterdir()) == [".lock", "cifar10"]
