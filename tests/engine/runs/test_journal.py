"""The journal: appended line by line, read from an offset, whole lines only."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.runs.journal import JournalWriter, Notice, Step, read_journal


def a_step(step: int) -> Step:
    return Step(step=step, epoch=1, train_loss=2.0, train_error_percent=50.0, learning_rate=0.1, images_per_second=10.0)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def write(path: Path, *texts: str) -> JournalWriter:
    writer = JournalWriter.open(path)
    for text in texts:
        writer.append(Notice(text=text))
    return writer


def texts(path: Path, start: int = 0) -> list[str]:
    return [event.text for event in read_journal(path, start).events if isinstance(event, Notice)]


def test_what_is_appended_is_read_in_order_and_numbered(journal: Path):
    """seq has no gaps or repetitions over any number of workers."""
    write(journal, "a", "b").close()
    write(journal, "c").close()

    events = read_journal(journal).events

    assert [event.seq for event in events] == [0, 1, 2]
    assert texts(journal) == ["a", "b", "c"]


def test_reading_continues_where_it_stopped(journal: Path):
    """The engine keeps the offset and sees each line once."""
    writer = write(journal, "a")
    end = read_journal(journal).end
    writer.append(Notice(text="b"))

    assert texts(journal, end) == ["b"]


def test_a_torn_last_line_is_not_read_and_is_cut_off_by_the_next_worker(journal: Path):
    """As after a worker was killed during a write."""
    write(journal, "a", "b").close()
    journal.write_bytes(journal.read_bytes()[:-5])

    assert texts(journal) == ["a"]
    write(journal, "c").close()
    assert texts(journal) == ["a", "c"]
    assert [event.seq for event in read_journal(journal).events] == [0, 1]


def test_a_journal_longer_than_a_reading_is_read_in_pieces(journal: Path):
    """Each piece ends at a line break and has at least one line, however long."""
    write(journal, *("x" * 300 for _ in range(20))).close()
    start, seen = 0, 0
    while (reading := read_journal(journal, start, limit=100)).end > start:
        start, seen = reading.end, seen + len(reading.events)

    assert seen == 20


def test_a_step_reported_before_a_kill_is_not_reported_again(journal: Path):
    """A resumed worker repeats the step from its checkpoint."""
    writer = JournalWriter.open(journal)
    writer.step(a_step(5))
    writer.close()
    writer = JournalWriter.open(journal)
    for step in (3, 5, 7):
        writer.step(a_step(step))

    assert [event.step for event in read_journal(journal).events if isinstance(event, Step)] == [5, 7]


def test_a_missing_journal_is_empty(journal: Path):
    """The worker may not have created it yet."""
    assert read_journal(journal).events == []


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=400))
def test_any_bytes_are_read_without_an_exception(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    """Valid lines of any damaged journal are read, and the offset never passes the end."""
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)

    reading = read_journal(path)

    assert reading.end == content.rfind(b"\n") + 1
