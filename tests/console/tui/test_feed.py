"""Reading an index with more runs than the first frame waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from console.tui import feed as feeds
from console.tui.feed import Feed
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.run import RunOutcome, RunStatus
from tests.samples import fill_large, fill_small


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Thirteen runs, two running and one queued; the first look reads three, each later one four."""
    monkeypatch.setattr(feeds, "RUNS_AT_FIRST", 3)
    monkeypatch.setattr(feeds, "RUNS_A_LOOK", 4)
    monkeypatch.setattr(feeds, "RUNS_CHANGED_LAST", 1)
    home = Home(tmp_path / "home").create()
    fill_small(home)
    return home


def ids(runs: Any) -> list[str]:
    return [run.id for run in runs]


def test_the_first_look_reads_the_newest_queued_and_requested_runs(home: Home):
    """In submission order; marks or the cursor may be on very old runs."""
    feed = Feed(home, first=["0000000002"])
    assert feed.look().runs

    assert ids(feed.runs.values()) == [f"{number:010x}" for number in (2, 7, 8, 9, 11, 12, 13)]


def test_later_looks_read_the_rest_and_then_nothing_more(home: Home):
    """In the same order as reading all at once; afterwards an unchanged index gives nothing new."""
    feed = Feed(home, first=["0000000002"])
    while feed.look().runs:
        pass

    with Reader(home.database) as reader:
        assert list(feed.runs.values()) == reader.runs()


def test_what_changes_while_older_runs_are_unread_is_seen(home: Home):
    """One finishes, one is removed, and one was read already."""
    feed = Feed(home)
    feed.look()
    store = Store(home.database)
    with store.transaction():
        for run in ("0000000003", "0000000007"):
            store.set_status(run, RunStatus.FINISHED, outcome=RunOutcome.CANCELLED, finished_at=1.0)
    store.close()
    feed.look()
    assert feed.runs["0000000007"].outcome is RunOutcome.CANCELLED
    while feed.look().runs:
        pass

    with Reader(home.database) as reader:
        assert list(feed.runs.values()) == reader.runs()


def test_run_hidden_and_deleted_between_two_looks_is_gone(home: Home):
    """Its rows are gone, so that nothing says any more that it was hidden."""
    feed = Feed(home)
    while feed.look().runs:
        pass
    before = set(feed.runs)
    store = Store(home.database)
    with store.transaction():
        store.forget_runs(["0000000003"])
    store.compact()
    while feed.look().runs:
        pass

    assert before - set(feed.runs) == {"0000000003"}
    with store.transaction():
        store.set_status("0000000007", RunStatus.FINISHED, outcome=RunOutcome.CANCELLED, finished_at=1.0)
    store.close()
    feed.look()
    assert feed.runs["0000000007"].outcome is RunOutcome.CANCELLED


def test_ls_shows_the_newest_of_many_and_says_how_many_more(bare_home: Any):
    """In the table; JSON lists all."""
    fill_large(bare_home.home, num_runs=12, epochs=1)
    done = bare_home.start("ls", "-n", "5")
    out, said = done.communicate(timeout=60)

    assert [line.split()[0] for line in out.splitlines()[1:]] == [f"{number:010x}" for number in range(7, 12)]
    assert said == "the newest 5 of 12 runs; -n 12 lists all of them\n"
    assert len(bare_home.json("ls", "-n", "5")["runs"]) == 12
    filtered = bare_home.cli("ls", "-n", "2", "--where", "arch:plain").splitlines()[1:]
    assert [line.split()[0] for line in filtered] == ["0000000009", "000000000b"]
