"""`depthscope data` for users and scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from console.commands.data import data_app
from engine.base.errors import DatasetError, DepthscopeError


@pytest.fixture
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEPTHSCOPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, place in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        directory = tmp_path / "pets" / place
        directory.mkdir(parents=True)
        Image.new("RGB", (32, 32), (index, 0, 0)).save(directory / "0.png")
    return tmp_path / "pets"


def call(*words: str) -> Result:
    return CliRunner().invoke(data_app, list(words))


def data_of(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_ls_shows_the_built_in_datasets_in_an_empty_home(data_home: Path):
    """A first look writes nothing."""
    result = call("ls")

    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        "name",
        "cifar10",
        "cifar100",
        "fashion-mnist",
        "synthetic",
    ]
    assert not data_home.exists()


def test_json_has_a_schema_version(data_home: Path):
    """Scripts can check the format they read."""
    data = data_of(call("ls", "--json"))

    assert data["schema"] == 1
    assert data["datasets"][0] == {
        "name": "cifar10",
        "built_in": True,
        "cached": False,
        "source": "CIFAR-10",
        "synthetic": False,
        "num_train": 50_000,
        "num_test": 10_000,
        "num_classes": 10,
        "num_bytes": 0,
        "problem": None,
    }


def test_an_imported_dataset_is_listed_and_verified(data_home: Path, folder: Path):
    """Import, list and verify agree."""
    imported = data_of(call("import", str(folder), "--name", "pets", "--json"))["dataset"]
    assert (imported["num_train"], imported["num_test"], imported["classes"]) == (2, 2, ["cat", "dog"])

    (listed,) = [each for each in data_of(call("ls", "--json"))["datasets"] if each["name"] == "pets"]
    assert (listed["cached"], listed["built_in"], listed["num_classes"]) == (True, False, 2)
    assert listed["num_bytes"] > 4 * 3072
    assert data_of(call("verify", "--json"))["datasets"] == [{"name": "pets", "ok": True, "problem": None}]
    assert call("verify", "pets").stdout == "pets: ok\n"


def test_an_import_that_is_refused_is_a_usage_error(data_home: Path, folder: Path):
    """Exit code 2 and the original error."""
    call("import", str(folder), "--name", "pets")
    result = call("import", str(folder), "--name", "pets")

    assert isinstance(result.exception, DatasetError)
    assert result.exception.exit_code == 2
    assert str(result.exception) == "dataset pets exists already: choose another --name, or give --replace"
    assert call("import", str(folder), "--name", "pets", "--replace").exit_code == 0


def test_resize_and_sha256_reach_the_import(data_home: Path, folder: Path):
    """Options must not be dropped on the way."""
    Image.new("RGB", (40, 40)).save(folder / "train/cat/1.png")
    assert "--resize stretches it" in str(call("import", str(folder), "--name", "pets").exception)
    assert call("import", str(folder), "--name", "pets", "--resize").exit_code == 0
    assert "--sha256 is for an archive" in str(call("import", str(folder), "--name", "x", "--sha256", "0").exception)


def test_verify_shows_every_dataset_and_fails_if_one_is_damaged(data_home: Path, folder: Path):
    """A bad dataset hides no other, and the exit code is that of a failed operation."""
    for name in ("birds", "pets"):
        call("import", str(folder), "--name", name)
    path = data_home / "data" / "birds" / "train_images.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    result = call("verify")

    assert result.stdout == "birds: not ok\npets: ok\n"
    assert isinstance(result.exception, DepthscopeError)
    assert result.exception.exit_code == 1
    assert str(result.exception).startswith("birds: train_images.npy does not match its checksum; import it again")
    rows = json.loads(call("verify", "--json").stdout)["datasets"]
    assert [row["ok"] for row in rows] == [False, True]


def test_a_damaged_dataset_is_listed_as_such(data_home: Path, folder: Path):
    """`ls` is the first place to look; the problem goes to stderr."""
    call("import", str(folder), "--name", "pets")
    (data_home / "data" / "pets" / "train_images.npy").unlink()
    result = call("ls")

    assert "damaged" in result.stdout.splitlines()[-1]
    assert "pets: train_images.npy cannot be read" in result.stderr


@pytest.mark.parametrize("words", [("fetch", "cifar11"), ("verify", "cifar11")])
def test_an_unknown_name_is_a_usage_error_with_the_nearest(data_home: Path, words: tuple[str, ...]):
    """Exit code 2 and the known names."""
    result = call(*words)

    assert isinstance(result.exception, DatasetError)
    assert "the nearest is cifar10" in str(result.exception)


def test_verifying_a_missing_dataset_fails(data_home: Path):
    """A named dataset is expected to exist; without names there is nothing to do."""
    assert "fetch it with `depthscope data fetch cifar10`" in str(call("verify", "cifar10").exception)
    assert call("verify").exit_code == 0


def test_fetch_draws_the_synthetic_dataset_with_data_and_narration_apart(data_home: Path):
    """Standard output can be piped."""
    result = call("fetch", "synthetic", "--json")

    assert data_of(result)["dataset"]["synthetic"] is True
    assert result.stderr == "generating synthetic\n"


def test_fetch_reads_from_a_folder(data_home: Path, tmp_path: Path):
    """--from replaces the download."""
    assert "holds neither cifar-10-batches-py/" in str(call("fetch", "cifar10", "--from", str(tmp_path)).exception)


def test_the_command_module_is_light():
    """`--help` loads every command's module."""
    script = (
        "import sys, console.commands.data; print({'torch', 'numpy', 'PIL', 'textual', 'msgspec'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
