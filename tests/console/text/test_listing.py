"""State of a run whose worker has started but does not train yet."""

from __future__ import annotations

import re
import time
from pathlib import Path

from msgspec.structs import replace

from console.comparison.digest import run_line
from console.comparison.groups import group_runs
from console.comparison.tables import final_table
from console.text.documents import run_details, run_document
from console.text.filter import parse_filter
from console.text.listing import run_page, runs_table
from console.text.status import MIN_STALL_SECONDS, remark, state
from engine.analysis.diagnosis import diagnose
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.run import Run, RunOutcome, RunStatus
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


def test_a_run_has_one_time_wherever_it_is_shown():
    """Training, evaluation and checkpoints together: page, remark, comparison, digest, filter and JSON agree."""
    run = replace(
        a_run(samples.sample_spec("he-plain", 20, epochs=2), outcome=RunOutcome.SUCCEEDED),
        epoch=2, seconds=100.0, checkpoint_seconds=23.0,
    )  # fmt: skip
    row = samples.an_epoch(2)

    assert "time        2m03: training" in run_page(run, [row], [])
    assert remark(run, [row], 0.0).endswith("took 2m03")
    assert final_table(group_runs([run])).splitlines()[1].split("  ")[-1].strip() == "2m03"
    assert run_line(run).endswith(", 2m03")
    assert parse_filter("time>=123 time<=123")(run, 0.0)
    assert run_document(run)["taken_seconds"] == 123.0
    assert run_document(run)["seconds"] == 100.0
