"""Damaged checkpoints, journals and datasets are refused or skipped by name, never silently."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.base.errors import DatasetError
from engine.data import cache, datasets
from engine.runs import journal
from engine.runs.journal import JournalWriter, Notice, read_journal
from engine.training import checkpoint
from tests.checkpoints import load_in, save_in
from tests.conftest import TestHome

NUM_CUTS = 100
NUM_FLIPS = 1000
NUM_DATASET_FLIPS = 300


class Blind:
    """A constant hash: the control without checksums."""

    def hexdigest(self) -> str:
        return "0" * 64


BLIND = SimpleNamespace(sha256=lambda *_content: Blind(), file_digest=lambda *_file: Blind())


def cuts(content: bytes) -> Iterator[bytes]:
    """Truncate at evenly spaced lengths, including none and all but the last byte."""
    for index in range(NUM_CUTS):
        yield content[: index * (len(content) - 1) // (NUM_CUTS - 1)]


def flips(content: bytes, num: int) -> Iterator[bytes]:
    """Flip single bits, spread evenly from the first byte to the last."""
    for index in range(num):
        flipped = bytearray(content)
        flipped[index * (len(content) - 1) // (num - 1)] ^= 1 << (index % 8)
        yield bytes(flipped)


# Checkpoints


def save(files: tuple[Path, Path], step: int) -> None:
    save_in(files[0].parent, {"spec": "s", "next_step": step, "weights": torch.full((1000,), float(step))})


def outcomes(tmp_path: Path, damaged: Callable[[bytes], Iterator[bytes]]) -> list[str]:
    """Return what happened to each damaged newest generation: a reported fallback, or a silent load."""
    files = tmp_path / "checkpoint.pt", tmp_path / "checkpoint.prev.pt"
    save(files, 1)
    save(files, 2)
    found = []
    for content in damaged(files[0].read_bytes()):
        files[0].write_bytes(content)
        loaded = load_in(tmp_path)
        assert loaded is not None
        told = loaded.damage is not None and "checkpoint.pt" in loaded.damage
        fell_back = loaded.state["next_step"] == 1 and torch.equal(loaded.state["weights"], torch.full((1000,), 1.0))
        found.append("fell back" if told and fell_back else "silent")
    return found


def test_a_checkpoint_cut_short_anywhere_falls_back_one_generation_and_says_so(tmp_path: Path):
    """At a hundred places, including an empty file and one byte too few."""
    assert outcomes(tmp_path, cuts) == ["fell back"] * NUM_CUTS


def test_a_flipped_bit_of_a_checkpoint_is_never_loaded_silently(tmp_path: Path):
    """A thousand bits in header, padding and numbers."""
    assert outcomes(tmp_path, lambda content: flips(content, NUM_FLIPS)) == ["fell back"] * NUM_FLIPS


def test_without_its_checksum_a_checkpoint_would_be_loaded_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Control: without the comparison, some flips go unnoticed."""
    monkeypatch.setattr(checkpoint, "hashlib", BLIND)

    assert "silent" in outcomes(tmp_path, lambda content: flips(content, 100))


# Journals


def written(path: Path, *texts: str) -> None:
    writer = JournalWriter.open(path)
    for text in texts:
        writer.append(Notice(text=text))
    writer.close()


def texts(path: Path) -> list[str]:
    return [event.text for event in read_journal(path).events if isinstance(event, Notice)]


def after_a_tear(path: Path) -> list[list[str]]:
    """Return the next worker's journal for each place where the last line may be torn."""
    written(path, "a", "b", "c")
    whole = path.read_bytes()
    last_line = whole.rindex(b"\n", 0, -1) + 1
    found = []
    for place in range(last_line, len(whole)):
        path.write_bytes(whole[:place])
        written(path, "d")
        assert read_journal(path).garbage == []
        found.append(texts(path))
    return found


def test_a_torn_last_line_is_dropped_wherever_it_is_torn(tmp_path: Path):
    """Nothing else is dropped."""
    found = after_a_tear(tmp_path / "journal.jsonl")

    assert len(found) > 40
    assert found == [["a", "b", "d"]] * len(found)


def test_without_cutting_it_off_a_torn_line_would_damage_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Control: the next worker's first line would be appended to the torn one."""
    monkeypatch.setattr(os, "ftruncate", lambda _descriptor, _length: None)

    with pytest.raises(AssertionError):
        after_a_tear(tmp_path / "journal.jsonl")


def lines_told(path: Path) -> list[int]:
    """Return the lines reported as garbage in a journal with two overwritten lines in the middle."""
    written(path, *(f"line {number}" for number in range(1, 21)))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[6] = b"\x00" * (len(lines[6]) - 1) + b"\n"
    lines[12] = lines[12][:10] + b"\r\xff" + lines[12][12:]
    path.write_bytes(b"".join(lines))
    told, events, start = [], 0, 0
    # In small pieces, as the engine reads a journal that is still being written.
    while (reading := read_journal(path, start, limit=200)).end > start:
        told += [garbage.line for garbage in reading.garbage]
        events += len(reading.events)
        start = reading.end
    assert events == 18
    return told


def test_garbage_in_the_middle_is_reported_with_its_line_and_the_rest_is_kept(tmp_path: Path):
    """Line numbers count from the start of the file, wherever reading began."""
    assert lines_told(tmp_path / "journal.jsonl") == [7, 13]


def test_without_counting_from_the_start_the_line_would_be_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The control."""
    monkeypatch.setattr(journal, "_count_lines", lambda _file, _end: 0)

    assert lines_told(tmp_path / "journal.jsonl") != [7, 13]


def test_a_line_without_an_end_is_never_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run of zeros left by a disk is skipped in pieces; the next line is read."""
    monkeypatch.setattr(journal, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "journal.jsonl"
    written(path, "a")
    with path.open("ab") as file:
        file.write(b"\x00" * 5000 + b"\n")
    written(path, "b")
    reading, found = read_journal(path, 0, limit=100), []
    while reading.events or reading.garbage:
        found += [str(garbage) for garbage in reading.garbage]
        found += [event.text for event in reading.events if isinstance(event, Notice)]
        reading = read_journal(path, reading.end, limit=100)

    first = path.read_bytes().index(b"\n") + 1
    assert found == ["a", f"journal, line 2 (byte {first}): a line of 5001 bytes is too long", "b"]


def test_garbage_is_reported_by_show_and_a_damaged_row_is_restored(home: Any):
    """By line number, among the run's events. The newest epoch's row is also in the checkpoint and is restored."""
    run = home.train("--epochs", "2")
    home.cli("wait", run)
    home.cli("engine", "stop")
    directory = home.directory(run)
    lines = directory.journal.read_bytes().splitlines(keepends=True)
    row = next(index for index, line in enumerate(lines) if b'"kind":"epoch"' in line and b'"epoch":2' in line)
    lines[row] = b"#" * (len(lines[row]) - 1) + b"\n"
    directory.journal.write_bytes(b"".join([*lines[:2], b"\x00\x00\n", *lines[2:]]))
    directory.exit_file.unlink()
    home.home.database.unlink()
    home.cli("engine", "start")
    home.cli("wait", run)
    shown = home.json("show", run)

    told = [event["text"].split(" (")[0] for event in shown["events"] if event["kind"] == "garbage"]
    assert told == ["journal, line 3", f"journal, line {row + 2}"]
    assert [row["epoch"] for row in shown["epochs"]] == [1, 2]
    seqs = [event.seq for event in read_journal(directory.journal).events]
    assert len(seqs) == len(set(seqs))


# Datasets


def silent_loads(home: TestHome, damaged: Callable[[bytes], Iterator[bytes]]) -> list[str]:
    """Return the damaged files of a dataset that were loaded with different content."""
    before = datasets.load(home.home, "tiny")
    info, arrays = before.info, [np.array(getattr(before, array)) for array in cache.ARRAYS]
    found: list[str] = []
    refusals: list[tuple[str, str]] = []
    for path in sorted((home.home.data / "tiny").iterdir()):
        content = path.read_bytes()
        for spoilt in damaged(content):
            path.write_bytes(spoilt)
            try:
                loaded = datasets.load(home.home, "tiny")
            except DatasetError as error:
                refusals.append((path.name, str(error)))
                continue
            same = loaded.info == info and all(
                np.array_equal(getattr(loaded, array), was) for array, was in zip(cache.ARRAYS, arrays, strict=True)
            )
            # White space between fields of dataset.json is irrelevant.
            if not same:
                found.append(path.name)
        path.write_bytes(content)
    for name, text in refusals:
        assert text.startswith("tiny: "), text
        assert name in text or name == "dataset.json", text
        assert "import it again with" in text
    return found


@pytest.fixture
def stored(bare_home: Any) -> TestHome:
    bare_home.add_tiny(num_train=8, num_test=4)
    return bare_home


def test_a_dataset_cut_short_anywhere_is_refused_and_named(stored: TestHome):
    """Each of its five files, at a hundred places each."""
    assert silent_loads(stored, cuts) == []


def test_a_flipped_bit_of_a_dataset_is_refused_and_named(stored: TestHome):
    """In headers, pixels, labels, and the description with mean and standard deviation."""
    assert silent_loads(stored, lambda content: flips(content, NUM_DATASET_FLIPS)) == []


def test_without_the_checksums_a_dataset_would_be_loaded_silently(stored: TestHome, monkeypatch: pytest.MonkeyPatch):
    """Control for the arrays: their sizes are right, so checking only those finds nothing."""
    monkeypatch.setattr(cache, "check_content", lambda _home, _info: None)
    monkeypatch.setattr(datasets, "check_content", lambda _home, _info: None)

    assert {"train_images.npy", "train_labels.npy"} <= set(silent_loads(stored, lambda content: flips(content, 100)))


def test_without_its_own_checksum_a_description_would_be_loaded_silently(
    stored: TestHome, monkeypatch: pytest.MonkeyPatch
):
    """Control for dataset.json: a changed digit of a mean changes the normalisation."""
    monkeypatch.setattr(cache.DatasetInfo, "own_digest", lambda info: info.sha256)

    assert "dataset.json" in silent_loads(stored, lambda content: flips(content, NUM_DATASET_FLIPS))


def test_a_run_fails_on_a_damaged_dataset_and_resumes_once_it_is_imported_again(home: Any):
    """A flip in the last label, past all sizes and headers: no epoch is trained on it."""
    path = home.home.data / "tiny" / "train_labels.npy"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    run = home.train("--epochs", "2")
    home.cli("wait", run, status=4)
    shown = home.json("show", run)

    assert "tiny: train_labels.npy does not match its checksum; import it again" in shown["run"]["error"]
    assert shown["epochs"] == []
    assert "train_labels.npy does not match" in home.cli("data", "verify", "tiny", status=1)
    home.add_tiny()
    home.cli("retry", run)
    home.cli("wait", run)
