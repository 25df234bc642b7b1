"""Class counts of a run, which its worker records, in the index."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.journal import AnyEvent, Resumed
from engine.runs.run import RunStatus
from engine.runs.verification import impossible
from tests import samples

STARTED = samples.a_start()
RESUMED = Resumed(
    pid=1, host="box", device="cpu", device_name="a", torch="2", num_threads=1, step=0, total_steps=9
)  # fmt: skip


def counts_after(tmp_path: Path, *events: AnyEvent) -> tuple[int, ...] | None:
    """Return the class counts in the index after some lines of a journal."""
    home = Home(tmp_path / "home").create()
    store = Store(home.database)
    with store.transaction():
        run = samples.add_sample(
            store, 1, "he-plain", 20, experiment="e", epochs_done=0, status=RunStatus.QUEUED, outcome=None
        )
        store.ingest(run, events, [], end=0)
    store.close()
    with Reader(home.database) as reader:
        return reader.run(run).class_counts


def test_counts_of_the_first_worker_outlive_a_worker_of_an_older_version(tmp_path: Path):
    """Which resumes the run and does not record them."""
    counts = (5, 3, 2)

    assert counts_after(tmp_path, replace(STARTED, class_counts=counts), RESUMED) == counts


def test_a_newer_worker_adds_the_counts_of_an_older_run(tmp_path: Path):
    """When it resumes it."""
    assert counts_after(tmp_path, STARTED, replace(RESUMED, class_counts=(5, 3, 2))) == (5, 3, 2)


def test_an_older_run_has_none(tmp_path: Path):
    """Its classes are taken as balanced."""
    assert counts_after(tmp_path, STARTED) is None


def test_counts_of_other_classes_are_refused():
    """No worker writes counts of three classes for a network of ten."""
    spec = samples.sample_spec("he-plain", 20)

    assert impossible(STARTED, spec, 100) is None
    assert impossible(replace(STARTED, class_counts=(1,) * 10), spec, 100) is None
    said = "counts images of 3 classes, of 10"
    assert impossible(replace(STARTED, class_counts=(5, 3, 2)), spec, 100) == said
    assert impossible(replace(RESUMED, class_counts=(5, 3, 2)), spec, 100) == said
