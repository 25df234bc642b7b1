"""Export of all metrics to other programs."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from console.report.export_rows import COLUMNS, EPOCH_METRICS, GRADIENT_METRICS, STEP_METRICS
from engine.index.writer import Store
from engine.runs.journal import Gradients, LayerGradients, Step
from tests import samples

RUN = "0000000001"


@pytest.fixture
def exported(bare_home: Any) -> Any:
    """Two runs of three epochs; the first has a step row and gradients of two layers, one of them not finite."""
    store = Store(bare_home.home.database)
    with store.transaction():
        for number in (1, 2):
            samples.add_sample(store, number, "he-plain", 20, experiment="depths", epochs_done=3, total=3, seed=number)
        layers = [
            LayerGradients(name="stem", gradient_norm=None, weight_norm=2.0, update_ratio=None),
            LayerGradients(name="head", gradient_norm=0.5, weight_norm=4.0, update_ratio=0.001),
        ]
        events: list[Step | Gradients] = [
            samples.sample_step(100, 1, at=samples.NOW),
            Gradients(at=samples.NOW, epoch=0, step=1, layers=layers),
        ]
        store.ingest(RUN, events, [], end=0)
    store.close()
    return bare_home


MEASURED = [metric for metric in EPOCH_METRICS if not metric.startswith("validation_")]
"""The runs hold no images out of training."""
NUM_ROWS = 2 * 3 * len(MEASURED) + len(STEP_METRICS) + 2 * len(GRADIENT_METRICS)


def test_csv_and_json_lines_hold_every_number_of_the_index(exported: Any):
    """One row per number, equal in both formats and to the index; non-finite values are empty or null."""
    table = list(csv.DictReader(io.StringIO(exported.cli("export", "--all"))))
    lines = [json.loads(line) for line in exported.cli("export", "depths", "--format", "jsonl").splitlines()]

    assert len(table) == len(lines) == NUM_ROWS
    assert tuple(table[0]) == tuple(lines[0]) == COLUMNS
    for row, line in zip(table, lines, strict=True):
        assert row == {name: "" if value is None else str(value) for name, value in line.items()}
    with exported.reader() as reader:
        measured = {(row.epoch, "test_error_percent"): row.test_error_percent for row in reader.epochs(RUN)}
    found = {
        (line["epoch"], line["metric"]): line["value"]
        for line in lines
        if (line["run"], line["kind"], line["metric"]) == (RUN, "epoch", "test_error_percent")
    }
    assert found == measured
    (stem,) = [line for line in lines if (line["layer"], line["metric"]) == ("stem", "gradient_norm")]
    assert (stem["value"], stem["epoch"], stem["position"], stem["kind"]) == (None, 0, 0, "gradient")


def test_parquet_holds_the_same_with_types(exported: Any, tmp_path: Path):
    """As read by another program."""
    target = tmp_path / "all.parquet"
    exported.cli("export", RUN, "--format", "parquet", "-o", str(target))
    lines = [json.loads(line) for line in exported.cli("export", RUN, "--format", "jsonl").splitlines()]
    # Imported here, like tensorboard: they would take a tenth of the collection time.
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(target)

    assert table.to_pylist() == lines
    assert str(table.schema.field("value").type) == "double"
    assert [path.name for path in tmp_path.glob("*.parquet*")] == ["all.parquet"]


def test_tensorboard_reads_what_was_written_for_it(exported: Any, tmp_path: Path):
    """One directory per run, sections for epochs and steps, the journal's times; a second export replaces the first."""
    for _ in range(2):
        exported.cli("export", "--format", "tensorboard", "-o", str(tmp_path / "events"))
    folders = sorted(path.name for path in (tmp_path / "events" / "depths").iterdir())
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(tmp_path / "events" / "depths" / folders[0])).Reload()
    with exported.reader() as reader:
        epochs = reader.epochs(RUN)
    points = found.Scalars("epoch/test_loss")

    assert folders == ["he-plain20-s1-0000000001", "he-plain20-s2-0000000002"]
    assert [point.step for point in points] == [row.step for row in epochs]
    assert [point.wall_time for point in points] == [row.at for row in epochs]
    assert all(math.isclose(a.value, b.test_loss or 0, rel_tol=1e-6) for a, b in zip(points, epochs, strict=True))
    assert "step/learning_rate" in found.Tags()["scalars"]
    assert [point.value for point in found.Scalars("gradient_norm/head")] == [0.5]
    assert "gradient_norm/stem" not in found.Tags()["scalars"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--format", "xlsx"), "the format must be one of csv, jsonl, parquet, tensorboard, got 'xlsx'"),
        (("--format", "parquet"), "--format parquet needs -o PATH"),
        (("nothing",), "no run is called 'nothing'"),
        (("depths", "--all"), "--all exports every run: leave out either the names"),
        (("-o", "{tmp}/there.csv"), "there.csv exists: choose another file, or replace it with --force"),
        (("-o", "{tmp}"), "is a directory: choose a file"),
        (("-o", "{tmp}/no/such.csv"), "such.csv cannot be written (No such file or directory)"),
        (("--format", "tensorboard", "-o", "{tmp}"), "holds files not written by depthscope"),
    ],
)
def test_what_cannot_be_exported_is_refused(exported: Any, tmp_path: Path, words: tuple[str, ...], expected: str):
    """In one line with status 2; existing files stay."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "there.csv").write_text("mine")
    said = exported.cli("export", *(word.format(tmp=place) for word in words), status=2)

    assert expected in said
    assert said.count("\n") == 1
    assert [(path.name, path.read_text()) for path in place.iterdir()] == [("there.csv", "mine")]


def test_force_replaces_a_file(exported: Any, tmp_path: Path):
    """Only with --force."""
    target = tmp_path / "all.csv"
    target.write_text("old")
    exported.cli("export", "-o", str(target), "--force")

    assert target.read_text().startswith("experiment,run,name,")


def test_fifo_is_written_to_and_stays(exported: Any, tmp_path: Path):
    """So do devices such as /dev/stdout and `>(gzip)`; replacing /dev/null by a file would harm everybody."""
    target = tmp_path / "fifo"
    os.mkfifo(target)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(target.read_text)
        exported.cli("export", "depths", "-o", str(target), "--force")
        assert reading.result(timeout=60).startswith("experiment,run,name,")
    assert target.is_fifo()
    refused = exported.cli("export", "-o", str(target), "--format", "parquet", status=2)
    assert "fifo is not a regular file, which --format parquet needs" in refused
    assert [path.name for path in tmp_path.iterdir() if "fifo" in path.name] == ["fifo"]


@pytest.mark.parametrize("wanted", ["parquet", "tensorboard"])
def test_a_format_whose_library_is_missing_names_the_extra(
    exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
):
    """Both formats are extras; everything else works without them."""
    from console.report.export_formats import FORMATS, check_importable
    from engine.base.errors import UsageError

    for name in ("pyarrow", "pyarrow.parquet", "tensorboard", "tensorboard.summary.writer.event_file_writer"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=rf"--format {wanted} needs the extra {wanted}: `uv sync --extra {wanted}`"):
        check_importable(FORMATS[wanted])
    check_importable(FORMATS["csv"])
