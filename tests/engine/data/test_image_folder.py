"""Importing images: accepted layouts, their order, and errors."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.base.errors import DatasetError
from engine.base.paths import Home
from engine.data import archives, datasets

Files = dict[str, bytes]


def picture(colour: tuple[int, int, int] = (1, 2, 3), size: tuple[int, int] = (32, 32), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def noise(seed: int) -> bytes:
    """Create an image that hardly compresses."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def files() -> Files:
    return {
        f"{split}/{name}/{index}.png": noise(len(f"{split}{name}") * 100 + ord(name[0]) + index)
        for split, num in (("train", 4), ("test", 2))
        for name in ("cat", "dog")
        for index in range(num)
    }


def write_folder(root: Path, files: Files) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def tar_bytes(files: Files, *headers: tarfile.TarInfo) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
        for header in headers:
            tar.addfile(header)
    return file.getvalue()


def write_tar(path: Path, files: Files, *headers: tarfile.TarInfo) -> Path:
    path.write_bytes(tar_bytes(files, *headers))
    return path


def write_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def refused(home: Home, path: Path, **options: object) -> str:
    """Return an import's error; check that it is one line and nothing was written."""
    with pytest.raises(DatasetError) as caught:
        datasets.import_images(home, path, "pets", **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    assert [entry.name for entry in home.data.iterdir()] == [".lock"]
    return text


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_of_any_compression_gives_what_the_folder_gives(
    home: Home, tmp_path: Path, files: Files, compress: Callable[[bytes], bytes]
):
    """The container must not affect the images."""
    expected = datasets.import_images(home, write_folder(tmp_path / "tree", files), "tree").digest()
    archive = tmp_path / "archive"
    archive.write_bytes(compress(tar_bytes(files)))

    assert datasets.import_images(home, archive, "tar").digest() == expected
    assert datasets.import_images(home, write_zip(tmp_path / "a.zip", files), "zip").digest() == expected


def test_the_order_in_an_archive_does_not_matter(home: Home, tmp_path: Path, files: Files):
    """tar stores files in disk order, so archives of one folder may differ in order only."""
    shuffled = list(files.items())
    random.Random(1).shuffle(shuffled)
    in_order = datasets.import_images(home, write_tar(tmp_path / "a.tar", files), "a")
    out_of_order = datasets.import_images(home, write_tar(tmp_path / "b.tar", dict(shuffled)), "b")

    assert in_order.digest() == out_of_order.digest()


@pytest.mark.parametrize("prefix", ["./", "pets/", "./pets/"])
def test_a_top_folder_is_looked_through(home: Home, tmp_path: Path, files: Files, prefix: str):
    """Most archives have one."""
    plain = datasets.import_images(home, write_tar(tmp_path / "a.tar", files), "a")
    inside = {f"{prefix}{name}": content for name, content in files.items()}

    assert datasets.import_images(home, write_tar(tmp_path / "b.tar", inside), "b").digest() == plain.digest()
    folder = write_folder(tmp_path / "tree", inside)
    assert datasets.import_images(home, folder, "c").digest() == plain.digest()


def test_files_other_than_images_are_skipped(home: Home, tmp_path: Path, files: Files):
    """File managers leave their own files in folders."""
    plain = datasets.import_images(home, write_tar(tmp_path / "a.tar", files), "a")
    litter = {
        "README.txt": b"x",
        "train/cat/.DS_Store": b"x",
        "train/cat/._0.png": b"x",
        "__MACOSX/train/a/b.png": b"x",
    }

    assert datasets.import_images(home, write_tar(tmp_path / "b.tar", files | litter), "b").digest() == plain.digest()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "cannot identify"), (b"GIF89a" + b"x" * 99, "cannot identify"), (noise(0)[:900], "truncated|broken")],
)
def test_an_unreadable_image_is_named(home: Home, tmp_path: Path, files: Files, content: bytes, words: str):
    """The user has to find one bad file among fifty thousand."""
    files["train/dog/bad.png"] = content

    text = refused(home, write_folder(tmp_path / "tree", files))
    assert "tree: train/dog/bad.png is not a readable image (" in text
    assert any(word in text for word in words.split("|"))


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.4, 0.9])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_truncated_archive_is_refused(
    home: Home, tmp_path: Path, files: Files, compress: Callable[[bytes], bytes], fraction: float
):
    """A partial download must not become a smaller dataset."""
    content = compress(tar_bytes(files))
    archive = tmp_path / "cut.tar"
    archive.write_bytes(content[: int(len(content) * fraction)])
    text = refused(home, archive)

    assert "cut.tar is truncated, damaged or not a tar or zip archive" in text
    assert text.endswith("get it again")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_that_lacks_its_last_bytes_is_refused(
    home: Home, tmp_path: Path, files: Files, compress: Callable[[bytes], bytes]
):
    """All images are present, but their checksum is missing."""
    archive = tmp_path / "cut.tar"
    archive.write_bytes(compress(tar_bytes(files))[:-4])

    assert "is truncated" in refused(home, archive)


def test_a_tar_cut_between_two_files_is_refused(home: Home, tmp_path: Path, files: Files):
    """tarfile accepts the end of the file as the end of the archive; only an end marker is valid."""
    archive = write_tar(tmp_path / "cut.tar", files)
    with tarfile.open(archive) as tar:
        last = tar.getmembers()[-2]
    archive.write_bytes(archive.read_bytes()[: last.offset])

    assert "is truncated" in refused(home, archive)


def test_a_damaged_header_within_an_archive_is_refused(home: Home, tmp_path: Path, files: Files):
    """tarfile silently stops there, and the remaining images would be missing."""
    archive = write_tar(tmp_path / "bad.tar", files)
    with tarfile.open(archive) as tar:
        last = tar.getmembers()[-1]
    content = bytearray(archive.read_bytes())
    content[last.offset] ^= 0x55
    archive.write_bytes(content)

    assert "damaged" in refused(home, archive)


def test_a_truncated_or_damaged_zip_is_refused(home: Home, tmp_path: Path, files: Files):
    """A truncated one lacks its directory; a wrong byte fails the member's checksum."""
    archive = write_zip(tmp_path / "a.zip", files)
    content = archive.read_bytes()
    archive.write_bytes(content[:-100])
    assert "is truncated" in refused(home, archive)

    archive.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    assert "damaged" in refused(home, archive)


def link(kind: bytes) -> tarfile.TarInfo:
    header = tarfile.TarInfo("train/cat/evil.png")
    header.type = kind
    header.linkname = "/etc/passwd"
    return header


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused_by_name(home: Home, tmp_path: Path, files: Files, kind: bytes):
    """An archive of images has no use for them."""
    text = refused(home, write_tar(tmp_path / "a.tar", files, link(kind)))

    assert "a.tar: train/cat/evil.png is a link, a device or sparse" in text


@pytest.mark.parametrize("name", ["/train/cat/x.png", "../train/cat/x.png", "train/cat/../../../x.png"])
def test_paths_out_of_an_archive_are_refused_by_name(home: Home, tmp_path: Path, files: Files, name: str):
    """Nothing is ever extracted, but such an archive is malicious."""
    for archive in (
        write_tar(tmp_path / "a.tar", {name: picture()} | files),
        write_zip(tmp_path / "a.zip", {name: picture()} | files),
    ):
        assert f"{name} would lie outside the archive's folder" in refused(home, archive)


def test_a_link_in_a_zip_is_refused(home: Home, tmp_path: Path, files: Files):
    """Zip has links too, in its Unix attributes."""
    archive = write_zip(tmp_path / "a.zip", files)
    with zipfile.ZipFile(archive, "a") as file:
        entry = zipfile.ZipInfo("train/cat/evil.png")
        entry.external_attr = 0o120777 << 16
        file.writestr(entry, "/etc/passwd")

    assert "train/cat/evil.png is a link or a device" in refused(home, archive)


def test_an_archive_that_unpacks_to_too_much_is_refused(
    home: Home, tmp_path: Path, files: Files, monkeypatch: pytest.MonkeyPatch
):
    """A small download can contain a terabyte of zeros; number, size and total of members are limited."""
    archive = tmp_path / "a.tar.xz"
    archive.write_bytes(lzma.compress(tar_bytes(files | {"padding": bytes(2**22)})))
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 2**20)
    assert "a.tar.xz unpacks to more than" in refused(home, archive)
    monkeypatch.undo()

    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 1000)
    assert "train/cat/0.png must have at most 1000 bytes, has " in refused(home, archive)
    assert "test/cat/0.png must have at most 1000 bytes" in refused(home, write_folder(tmp_path / "tree", files))
    monkeypatch.undo()

    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    assert "a.tar.xz must have at most 3 members, has more" in refused(home, archive)


def test_a_name_twice_in_an_archive_is_refused(home: Home, tmp_path: Path, files: Files):
    """It would be ambiguous which one is meant."""
    once, twice = tar_bytes(files), tar_bytes({"./train/cat/0.png": picture()})
    (tmp_path / "a.tar").write_bytes(joined(once, twice))

    assert "a.tar holds train/cat/0.png twice" in refused(home, tmp_path / "a.tar")


def joined(first: bytes, second: bytes) -> bytes:
    """Concatenate two tars: all members, one end marker."""
    with tarfile.open(fileobj=io.BytesIO(first)) as tar:
        last = tar.getmembers()[-1]
    end = last.offset_data + -(-last.size // 512) * 512
    return first[:end] + second


def test_a_wrong_checksum_is_refused_before_anything_is_read(home: Home, tmp_path: Path, files: Files):
    """Both --sha256 and a SHA256SUMS beside the archive are checked."""
    archive = write_tar(tmp_path / "a.tar", files)
    right, wrong = hashlib.sha256(archive.read_bytes()).hexdigest(), "0" * 64
    text = refused(home, archive, sha256=wrong)
    assert f"a.tar does not match its checksum: SHA-256 is {right}, --sha256 says {wrong}" in text

    (tmp_path / "SHA256SUMS").write_text(f"{right}  other.tar\n{wrong} *a.tar\n")
    assert f"SHA-256 is {right}, SHA256SUMS says {wrong}" in refused(home, archive, sha256=right)

    (tmp_path / "SHA256SUMS").write_text(f"{wrong}  other.tar\n{right}  a.tar\n")
    datasets.import_images(home, archive, "pets", sha256=right.upper())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train": None}, "has no train/<class>/ folder"),
        ({"test": None}, "has no test/<class>/ folder"),
        ({"test/dog": None}, "class 'dog' is in train/ but not in test/"),
        ({"train/dog": None}, "class 'dog' is in test/ but not in train/"),
        ({"train/dog": None, "test/dog": None}, "must have at least 2 classes, has 1"),
        ({"a/train/cat/x.png": picture()}, "must hold one train/ and test/, has them in . and a"),
        ({"train/dog": None, "train/dog/x.xyz": b""}, "class 'dog' is in test/ but not in train/"),
    ],
)
def test_folders_that_are_not_one_set_of_classes_are_refused(
    home: Home, tmp_path: Path, files: Files, changes: dict[str, bytes | None], expected: str
):
    """A class in only one of the sets would make errors meaningless."""
    for name, content in changes.items():
        files = {path: data for path, data in files.items() if not path.startswith(f"{name}/")}
        if content is not None:
            files[name] = content

    assert expected in refused(home, write_tar(tmp_path / "a.tar", files))


@pytest.mark.parametrize("as_archive", [False, True])
def test_an_empty_class_is_refused_by_name(home: Home, tmp_path: Path, files: Files, as_archive: bool):
    """Usually its images have an unsupported suffix."""
    if as_archive:
        folder = tarfile.TarInfo("test/emu")
        folder.type = tarfile.DIRTYPE
        path = write_tar(tmp_path / "a.tar", files | {"train/emu/x.png": picture()}, folder)
    else:
        path = write_folder(tmp_path / "tree", files | {"train/emu/x.png": picture(), "test/emu/x.xyz": b""})

    assert "test/emu holds no images that Pillow reads" in refused(home, path)


def test_names_from_outside_cannot_write_to_the_terminal(home: Home, tmp_path: Path, files: Files):
    """An escape sequence in a file's name stays a name."""
    files["train/dog/\x1b[2J\n.png"] = b""
    assert "train/dog/�[2J�.png is not a readable image" in refused(home, write_tar(tmp_path / "a.tar", files))

    del files["train/dog/\x1b[2J\n.png"]
    files |= {"train/\x1b[31m/0.png": picture(), "test/\x1b[31m/0.png": picture()}
    assert "class '�[31m' has characters that cannot be shown" in refused(home, write_tar(tmp_path / "b.tar", files))


def test_a_missing_path_is_named(home: Home, tmp_path: Path):
    """The error names the path and the expected layout."""
    assert "nothing.tar does not exist: give a folder with train/ and test/" in refused(home, tmp_path / "nothing.tar")
    assert "is neither a folder nor an archive" in refused(home, Path("/dev/null"))
    assert "not a tar or zip archive" in refused(home, write_folder(tmp_path, {"x": b"hello" * 999}) / "x")
    (tmp_path / "empty").mkdir()
    assert "empty has no train/<class>/ folder" in refused(home, tmp_path / "empty")
    assert "--sha256 is for an archive" in refused(home, tmp_path / "empty", sha256="0")


def test_the_source_says_what_was_imported(home: Home, tmp_path: Path, files: Files):
    """Reports name the source of their data, including lossy images."""
    files["train/cat/x.jpg"] = picture(kind="JPEG")

    info = datasets.import_images(home, write_tar(tmp_path / "my-pets.tar", files), "pets")

    assert info.source == "JPEG and PNG images, imported from my-pets.tar"
    assert not info.synthetic
