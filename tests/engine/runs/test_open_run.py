"""A worker keeps to the run it was started for, whatever happens to the name of its directory."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.runs.directory import ExitReason, FileName, Labels, RunDirectory, WrongRun
from engine.runs.identity import Identity
from engine.runs.journal import Notice, read_journal
from engine.runs.open_run import OpenRun
from engine.spec.run import encode_spec
from tests.engine.scripted import spec_of

LABELS = Labels(name="a", experiment="b", position=0, created_at=0.0)


def made(runs: Path, id: str, seed: int = 0) -> RunDirectory:
    directory = RunDirectory(runs / id)
    directory.create(spec_of(seed, "cpu"), LABELS)
    return directory


def exchange(one: RunDirectory, other: RunDirectory) -> None:
    """Exchange the names of two run directories."""
    aside = one.path.with_name("aside")
    one.path.rename(aside)
    other.path.rename(one.path)
    aside.rename(other.path)


def test_spec_and_origin_come_back_and_equal_runs_differ_in_their_digest(tmp_path: Path):
    """The origin is beside the spec: equal specs stay equal."""
    one, other = (made(tmp_path, id).read_identity() for id in ("0000000001", "0000000002"))

    assert one.spec == other.spec == spec_of(0, "cpu")
    assert (one.origin, other.origin) == ("0000000001", "0000000002")
    assert one.digest != other.digest


def test_a_spec_of_an_older_version_has_no_origin(tmp_path: Path):
    """It belongs to the directory it lies in."""
    directory = made(tmp_path, "0000000001")
    directory.spec_file.write_bytes(encode_spec(spec_of(0, "cpu")))

    assert directory.read_identity() == Identity.decode(encode_spec(spec_of(0, "cpu")))
    assert directory.read_identity().origin is None
    directory.check_own()


def test_files_stay_with_their_run_when_directories_are_exchanged(tmp_path: Path):
    """Journal, exit record and lock reach the directory that was opened."""
    one, other = made(tmp_path, "0000000001"), made(tmp_path, "0000000002")
    with OpenRun.open(one) as run:
        exchange(one, other)
        journal = run.open_journal()
        journal.append(Notice(text="mine"))
        journal.close()
        run.write_exit(ExitReason.STOPPED, step=3)

    assert not one.journal.exists()
    assert one.read_exit() is None
    assert [event.seq for event in read_journal(other.journal).events] == [0]
    ended = other.read_exit()
    assert ended is not None
    assert ended.step == 3


def test_a_directory_under_another_name_is_refused_unless_an_import_gave_it(tmp_path: Path):
    """By the worker and by the engine."""
    made(tmp_path, "0000000001").path.rename(tmp_path / "0000000002")
    moved = RunDirectory(tmp_path / "0000000002")

    with pytest.raises(WrongRun, match=r"0000000002 contains run 0000000001: move it back to runs/0000000001"):
        OpenRun.open(moved)
    assert moved.wrong_run() is not None
    moved.write_labels(msgspec.structs.replace(LABELS, imported_as="0000000002"))
    assert moved.wrong_run() is None
    with OpenRun.open(moved) as run:
        assert run.identity.origin == "0000000001"
    moved.write_labels(msgspec.structs.replace(LABELS, imported_as="0000000003"))
    assert moved.wrong_run() is not None


def test_errors_name_the_file_with_its_directory(tmp_path: Path):
    """A message without the path would not say whose file it is."""
    with OpenRun.open(made(tmp_path, "0000000001")) as run:
        with pytest.raises(FileNotFoundError) as missing:
            run.folder.read(FileName.EXIT)
        assert missing.value.filename == str(tmp_path / "0000000001" / "exit.json")
