"""An index damaged, deleted or kept open is rebuilt from the run directories without losing a run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from console.tui.feed import Feed
from engine.base.errors import DepthscopeError
from engine.base.paths import Home
from engine.control.protocol import Done, Pause, decode_reply, encode
from engine.daemon import Engine
from engine.index import database
from engine.index.database import DatabaseUnusable
from engine.index.ingest import ingest
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import ExitReason, RunDirectory
from engine.runs.journal import JournalWriter, Notice, Step
from engine.scheduler import recovery
from engine.scheduler.hooks import Announcer
from engine.spec.devices import CPU
from tests.engine.scripted import Scene, scene
from tests.samples import sample_epoch

WAL_PROMISE_BYTES = 64_000_000
PAGE_BYTES = 4096


def overwrite(path: Path) -> None:
    """Overwrite every page but the first two: the file opens, but its tables are noise."""
    with path.open("r+b") as file:
        file.seek(2 * PAGE_BYTES)
        file.write(os.urandom(max(PAGE_BYTES, path.stat().st_size - 2 * PAGE_BYTES)))


def overwrite_under(home: Any) -> None:
    """Flush the database and overwrite it while the engine is not reading."""
    engine = home.engine_pid()
    os.kill(engine, signal.SIGSTOP)
    try:
        connection = apsw.Connection(str(home.home.database))
        connection.execute("PRAGMA wal_checkpoint(FULL)")
        overwrite(home.home.database)
        connection.close()
    finally:
        os.kill(engine, signal.SIGCONT)


def step_of(home: Any, run: str) -> int:
    """Step of a run; 0 while the index cannot be read or lacks the run."""
    try:
        with home.reader() as reader:
            return int(reader.run(run).step)
    except DepthscopeError:
        return 0


def test_damage_and_deletion_under_a_training_engine_lose_no_run(finished: Any, wait_until: Callable[..., Any]):
    """Pages overwritten, then the file deleted, while a worker writes: readers have it rebuilt."""
    home = finished
    (done,) = (path.name for path in home.home.runs.iterdir())
    home.cli("queue", "hold")
    cancelled = home.train("--epochs", "2000", "--seed", "2")
    home.cli("stop", cancelled)
    home.cli("queue", "release")
    run = home.train("--epochs", "4000", "--seed", "1")
    wait_until(lambda: step_of(home, run) > 0)
    engine, worker = home.engine_pid(), home.worker_pid(run)
    waiting = home.start("wait", run)
    for damage in (overwrite_under, lambda home: home.home.database.unlink()):
        before = step_of(home, run)
        damage(home)
        assert [row["epoch"] for row in home.json("show", done)["epochs"]] == [1]
        listed = {row["id"]: (row["status"], row["outcome"]) for row in home.json("ls")["runs"]}

        assert listed == {
            done: ("finished", "succeeded"),
            cancelled: ("finished", "cancelled"),
            run: ("running", None),
        }
        wait_until(lambda seen=before: step_of(home, run) > seen)
    assert home.engine_pid() == engine
    assert home.worker_pid(run) == worker
    assert list(home.home.root.glob("depthscope.db.*.old"))
    home.cli("engine", "rebuild")
    assert len(home.json("ls")["runs"]) == 3
    home.cli("stop", run)
    assert waiting.wait(60) == 4, "a console that waits finds the database that took the old one's place"


def test_a_rebuild_without_an_engine_and_a_deletion_without_one(finished: Any):
    """The next command sees every run, with or without an explicit rebuild."""
    home = finished
    home.home.database.unlink()
    assert [row["outcome"] for row in home.json("ls")["runs"]] == ["succeeded"]
    home.cli("engine", "stop")
    assert home.cli("engine", "rebuild").startswith("rebuilt the index from ")
    assert [row["outcome"] for row in home.json("ls")["runs"]] == ["succeeded"]


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Scene]:
    """An engine's internals with one running and one succeeded run."""
    found = scene(Home(tmp_path / "home").create(), (CPU,))
    done, run = found.submit(None, None)
    found.end(done, ExitReason.SUCCEEDED)
    assert found.started[-1][0] == run
    yield found
    found.supervisor.reader.close()
    found.supervisor.store.close()


def damage_under(inside: Scene) -> None:
    """Flush the database, drop cached pages, and overwrite the file."""
    store = inside.supervisor.store
    assert store._database.shorten_wal()
    for connection in (store._database, inside.supervisor.reader._database):
        assert connection is not None
        connection.execute("PRAGMA cache_size = 0")
        connection.execute("PRAGMA shrink_memory")
    overwrite(inside.home.database)


def engine_around(inside: Scene) -> Engine:
    supervisor = inside.supervisor
    return Engine(inside.home, supervisor, Announcer(None, supervisor.store, supervisor.reader))


def ask(engine: Engine, inside: Scene) -> object:
    """Send a request to an engine with a damaged index."""
    run = inside.started[-1][0]
    return decode_reply(asyncio.run(engine._answer(encode(Pause(runs=(run,))) + b"\n")))


def test_damage_found_during_a_run_is_repaired_before_the_request_is_answered(inside: Scene):
    """The request that hit the damage is carried out, and a reading console finds every run."""
    feed = Feed(inside.home)
    feed.look()
    damage_under(inside)
    reply = ask(engine_around(inside), inside)

    assert isinstance(reply, Done)
    feed.look()
    assert {str(run.outcome or run.status) for run in feed.runs.values()} == {"succeeded", "running"}
    feed.close()
    assert inside.supervisor.num_running == 1


def test_without_the_rebuild_damage_in_mid_run_would_end_the_engine(inside: Scene, monkeypatch: pytest.MonkeyPatch):
    """The control."""

    def refuse(_engine: Engine, damage: DatabaseUnusable) -> None:
        raise damage

    monkeypatch.setattr(Engine, "_rebuild", refuse)
    damage_under(inside)
    engine = engine_around(inside)

    with pytest.raises(DatabaseUnusable):
        ask(engine, inside)
    with pytest.raises(DatabaseUnusable):
        inside.supervisor.tick()


class Killed(BaseException):
    """Simulates kill -9: nothing catches it."""


@pytest.fixture
def journalled(inside: Scene) -> str:
    """The succeeded run, with an epoch in its journal."""
    done = inside.supervisor.reader.runs()[0].id
    inside.journal(done, sample_epoch(1, floor=5.0, at=0.0))
    return done


def test_no_reader_sees_a_partly_rebuilt_index(inside: Scene, journalled: str, monkeypatch: pytest.MonkeyPatch):
    """A command waits for the rebuild and a console keeps its old data; neither shows runs without epochs."""
    feed = Feed(inside.home)
    feed.look()
    seen: list[tuple[bool, int]] = []

    def look_and_ingest(store: Store, directory: RunDirectory) -> object:
        with Reader(inside.home.database) as reader:
            feed.look()
            seen.append((reader.is_open, len(feed.runs)))
        return ingest(store, directory)

    monkeypatch.setattr(recovery, "ingest", look_and_ingest)
    inside.supervisor.rebuild()

    assert seen == [(False, 2)] * 2
    with Reader(inside.home.database) as reader:
        assert [epoch.epoch for epoch in reader.epochs(journalled)] == [1]
    feed.close()


def test_a_rebuild_killed_between_a_run_and_its_journal_is_completed(
    inside: Scene, journalled: str, monkeypatch: pytest.MonkeyPatch
):
    """The next engine reads the rest, without calling the hook for runs that finished long ago."""

    def die(*_arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(recovery, "ingest", die)
        with pytest.raises(Killed):
            inside.supervisor.rebuild()
    inside.supervisor = inside.successor().supervisor

    with Reader(inside.home.database) as reader:
        assert len(reader.runs()) == 2
        assert [epoch.epoch for epoch in reader.epochs(journalled)] == [1]
    assert inside.supervisor.store.ends_to_announce() == []


READS_AND_STOPS = """
import os, signal, sys
from pathlib import Path
from engine.index.queries import Reader

reader = Reader(Path(sys.argv[1]))
rows = reader._database._connection.execute("SELECT * FROM runs")
next(rows)
print("reading", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
print(len(list(rows)), flush=True)
reader.data_version()
print(len(reader.runs()), flush=True)
"""


@pytest.fixture
def stopped_console(inside: Scene) -> Iterator[subprocess.Popen[str]]:
    """A separate process, stopped while reading the index."""
    command = [sys.executable, "-P", "-c", READS_AND_STOPS, str(inside.home.database)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "reading\n"
    yield child
    child.kill()
    child.communicate()


NUM_LOOKS = 1500
"""Six minutes of training at four per second."""


def longest_wal(inside: Scene, *, enough: int = 1 << 40) -> int:
    """Return the maximum WAL size in bytes while an engine polls a worker that writes each time."""
    run = inside.started[-1][0]
    writer, longest = JournalWriter.open(inside.supervisor.directory(run).journal), 0
    inside.supervisor.store._database.execute("PRAGMA synchronous = OFF")
    for step in range(1, NUM_LOOKS + 1):
        row = Step(
            step=step, epoch=1, train_loss=2.0, train_error_percent=9.0, learning_rate=0.1, images_per_second=1.0
        )
        writer.append(row)
        writer.append(Notice(text="so long that fewer looks fill as much" * 1000))
        inside.supervisor.tick()
        longest = max(longest, inside.supervisor.store._database.wal_bytes())
        if longest > enough:
            break
    writer.close()
    return longest


def test_a_suspended_console_does_not_make_the_wal_grow(
    inside: Scene, stopped_console: subprocess.Popen[str], figure: Callable[[str], None]
):
    """The console continues with its snapshot, then with everything; others are unaffected."""
    longest = longest_wal(inside)

    assert 0 < longest < WAL_PROMISE_BYTES
    figure(f"WAL at most {longest / 1e6:.0f} MB while a console stood still for {NUM_LOOKS} commits")
    run = inside.started[-1][0]
    with_all = inside.supervisor.reader
    assert with_all.run(run).step == NUM_LOOKS
    assert len(with_all.steps(run)) == NUM_LOOKS
    stopped_console.send_signal(signal.SIGCONT)
    out, _ = stopped_console.communicate(timeout=60)
    assert out.split() == ["1", "2"], "the rest of its reading, and then a reading of the database that took its place"
    assert not list(inside.home.root.glob("depthscope.db.*"))


def test_without_the_copy_a_stopped_console_would_make_the_wal_grow(
    inside: Scene, stopped_console: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
):
    """The control."""
    monkeypatch.setattr(Store, "bound_wal", lambda _store: None)
    monkeypatch.setattr(database, "MOST_WAL_BYTES", 1 << 40)

    assert longest_wal(inside, enough=WAL_PROMISE_BYTES) > WAL_PROMISE_BYTES


@pytest.mark.parametrize("killed_before", ["move", "rename"])
def test_an_engine_killed_while_it_replaces_the_database_loses_none_of_it(
    inside: Scene, monkeypatch: pytest.MonkeyPatch, killed_before: str
):
    """Killed before the old one is moved, or before the copy is renamed."""

    def kill(*_arguments: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        if killed_before == "move":
            patched.setattr(database, "move", kill)
        else:
            renamed: list[Path] = []
            real = Path.rename

            def rename(path: Path, target: Path) -> Path:
                renamed.append(path)
                if path.name.endswith(".new"):
                    raise Killed
                return real(path, target)

            patched.setattr(Path, "rename", rename)
        with pytest.raises(Killed):
            database.replace_by_copy(inside.supervisor.store._database)
    inside.supervisor.store = Store(inside.home.database)
    inside.supervisor.reader.refresh()

    assert len(inside.supervisor.reader.runs()) == 2
    assert not list(inside.home.root.glob("depthscope.db.*"))
