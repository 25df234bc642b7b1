"""State of a run whose worker has started but does not train yet."""

from __future__ import annotations

import re
import time
from pathlib import Path

from msgspec.structs import replace

from console.text.documents import run_details
from console.text.listing import run_page, runs_table
from console.text.status import MIN_STALL_SECONDS, remark, state
from engine.analysis.diagnosis import diagnose
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.run import Run, RunStatus
from tests import samples
from tests.curves import a_run, made_up_curves


def test_a_worker_that_has_not_made_a_step_is_starting(tmp_path: Path):
    """Both at first and when a run with many steps resumes; its first new step makes it running."""
    home = Home(tmp_path / "home").create()
    store = Store(home.database)

    def run() -> Run:
        with Reader(home.database) as reader:
            return reader.run(id)

    with store.transaction():
        id = samples.add_sample(
            store, 1, "he-resnet", 20, experiment="e", epochs_done=0, status=RunStatus.QUEUED, outcome=None
        )
    assert state(run(), time.monotonic()) == "queued"

    seen = []
    for _ in range(2):
        with store.transaction():
            store.set_running(id, "cpu", started_at=samples.NOW)
        seen.append(state(run(), time.monotonic()))
        assert "  starting  " in runs_table([run()])
        assert "status      starting on cpu" in run_page(run(), [], [])
        assert state(run(), time.monotonic() + MIN_STALL_SECONDS + 1) == "stalled"
        with store.transaction():
            store.ingest(id, [samples.sample_step(100, 1, at=samples.NOW)], [], end=0)
        seen.append(state(run(), time.monotonic()))
        with store.transaction():
            store.set_status(id, RunStatus.QUEUED)
    store.close()

    assert seen == ["starting", "running", "starting", "running"]


def test_a_starting_run_says_what_it_waits_for(tmp_path: Path):
    """In the run's remark."""
    home = Home(tmp_path / "home").create()
    store = Store(home.database)
    with store.transaction():
        id = samples.add_sample(
            store, 1, "he-resnet", 20, experiment="e", epochs_done=0, status=RunStatus.QUEUED, outcome=None
        )
        store.set_running(id, "cpu", started_at=samples.NOW)
    store.close()
    with Reader(home.database) as reader:
        said = remark(reader.run(id), [], time.monotonic())

    assert said == "he-resnet20-s0: worker starting, loading torch and the images"


def test_unknown_values_are_a_dash_in_every_column(tmp_path: Path):
    """Loss and error of a run that has not started look the same."""
    home = Home(tmp_path / "home").create()
    store = Store(home.database)
    with store.transaction():
        samples.add_sample(
            store, 1, "he-resnet", 20, experiment="e", epochs_done=0, status=RunStatus.QUEUED, outcome=None
        )
    store.close()
    with Reader(home.database) as reader:
        header, row = runs_table(reader.runs()).splitlines()

    for title in ("train loss", "test error"):
        end = header.index(title) + len(title)
        assert row[end - 3 : end] == "  -", title


def test_a_standing_loss_says_what_it_waits_for():
    """In the run's remark, on its page and in its document, instead of a diagnosis."""
    waiting = next(curve for curve in made_up_curves() if curve.name == "waits for the drop at 82")
    run = replace(a_run(waiting.spec), epoch=80, images_per_second=1.0)
    said = re.compile(r"flat since epoch \d\d; the rate drops at 82")

    assert diagnose(run, waiting.rows) == []
    assert said.search(remark(run, waiting.rows, time.monotonic()))
    assert re.search(rf"^outlook     {said.pattern}$", run_page(run, waiting.rows, []), re.MULTILINE)
    assert said.fullmatch(run_details(run, waiting.rows, [], [], [])["outlook"])
    assert run_details(run, waiting.rows[:20], [], [], [])["outlook"] is None
