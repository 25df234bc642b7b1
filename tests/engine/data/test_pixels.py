"""One imported image: formats, pixel types and sizes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.base.errors import DatasetError
from engine.base.paths import Home
from engine.data import datasets

Files = dict[str, bytes]


def picture(colour: tuple[int, int, int] = (1, 2, 3), size: tuple[int, int] = (32, 32), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


@pytest.fixture
def files() -> Files:
    places = ("train/cat/0", "train/cat/1", "train/cat/2", "train/cat/3", "train/dog/0", "test/cat/0", "test/dog/0")
    return {f"{place}.png": picture() for place in places}


def write_folder(root: Path, files: Files) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def refused(home: Home, path: Path, *, resize: bool = False) -> str:
    with pytest.raises(DatasetError) as caught:
        datasets.import_images(home, path, "pets", resize=resize)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png", "bmp", "webp", "ppm"])
def test_the_usual_formats_are_read(home: Home, tmp_path: Path, files: Files, suffix: str):
    """The content determines the format; the name only marks it as an image."""
    kind = {"jpg": "JPEG", "JPEG": "JPEG"}.get(suffix, suffix.upper())
    files[f"train/cat/x.{suffix}"] = picture((200, 100, 50), kind=kind)
    datasets.import_images(home, write_folder(tmp_path / "a", files), "pets")

    image = datasets.load(home, "pets").train_images[4].astype(int)
    assert np.abs(image - [200, 100, 50]).max() <= 4


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_other_pixels_become_rgb(home: Home, tmp_path: Path, files: Files, mode: str):
    """Grey, palette and transparent images are common in collections of photographs."""
    file = io.BytesIO()
    Image.new("L", (32, 32), 255).convert(mode).save(file, "JPEG" if mode == "CMYK" else "PNG")
    files["train/cat/x.png"] = file.getvalue()
    datasets.import_images(home, write_folder(tmp_path / "a", files), "pets")

    assert datasets.load(home, "pets").train_images[4].min() >= 250


def test_sixteen_bit_images_are_refused(home: Home, tmp_path: Path, files: Files):
    """Pillow would silently clip them to white."""
    file = io.BytesIO()
    Image.new("I;16", (32, 32), 40_000).save(file, "PNG")
    files["train/cat/x.png"] = file.getvalue()

    assert "a: train/cat/x.png has pixels of type I;16: convert it" in refused(
        home, write_folder(tmp_path / "a", files)
    )


def test_another_size_is_refused_unless_it_may_be_resized(home: Home, tmp_path: Path, files: Files):
    """Resizing changes the data, so it is done only on request."""
    files["test/dog/big.png"] = picture((9, 8, 7), size=(48, 40))
    archive = write_folder(tmp_path / "a", files)

    assert refused(home, archive).endswith("test/dog/big.png must be 32×32 pixels, is 48×40: --resize stretches it")
    datasets.import_images(home, archive, "pets", resize=True)
    assert datasets.load(home, "pets").test_images[-1].reshape(-1, 3).tolist() == [[9, 8, 7]] * 1024


def test_an_enormous_image_is_refused_before_it_is_decoded(home: Home, tmp_path: Path, files: Files):
    """A few kilobytes of PNG can mean gigabytes of pixels."""
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG")
    files["train/dog/bomb.png"] = file.getvalue()

    assert "train/dog/bomb.png must have at most 33554432 pixels, has 9000×9000" in refused(
        home, write_folder(tmp_path / "a", files), resize=True
    )
