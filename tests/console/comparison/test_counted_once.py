"""Copies of a run count once in every mean, and the tables say so."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from console.comparison.description import comparison_document, description
from console.comparison.groups import Group, group_runs
from console.comparison.tables import comparison_text
from console.programs.checks import examine_strays
from console.text.listing import stray_lines
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import RunDirectory
from engine.runs.identity import encode_stored
from engine.runs.run import Run, RunOutcome, RunStatus
from engine.runs.strays import find_strays
from engine.spec.devices import CPU
from tests import samples
from tests.conftest import TestHome
from tests.engine.scripted import scene
from tests.recorded_runs import RECORDED

FIRST, SECOND = "2da12d5497", "151f002271"
"""Two recorded runs."""


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """Three seeds of a network; all finished, with different errors."""
    home = TestHome(tmp_path / "home").home
    store = Store(home.database)
    with store.transaction():
        for number in range(3):
            samples.add_sample(
                store, number, "he-plain", 20, experiment="e", epochs_done=2, total=2, seed=number, floor=8.0 + number
            )
    store.close()
    with Reader(home.database) as reader:
        return reader.runs()


def only_group(*runs: Run) -> Group:
    (group,) = group_runs(runs)
    return group


def test_a_copy_counts_once_and_is_named(runs: list[Run]):
    """Of one origin, or of equal specification, images and version."""
    first, second, third = runs
    copy = replace(first, id="00000000aa", origin=first.id, position=9, data_sha256="1" * 64)
    repeated = replace(second, id="00000000bb", origin="00000000bb", position=10)
    group = only_group(copy, *runs, repeated)

    assert group.runs == (first, second, third)
    assert len(group.finals("test_error_percent")) == 3
    text = comparison_text([*runs, copy, repeated], {}, {})
    assert "(n=3)" in text
    assert f"counted once: {first.id} and 00000000aa are the same run" in text
    assert f"counted once: {second.id} and 00000000bb are the same run" in text
    assert f"{first.id} and 00000000aa are the same run" in "\n".join(description("e", [*runs, copy], {}, {}))
    (network,) = comparison_document("e", [*runs, copy], {}, {})["networks"]
    assert network["num_seeds"] == 3
    assert network["counted_once"] == [{"run": first.id, "copy": "00000000aa"}]


@pytest.mark.parametrize(
    "changes",
    [{"data_sha256": "1" * 64}, {"version": "9.9"}, {"data_sha256": None}, {"origin": "00000000aa"}],
    ids=["other images", "other version", "not started", "control: nothing else"],
)
def test_runs_that_differ_in_anything_count_each(runs: list[Run], changes: dict[str, object]):
    """The same seed on other images or trained by another version is another measurement."""
    other = replace(runs[0], **{"id": "00000000aa", "origin": "00000000aa", **changes})

    assert len(only_group(*runs, other).runs) == (3 if "origin" in changes else 4)


def test_the_finished_run_counts_then_the_older(runs: list[Run]):
    """Whatever the order they come in."""
    first = runs[0]
    unfinished = replace(first, id="00000000aa", status=RunStatus.PAUSED, outcome=None, position=-1)
    failed = replace(first, id="00000000bb", outcome=RunOutcome.FAILED, position=-2)
    younger = replace(first, id="00000000cc", position=50)

    assert only_group(unfinished, failed, younger, first).runs == (first,)
    assert only_group(unfinished, failed).runs == (failed,)
    assert only_group(younger, unfinished).runs == (younger,)
    assert only_group(younger, first).runs == (first,)


def test_backup_copies_are_no_runs(tmp_path: Path):
    """Under any name, after the index was lost; they are named and a copy without a run's name is no seed."""
    home = TestHome(tmp_path / "home").home
    for id in (FIRST, SECOND):
        shutil.copytree(RECORDED / "quickstart" / id, home.runs / id)
    spec = RunDirectory(home.runs / FIRST).read_spec()
    (home.runs / FIRST / "spec.json").write_bytes(encode_stored(spec, origin=FIRST))
    for id, name in ((FIRST, f"{FIRST}.bak"), (FIRST, "0123456789"), (SECOND, f"{SECOND}.bak")):
        shutil.copytree(home.runs / id, home.runs / name)
    (home.runs / "notes").mkdir()

    here = scene(home, [CPU])
    here.supervisor.recover()
    here = here.successor(index_lost=True)
    assert here.supervisor.reader.ids() == {FIRST, SECOND}
    here.supervisor.rebuild()
    assert here.supervisor.reader.ids() == {FIRST, SECOND}

    strays = {stray.path.name: stray.what for stray in find_strays(home.runs, here.supervisor.reader.ids())}
    assert strays["0123456789"] == strays[f"{FIRST}.bak"] == f"a copy of {FIRST}"
    assert strays[f"{SECOND}.bak"] == "a copy of a run under another name"
    assert strays["notes"].startswith("not a run: ")
    told = [finding.text for finding in examine_strays(home)]
    assert f"{home.runs / '0123456789'} is ignored: a copy of {FIRST}" in told
    lines = stray_lines(find_strays(home.runs, here.supervisor.reader.ids()))
    assert f"ignored: {home.runs / '0123456789'} is a copy of {FIRST}" in lines
    (home.runs / SECOND).rename(home.runs / "aside")
    (home.runs / FIRST).rename(home.runs / SECOND)
    taken = [finding.text for finding in examine_strays(home)]
    assert f"{home.runs / SECOND} is ignored: a copy of {FIRST}" in taken, "it is in the index, but is another run"


def test_an_imported_copy_keeps_its_origin_in_the_index(tmp_path: Path):
    """Without it, the copy would count as another seed."""
    home = TestHome(tmp_path / "home").home
    copy = RunDirectory(home.runs / "0123456789")
    shutil.copytree(RECORDED / "quickstart" / FIRST, copy.path)
    copy.spec_file.write_bytes(encode_stored(copy.read_spec(), origin=FIRST))
    copy.write_labels(msgspec.structs.replace(copy.read_labels(), imported_as=copy.id))
    here = scene(home, [CPU])
    here.supervisor.recover()

    assert here.supervisor.reader.run(copy.id).origin == FIRST
