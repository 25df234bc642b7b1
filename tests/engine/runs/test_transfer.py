"""Importing runs of another machine: complete and private, or refused if damaged or inconsistent."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.base.errors import UsageError
from engine.base.locks import hold
from engine.base.paths import Home
from engine.control.protocol import Import
from engine.runs.directory import RunDirectory
from engine.runs.identity import encode_stored
from engine.runs.run import RunStatus
from engine.runs.transfer import is_here, look_at, look_at_all, staged
from engine.spec.devices import CPU
from tests import recorded_runs
from tests.engine.scripted import Scene, scene

RECORDED = recorded_runs.RECORDED / "quickstart"
RUN = "2da12d5497"
TOKEN = "0" * 32


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A run of another machine, readable by everyone."""
    path = tmp_path / "usb" / RUN
    shutil.copytree(RECORDED / RUN, path)
    path.chmod(0o755)
    return path


def taken_in(engine: Scene, *paths: Path, experiment: str | None = None) -> None:
    """Import runs like the command, with the engine's part in this process."""
    runs = [look_at(path) for path in paths]
    with staged(engine.home, runs, TOKEN, lambda _text: None):
        engine.ask(Import(token=TOKEN, runs=tuple(run.id for run in runs), experiment=experiment))


def of_home(tmp_path: Path) -> Scene:
    return scene(Home(tmp_path / "home").create(), [CPU])


def test_an_imported_run_is_complete_private_and_survives_a_lost_index(copied: Path, tmp_path: Path):
    """Metrics, outcome and labels are kept, the original is unchanged, and repeating does nothing."""
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    engine = of_home(tmp_path)
    taken_in(engine, copied)

    for index_lost in (False, True):
        engine = engine.successor(index_lost=index_lost)
        run = engine.supervisor.reader.run(RUN)
        assert (run.name, run.experiment, run.outcome, run.epoch) == ("he-plain44-w8-s0", "exp1", "succeeded", 6)
        assert run.test_error_percent == pytest.approx(87.2)
    here = engine.home.runs / RUN
    assert stat.S_IMODE(here.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in here.iterdir()} == {0o600}
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    assert is_here(look_at(copied), engine.home)
    assert not engine.home.incoming.exists()


def test_an_unfinished_imported_run_is_paused_until_resumed(copied: Path, tmp_path: Path):
    """It must not train in two places by itself; a torn last line is normal after a kill."""
    (copied / "exit.json").unlink()
    with (copied / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"seq":')
    engine = of_home(tmp_path)
    taken_in(engine, copied)

    assert engine.supervisor.reader.run(RUN).status is RunStatus.PAUSED
    assert engine.started == []


def without(name: str) -> Callable[[Path], object]:
    return lambda path: (path / name).unlink()


def with_text(name: str, text: str) -> Callable[[Path], object]:
    return lambda path: (path / name).write_text(text)


def with_labels(**changes: object) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        labels = json.loads((path / "labels.json").read_text())
        (path / "labels.json").write_text(json.dumps({**labels, **changes}))

    return change


def with_line(**changes: object) -> Callable[[Path], object]:
    """Append a line like the last epoch's, with some changes."""

    def change(path: Path) -> None:
        journal = path / "journal.jsonl"
        last = [line for line in journal.read_text().splitlines() if '"kind":"epoch"' in line][-1]
        with journal.open("a") as file:
            file.write(json.dumps({**json.loads(last), **changes}) + "\n")

    return change


def as_large_as(name: str, num_bytes: int) -> Callable[[Path], object]:
    """Make a file sparse: it takes no room here, and all of it in a copy."""

    def change(path: Path) -> None:
        with (path / name).open("ab") as file:
            file.truncate(num_bytes)

    return change


def with_exit(**changes: object) -> Callable[[Path], object]:
    return lambda path: (path / "exit.json").write_text(
        json.dumps({**json.loads((path / "exit.json").read_text()), **changes})
    )


def without_last_epoch(path: Path) -> None:
    lines = (path / "journal.jsonl").read_text().splitlines(keepends=True)
    (path / "journal.jsonl").write_text("".join(line for line in lines if '"epoch":6' not in line))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (without("spec.json"), "spec.json is missing"),
        (with_text("spec.json", "{}"), "model"),
        (with_text("labels.json", "{"), "labels.json is damaged"),
        (with_text("exit.json", "[]"), "exit.json is damaged"),
        (without("journal.jsonl"), "it succeeded, but its journal has no epoch"),
        (with_text("journal.jsonl", "x\n"), r"is damaged: journal, line 1"),
        (lambda path: (path / "weights.pt").symlink_to("/etc/passwd"), "weights.pt is a link"),
        (lambda path: os.mkfifo(path / "worker.log"), "worker.log is not a regular file"),
        (lambda path: (path / "more").mkdir(), "more is not a regular file"),
        (with_text("exit.json", "[" * 200_000), "exit.json is damaged"),
        (with_exit(at=1e300), "exit.json is damaged"),
        (with_labels(position=2**70), "labels.json is damaged"),
        (with_labels(created_at=-1e300), "labels.json is damaged"),
        (with_labels(tags=[f"t{number}" for number in range(1000)]), "at most 20 tags, got 1000"),
        (with_labels(tags=["two words"]), "a tag must be one word"),
        (with_labels(notes="x" * 2001), "a note must have at most 2000 characters"),
        (with_labels(notes="x" * 3_000_000), "labels.json has 2.86 MiB"),
        (with_labels(notes="\x1b[2J"), "a note must be one line"),
        (with_labels(name="a\x1b[2J"), "a run's name must be printable"),
        (with_line(epoch=99999999999999999999999), "is damaged: journal, line"),
        (with_line(epoch=7), "is of epoch 7, of 6"),
        (with_line(step=10**9), "is of step 1000000000, of"),
        (with_line(seq=2**62), "too large a number"),
        (without_last_epoch, "it succeeded, but its journal has only 5 of 6 epochs"),
        (as_large_as("weights.pt", 1 << 40), "weights.pt has 1.00 TiB"),
        (as_large_as("checkpoint.pt", 1 << 40), "checkpoint.pt has 1.00 TiB"),
        (as_large_as("journal.jsonl", 1 << 40), "journal.jsonl has 1.00 TiB"),
        (as_large_as("worker.log", 1 << 40), "worker.log has 1.00 TiB"),
    ],
)
def test_an_incomplete_run_is_refused(damage: Callable[[Path], object], text: str, copied: Path):
    """The error names the damaged file, and nothing is copied."""
    damage(copied)

    with pytest.raises(UsageError, match=text):
        look_at(copied)


def test_a_directory_without_a_run_is_refused(copied: Path, tmp_path: Path):
    """Nor is a link to one accepted, since its target may change."""
    link = tmp_path / "0123456789"
    link.symlink_to(copied)
    (empty := tmp_path / "1234567890").mkdir()

    for path, text in ((link, "is not a directory"), (empty, "spec.json is missing"), (tmp_path / "no", "No such")):
        with pytest.raises(UsageError, match=text):
            look_at(path)


def test_another_state_of_a_run_that_is_here_is_refused(copied: Path, tmp_path: Path):
    """Neither replaces the other; a note added here does not count as a difference."""
    engine = of_home(tmp_path)
    taken_in(engine, copied)
    labels = json.loads((copied / "labels.json").read_text())
    (copied / "labels.json").write_text(json.dumps({**labels, "notes": "written there"}))
    assert is_here(look_at(copied), engine.home)

    (copied / "weights.pt").write_bytes(b"more")
    with pytest.raises(UsageError, match=f"{RUN} already exists here, but its weights.pt differs"):
        is_here(look_at(copied), engine.home)


def test_a_run_that_a_worker_holds_is_not_copied(copied: Path, tmp_path: Path):
    """A checkpoint being written could be copied halfway."""
    engine = of_home(tmp_path)
    lock = RunDirectory(copied).open_lock()
    assert hold(lock, patience_seconds=1.0)

    with pytest.raises(UsageError, match="is being trained: pause or stop it first"):
        taken_in(engine, copied)
    os.close(lock)
    assert not engine.home.incoming.exists()
    taken_in(engine, copied)


def test_runs_do_not_slip_into_an_experiment_that_is_here(copied: Path, tmp_path: Path):
    """A comparison would mix them, so no run is imported; -e allows it."""
    engine = of_home(tmp_path)
    engine.submit(None)
    other = copied.with_name("151f002271")
    shutil.copytree(RECORDED / other.name, other)
    labels = json.loads((other / "labels.json").read_text())
    (other / "labels.json").write_text(json.dumps({**labels, "experiment": "elsewhere"}))

    with pytest.raises(UsageError, match="experiment 'exp1' already exists here: -e NAME"):
        taken_in(engine, other, copied)
    assert not (engine.home.runs / other.name).exists()
    taken_in(engine, other, copied, experiment="exp1")
    assert {run.experiment for run in engine.supervisor.reader.runs()} == {"exp1"}


def test_a_copy_is_taken_under_another_id_with_its_origin(copied: Path, tmp_path: Path):
    """So that its checkpoints fit; the same copy is known again, and one whose origin is not here gets that id."""
    spec = RunDirectory(copied).read_spec()
    (copied / "spec.json").write_bytes(encode_stored(spec, origin=RUN))
    engine = of_home(tmp_path)
    taken_in(engine, copied)
    backup = Path(shutil.copytree(engine.home.runs / RUN, engine.home.runs / f"{RUN}.bak"))
    known = engine.supervisor.reader.ids()
    copy = look_at(backup, known)
    assert copy.id != RUN
    assert look_at(backup, known) == copy
    with staged(engine.home, [copy], TOKEN, lambda _text: None):
        engine.ask(Import(token=TOKEN, runs=(copy.id,), experiment="copies"))

    for index_lost in (False, True):
        engine = engine.successor(index_lost=index_lost)
        assert engine.supervisor.reader.run(copy.id).origin == RUN
        engine.supervisor.directory(copy.id).check_own()
    engine.supervisor.rebuild()
    assert engine.supervisor.reader.ids() == {RUN, copy.id}
    assert is_here(look_at(backup, engine.supervisor.reader.ids()), engine.home)
    again = Path(shutil.copytree(engine.home.runs / copy.id, tmp_path / copy.id))
    assert look_at(again).id == copy.id, "an import gave it this id"
    assert look_at(backup).id == RUN, "nothing else has it here"
    other = Path(shutil.copytree(backup, tmp_path / "other"))
    assert set(look_at_all([backup, other, other], ())) == {RUN, look_at(other, [RUN]).id}
    with pytest.raises(UsageError, match="are the same run: import one of them"):
        look_at_all([copied, tmp_path / "usb" / ".." / "usb" / RUN], ())


def test_the_engine_checks_what_was_staged(copied: Path, tmp_path: Path):
    """A file changed while it was copied; nothing is taken, and a rebuild works."""
    engine = of_home(tmp_path)
    run = look_at(copied)
    with staged(engine.home, [run], TOKEN, lambda _text: None):
        with_line(epoch=7)(engine.home.incoming / TOKEN / RUN)
        with pytest.raises(UsageError, match="of epoch 7, of 6"):
            engine.ask(Import(token=TOKEN, runs=(RUN,)))
    assert engine.supervisor.reader.ids() == set()
    assert not list(engine.home.runs.iterdir())
    taken_in(engine, copied)
    engine.supervisor.rebuild()
    assert engine.supervisor.reader.ids() == {RUN}


def test_every_recorded_run_is_accepted():
    """Control: the checks refuse nothing that a worker wrote."""
    paths = [run for folder in recorded_runs.RECORDED.iterdir() if folder.is_dir() for run in folder.iterdir()]

    assert {look_at(path).id for path in paths} == {path.name for path in paths}


def test_what_a_killed_import_left_is_swept_away(copied: Path, tmp_path: Path):
    """An engine killed between moving a run and indexing it finds the run at the next start."""
    engine = of_home(tmp_path)
    left = engine.home.incoming / ("f" * 32) / RUN
    left.mkdir(parents=True)
    shutil.copytree(copied, engine.home.runs / RUN)

    engine = engine.successor()
    assert engine.supervisor.reader.run(RUN).succeeded
    other = copied.with_name("151f002271")
    shutil.copytree(RECORDED / other.name, other)
    taken_in(engine, other, experiment="new")
    assert not engine.home.incoming.exists()
