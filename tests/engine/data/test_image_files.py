"""Which files of an image folder are taken: formats, links, hidden folders, accents; what is not is counted."""

from __future__ import annotations

import io
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.base.errors import DatasetError
from engine.base.paths import Home
from engine.data import datasets
from engine.data.image_files import LeftOut, decoders, formats, place_of
from tests.engine.data.test_image_folder import noise, picture, write_folder, write_tar, write_zip

LOSSLESS = {".bmp": "BMP", ".gif": "GIF", ".pgm": "PPM", ".tif": "TIFF", ".TIFF": "TIFF", ".tga": "TGA", ".qoi": "QOI"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes with three images each."""
    images = {f"{split}/{name}/0.png" for split in ("train", "test") for name in ("cat", "dog")}
    images |= {"train/cat/1.png", "train/dog/1.png"}
    return write_folder(tmp_path / "tree", {name: noise(number) for number, name in enumerate(sorted(images))})


def imported(home: Home, path: Path, **options: bool) -> tuple[tuple[int, int], list[str]]:
    """Numbers of training and test images, and what was said."""
    said: list[str] = []
    info = datasets.import_images(home, path, "pets", replace=True, report=said.append, **options)
    return (info.num_train, info.num_test), said


def archived(tree: Path) -> Iterator[Path]:
    """A tar and a zip of a folder without links."""
    files = {
        str(Path(folder, name).relative_to(tree)): Path(folder, name).read_bytes()
        for folder, _, names in os.walk(tree)
        for name in names
    }
    yield write_tar(tree.with_name("a.tar"), files)
    yield write_zip(tree.with_name("a.zip"), files)


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_every_format_of_pillow_is_read(suffix: str, home: Home, tree: Path):
    """With the pixels that were written."""
    pixels = np.full((32, 32, 3), 100, dtype=np.uint8)
    pixels[:16] = 50
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert("L") if suffix == ".pgm" else image).save(file, LOSSLESS[suffix])
    (tree / "train" / "dog" / f"2{suffix}").write_bytes(file.getvalue())

    assert imported(home, tree) == ((5, 2), [])
    assert (datasets.load(home, "pets").train_images[-1] == pixels).all()


def test_formats_that_start_programs_or_only_identify_are_not_read():
    """EPS would run Ghostscript; a rare decoder is used under its own suffix alone."""
    assert {".eps", ".ps", ".wmf", ".h5", ".mpg", ".pdf"}.isdisjoint(formats())
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tiff", ".mpo", ".psd"} <= formats().keys()
    assert "PSD" in decoders(".PSD")
    assert "PSD" not in decoders(".png")
    assert "JPEG" in decoders(".png")


def test_what_is_left_out_is_counted_once_by_kind(home: Home, tree: Path):
    """In a folder, a tar and a zip; what file managers leave is not mentioned."""
    for name in (
        "README.md", "train/list.csv", "train/cat/a.xyz", "train/dog/b.xyz", "train/cat/page.eps", "train/cat/noname",
        "train/.ipynb_checkpoints/cat/0.png", "train/.ipynb_checkpoints/cat/1.png", "test/dog/.0.png",
        "train/cat/.DS_Store", "train/cat/Thumbs.db", "train/cat/._0.png", "desktop.ini", "__MACOSX/train/cat/0.png",
    ):  # fmt: skip
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(picture())
    expected = [
        "1 .eps file left out: not supported (train/cat/page.eps)",
        "2 .xyz files left out: not supported (train/cat/a.xyz)",
        "1 file left out: hidden (test/dog/.0.png)",
        "2 files left out: outside train/<class>/ and test/<class>/ (README.md)",
        "1 file without suffix left out: not supported (train/cat/noname)",
        "1 folder left out: its name begins with a dot (train/.ipynb_checkpoints)",
    ]

    for path in (tree, *archived(tree)):
        numbers, said = imported(home, path)
        assert numbers == (4, 2)
        assert sorted(said) == sorted(expected)


def test_folders_outside_the_layout_are_named(home: Home, tree: Path):
    """A validation set beside train/ and test/."""
    write_folder(tree, {"val/cat/0.png": picture(), "val/cat/1.png": picture()})

    assert imported(home, tree) == ((4, 2), ["1 folder left out: outside train/ and test/ (val)"])
    tar, _ = archived(tree)
    _, said = imported(home, tar)
    assert said == ["2 files left out: outside train/<class>/ and test/<class>/ (val/cat/0.png)"]


def test_links_are_followed(home: Home, tree: Path, tmp_path: Path):
    """To images, classes and folders below a class, as torchvision does; a loop ends and is named."""
    outside = write_folder(tmp_path / "outside", {"deep/5.png": noise(5), "6.png": noise(6)})
    (tree / "train" / "cat" / "more").symlink_to(outside)
    (tree / "train" / "cat" / "2.png").symlink_to(outside / "6.png")
    (tree / "train" / "cat" / "around").symlink_to(tree / "train")
    (tree / "train" / "emu").symlink_to(outside)
    (tree / "test" / "emu").symlink_to(outside)
    (tree / "everything").symlink_to("/")

    numbers, said = imported(home, tree)

    assert numbers == (4 + 3 + 2, 2 + 2)
    assert said == [
        "1 folder left out: outside train/ and test/ (everything)",
        "1 link left out: leads to a folder that contains it (train/cat/around)",
    ]


@pytest.mark.parametrize("name", ["train/cat/7.png", "test/emu", "train/cat/more"])
def test_link_that_leads_nowhere_is_refused(name: str, home: Home, tree: Path):
    """As DVC and git-annex leave them without the content; --skip-broken leaves them out."""
    (tree / name).symlink_to("/nowhere/of/all")
    (tree / "train" / "cat" / "notes.txt").symlink_to("/nowhere/either")

    with pytest.raises(DatasetError, match=rf"tree: 1 link leads nowhere, such as {name}: .* --skip-broken"):
        imported(home, tree)

    assert imported(home, tree, skip_broken=True) == (
        (4, 2),
        ["1 .txt file left out: not supported (train/cat/notes.txt)", f"1 link left out: leads nowhere ({name})"],
    )


def test_accents_are_compared_in_one_form(home: Home, tree: Path):
    """macOS writes é as two characters, Linux as one."""
    one, two = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    assert one != two
    write_folder(tree, {f"train/{one}/0.png": noise(7), f"test/{two}/0.png": noise(8)})

    assert imported(home, tree) == ((5, 3), [])
    assert datasets.load(home, "pets").info.classes == ("cat", "dog", one)
    assert place_of(("train", two, "0.png"), is_folder=False) == place_of(("train", one, "0.png"), is_folder=False)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"hello", r"not a readable image \(cannot identify image file train/dog/bad.png\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer to an image .* `git lfs pull`"),
        (b"/annex/objects/SHA256E-s1--0.png", "a pointer to an image .* `git annex get`"),
    ],
)
def test_errors_name_the_file(content: bytes, expected: str, home: Home, tree: Path):
    """Not the object that Pillow was given."""
    (tree / "train" / "dog" / "bad.png").write_bytes(content)

    with pytest.raises(DatasetError, match=f"tree: train/dog/bad.png is {expected}") as caught:
        imported(home, tree)
    assert "BytesIO" not in str(caught.value)


def test_orientation_in_exif_is_left_alone(home: Home, tree: Path):
    """As torchvision leaves it."""
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[:8] = 255
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    (tree / "train" / "dog" / "2.png").write_bytes(file.getvalue())

    imported(home, tree)
    assert (datasets.load(home, "pets").train_images[-1] == pixels).all()


def test_counts_agree_with_their_nouns():
    """1 .xyz file, 2 files without suffix."""
    left_out = LeftOut()
    for number in range(2):
        left_out.add_file(("train", "cat", f"a{number}"))
    assert left_out.lines() == ["2 files without suffix left out: not supported (train/cat/a0)"]
