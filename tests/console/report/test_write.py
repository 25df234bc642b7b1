"""Reports: contents, refusals, and replacing earlier reports."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from console.report import facts
from engine.index.writer import Store
from engine.runs.directory import Labels
from engine.runs.journal import Gradients, LayerGradients
from engine.runs.run import RunOutcome, RunStatus
from tests import recorded_runs, samples

RECORDED = recorded_runs.RECORDED
EXPECTED = Path(__file__).with_name("expected")


def fill(home: Any, experiment: str = "depths") -> None:
    """Create two depths with and without shortcuts over two seeds; one run is still training, one diverged."""
    store = Store(home.home.database)
    number = 0
    with store.transaction():
        for depth, residual, plain in ((20, 8.1, 8.9), (56, 7.7, 39.0)):
            for architecture, floor in (("he-resnet", residual), ("he-plain", plain)):
                for seed in range(2):
                    number += 1
                    ended: dict[str, Any] = {"epochs_done": 12}
                    if (architecture, depth, seed) == ("he-plain", 56, 1):
                        ended = {"epochs_done": 5, "outcome": RunOutcome.DIVERGED}
                    if (architecture, depth, seed) == ("he-resnet", 56, 1):
                        ended = {"epochs_done": 7, "status": RunStatus.PAUSED, "outcome": None}
                    samples.add_sample(
                        store, number, architecture, depth, experiment=experiment, floor=floor + seed, seed=seed,
                        total=12, **ended,
                    )  # fmt: skip
        # One epoch of a successful run has no measurements.
        gap = msgspec.structs.replace(samples.sample_epoch(4, floor=8.0, at=samples.NOW), test_error_percent=None)
        store.ingest("0000000001", [gap], [], end=0)
    store.close()


def take_recorded(home: Any, name: str) -> None:
    """Copy recorded runs to where a starting engine finds them."""
    for run in (RECORDED / name).iterdir():
        target = home.home.runs / run.name
        target.mkdir(mode=0o700)
        for file in run.iterdir():
            (target / file.name).write_bytes(file.read_bytes())


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace figures with empty ones for tests of the rest; drawing takes a second per report."""
    from matplotlib.figure import Figure

    def save(_figure: Figure, file: Any, **_options: Any) -> None:
        file.write(b"blank")

    monkeypatch.setattr(Figure, "savefig", save)


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def refused(home: Any, *words: str) -> str:
    said = str(home.cli(*words, status=2))
    assert said.startswith("depthscope: "), said
    assert said.count("\n") == 1, said
    return said


class References(HTMLParser):
    """Collects a page's text and everything it could fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_markdown_of_a_recorded_experiment(bare_home: Any, blank_figures: None, tmp_path: Path):
    """Exact text: four recorded runs on synthetic images, with provenance from their journals."""
    take_recorded(bare_home, "quickstart")
    bare_home.cli("engine", "start")
    bare_home.cli("report", "exp1", "-o", str(tmp_path / "report"))
    written = (tmp_path / "report" / "report.md").read_text()
    written = re.sub(r"on \d{4}-\d\d-\d\d \d\d:\d\d UTC", "on DATE", written)
    written = re.sub(r"with Python [\d.]+ and matplotlib [\d.]+\.", "with VERSIONS.", written)
    expected = EXPECTED / "report.md"

    assert written == expected.read_text()


def test_degradation_is_among_the_diagnoses(bare_home: Any, blank_figures: None, tmp_path: Path):
    """The findings agree with the verdict, followed by gradient numbers if recorded."""
    take_recorded(bare_home, "depths")
    bare_home.cli("engine", "start")
    bare_home.cli("report", "-o", str(tmp_path / "report"))
    text = (tmp_path / "report" / "report.md").read_text()
    diagnoses = text.partition("## Diagnoses")[2].partition("## Runs")[0].strip().splitlines()

    assert diagnoses == [
        "- he-plain44-w4: degradation: trains 12.9 ± 1.9 points worse than he-plain8-w4, n=3",
        (
            "- he-plain44-w4: stem gradient 803 times the head's at initialisation (n=1), against 2.0 times in"
            " he-resnet44-w4 (n=1)"
        ),
        "- he-plain44-w4-s2: not learning: loss is no better than guessing (ln 10 = 2.303) for 8 epochs",
    ]
    assert (
        "degradation: trains 12.9 ± 1.9 points worse than he-plain8-w4, n=3"
        in (tmp_path / "report" / "report.html").read_text()
    )


def test_every_run_is_reported_whatever_its_outcome(bare_home: Any, blank_figures: None, tmp_path: Path):
    """Runs without a result are marked, drawn and left out of means; published numbers list differences."""
    fill(bare_home)
    bare_home.cli("report", "-o", str(tmp_path / "report"))
    text = (tmp_path / "report" / "report.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| he-plain56 |"))

    assert "Unfinished: he-resnet56-s1 (paused 7/12), he-plain56-s1 (diverged 5/12)." in text
    assert row.split(" | ")[3] == "1"
    assert row.endswith("| seed 1 diverged at epoch 5/12 |")
    assert "2 runs without a result are drawn thin." in text
    cells = {line.split(" | ")[0][2:]: line.split(" | ")[7] for line in text.splitlines() if line.startswith("| he-")}
    assert cells["he-resnet20"] == "8.75 (He et al.)"
    assert cells["he-plain20"] == ""
    assert "12 epochs (164 there)" in text
    assert "Crosses are results published by others, trained elsewhere." in text
    assert len(json.loads((tmp_path / "report" / "spec.json").read_text())["runs"]) == 8
    for run in range(1, 9):
        assert f"| {run:010x} |" in text


def test_the_page_is_self_contained_and_escapes_names(bare_home: Any, tmp_path: Path):
    """A single file to send by mail, in which names are only labels."""
    name = "<script>alert(1)</script> & $x_1$ | *a*"
    fill(bare_home, name)
    bare_home.cli("report", name, "-o", str(tmp_path / "report"))
    page = (tmp_path / "report" / "report.html").read_text()
    found = References()
    found.feed(page)
    markdown = (tmp_path / "report" / "report.md").read_text()

    assert found.found
    assert all(reference.startswith("data:image/svg+xml;base64,") for reference in found.found)
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    assert "url(" not in page
    assert name in found.text
    assert r"\<script\>alert(1)\</script\> \& $x_1$ \| \*a\*" in markdown.splitlines()[0]
    for reference in found.found:
        assert base64.b64decode(reference.partition(",")[2]).startswith(b"<?xml")


def test_stars_tags_and_notes_are_beside_their_runs(bare_home: Any, blank_figures: None, tmp_path: Path):
    """Separate columns in both files if any run has them, else none."""
    fill(bare_home)
    bare_home.cli("report", "-o", str(tmp_path / "bare"))
    header = next(line for line in (tmp_path / "bare" / "report.md").read_text().splitlines() if "| seed | id" in line)
    store = Store(bare_home.home.database)
    labels = Labels(
        name="he-resnet20-s0", experiment="depths", position=1, created_at=samples.NOW - 9000, starred=True,
        tags=("baseline", "good"), notes="<b>mine</b> | *a*",
    )  # fmt: skip
    with store.transaction():
        store.set_labels("0000000001", labels)
    store.close()
    bare_home.cli("report", "-o", str(tmp_path / "report"))
    lines = (tmp_path / "report" / "report.md").read_text().splitlines()
    page = (tmp_path / "report" / "report.html").read_text()

    assert header.endswith("| device |")
    assert f"{header} star | tags | notes |" in lines
    row = next(line for line in lines if line.startswith("| he-resnet20-s0 "))
    assert row.endswith(r" | starred | baseline, good | \<b\>mine\</b\> \| \*a\* |")
    assert next(line for line in lines if line.startswith("| he-resnet20-s1 ")).endswith(" |  |  |  |")
    assert "&lt;b&gt;mine&lt;/b&gt; | *a*" in page
    assert "<b>mine" not in page


def test_figures_are_drawn_twice_over_and_the_same_every_time(bare_home: Any, tmp_path: Path):
    """SVG and PNG of each, independent of the time of day, so that version control shows real changes."""
    fill(bare_home)
    (tmp_path / "second" / ".depthscope-new-abc" / "figures").mkdir(parents=True)
    (tmp_path / "second" / ".depthscope-new-abc" / "report.md").write_text("half, by a writer that was killed")
    for name in ("first", "second"):
        bare_home.cli("report", "-o", str(tmp_path / name))
    first, second = (files(tmp_path / name) for name in ("first", "second"))
    pictures = {name for name in first if name.startswith("figures/")}

    assert {"figures/training-loss.svg", "figures/test-error.png", "figures/pairs.svg"} <= pictures
    assert {name.rsplit(".", 1)[0] for name in pictures if name.endswith("svg")} == {
        name.rsplit(".", 1)[0] for name in pictures if name.endswith("png")
    }
    for name in pictures:
        assert first[name] == second[name], name
    assert first.keys() == second.keys(), "what a killed writer left is cleared away"


def test_gradients_are_drawn_where_they_were_recorded(bare_home: Any, tmp_path: Path):
    """A map of layers and epochs, and a profile from stem to head; runs without gradients are named."""
    fill(bare_home)
    store = Store(bare_home.home.database)
    with store.transaction():
        for run, sizes in (("0000000001", (1e-1, 1e-1, 2e-1)), ("0000000003", (1e-5, None, 2e-1))):
            layers = [
                LayerGradients(name=f"layer{place}", gradient_norm=size, weight_norm=1.0, update_ratio=1e-3)
                for place, size in enumerate(sizes)
            ]
            store.ingest(run, [Gradients(epoch=epoch, step=epoch, layers=layers) for epoch in (0, 1, 2)], [], end=0)
    store.close()
    bare_home.cli("report", "-o", str(tmp_path / "report"))
    text = (tmp_path / "report" / "report.md").read_text()

    assert "![Gradient flow](figures/gradient-flow.svg)" in text
    assert "![Gradient from layer to layer](figures/gradient-profile.svg)" in text
    assert "No gradients were recorded of he-resnet20-s1, he-plain20-s1, he-resnet56-s0" in text
    assert "he-plain20-s0: vanishing gradient: stem gradient 5e-5 of the head's" in text


def test_a_second_report_replaces_the_first(bare_home: Any, blank_figures: None, tmp_path: Path):
    """Repeated reports into the same directory while runs finish."""
    fill(bare_home)
    target = tmp_path / "deep" / "report"
    bare_home.cli("report", "-o", str(target))
    store = Store(bare_home.home.database)
    with store.transaction():
        store.set_status("0000000006", RunStatus.FINISHED, outcome=RunOutcome.CANCELLED, finished_at=samples.NOW)
    store.close()
    bare_home.cli("report", "-o", str(target))

    assert "he-resnet56-s1 (cancelled 7/12)" in (target / "report.md").read_text()
    assert sorted(path.name for path in target.iterdir()) == [
        ".depthscope.json", "figures", "report.html", "report.md", "spec.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda path: (path / "thesis.tex").write_text("mine"), "holds files not written by depthscope, such as thesis.tex: choose"),  # noqa: E501
        (lambda path: (path / ".depthscope.json").write_text("{"), ".depthscope.json is damaged"),
        (lambda path: path.rmdir() or path.write_text("a file"), "is not a directory"),
    ],
)  # fmt: skip
def test_a_foreign_directory_is_left_unchanged(bare_home: Any, tmp_path: Path, prepare: Any, expected: str):
    """Nothing is written, nothing is overwritten."""
    fill(bare_home)
    target = tmp_path / "place" / "report"
    target.mkdir(parents=True)
    prepare(target)
    before = target.is_dir(), files(tmp_path / "place")

    assert expected in refused(bare_home, "report", "-o", str(target))
    assert (target.is_dir(), files(tmp_path / "place")) == before


def test_a_report_that_was_edited_is_not_written_over(bare_home: Any, blank_figures: None, tmp_path: Path):
    """Files the user added or changed are kept; so is the report of another experiment."""
    fill(bare_home)
    target = tmp_path / "report"
    bare_home.cli("report", "-o", str(target))
    written = (target / "report.md").read_bytes()
    (target / "report.md").write_text("my own words")
    assert "report.md has changed since it was written" in refused(bare_home, "report", "-o", str(target))
    assert (target / "report.md").read_text() == "my own words"
    (target / "report.md").write_bytes(written)
    (target / "figures" / "mine.png").write_bytes(b"x")
    assert "holds figures/mine.png, not written by depthscope" in refused(bare_home, "report", "-o", str(target))
    (target / "figures" / "mine.png").unlink()
    store = Store(bare_home.home.database)
    with store.transaction():
        samples.add_sample(store, 20, "he-resnet", 20, experiment="other", epochs_done=3, total=3)
    store.close()
    before = files(target)
    assert "holds the report of depths" in refused(bare_home, "report", "other", "-o", str(target))
    assert files(target) == before


def test_an_impossible_report_is_refused_before_anything_is_written(bare_home: Any, tmp_path: Path):
    """No experiment, an unknown name, or no result."""
    target = tmp_path / "report"
    assert "no runs yet" in refused(bare_home, "report", "-o", str(target))
    samples.fill_small(bare_home.home)
    assert "no experiment is called 'nothing'" in refused(bare_home, "report", "nothing", "-o", str(target))
    said = refused(bare_home, "report", "broken", "-o", str(target))
    assert "broken has no finished runs to report (1 diverged, 1 failed, 1 cancelled): `depthscope show " in said
    assert " shows why, `depthscope retry " in said
    assert "wait" not in said, "there is nothing to wait for"
    assert not target.exists()


def test_an_unwritable_path_is_reported(bare_home: Any, tmp_path: Path):
    """A path through a file is a place where not even root can create a directory."""
    fill(bare_home)
    (tmp_path / "file").write_text("")

    assert "is not a directory: choose another" in refused(bare_home, "report", "-o", str(tmp_path / "file" / "report"))
    if Path("/proc/self").exists():
        assert "cannot be written (" in refused(bare_home, "report", "-o", "/proc/report")


def test_networks_trained_in_several_ways_have_distinct_labels(bare_home: Any):
    """Otherwise two rows of the table would share a label."""
    store = Store(bare_home.home.database)
    with store.transaction():
        for number, total in ((1, 3), (2, 4)):
            samples.add_sample(
                store, number, "he-plain", 20, experiment="ways", epochs_done=total, total=total, seed=number
            )
    store.close()
    with bare_home.reader() as reader:
        gathered = facts.gather_facts(reader, bare_home.home.runs, "ways")

    assert {gathered.label(group) for group in gathered.groups} == {"he-plain20 (epochs 3)", "he-plain20 (epochs 4)"}


def test_the_report_trains_again_to_the_same_numbers(home: Any, blank_figures: None, tmp_path: Path):
    """spec.json suffices to train again; different images are reported."""
    words = ("--data", "tiny", "--width", "4", "--batch-size", "20", "--epochs", "1")
    home.cli("train", "-a", "he-plain", "-d", "8", "--seed", "3", *words, "-e", "first")
    target = tmp_path / "report"
    home.cli("report", "first", "-o", str(target))
    again = home.json("train", "--from", str(target), "-e", "again")["runs"]
    first = home.json("ls", "first")["runs"]

    assert [run["spec"] for run in again] == [run["spec"] for run in first]
    assert [run["test_loss"] for run in again] == [run["test_loss"] for run in first]
    specs = json.loads((target / "spec.json").read_text())
    specs["runs"][0]["data_sha256"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(specs))
    child = home.start("train", "--from", str(tmp_path / "other.json"), "--dry-run")
    assert "tiny differs from the dataset these runs were trained on" in child.communicate(timeout=60)[1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "Input data was truncated"),
        ("[]", "Expected `object`, got `array`"),
        ('{"experiment": "a", "runs": []}', "the list is empty"),
        ('{"experiment": "a", "runs": [{"name": "b", "spec": {}}]}', "at `$.runs[0].spec`"),
        ('{"format": 9, "experiment": "a", "runs": []}', "unknown format 9"),
    ],
)
def test_a_file_that_lists_no_runs_is_refused(home: Any, tmp_path: Path, content: str, expected: str):
    """The error says what is wrong and where."""
    (tmp_path / "list.json").write_text(content)
    said = refused(home, "train", "--from", str(tmp_path / "list.json"))

    assert "list.json is not a list of runs such as a report's spec.json" in said
    assert expected in said


def test_a_list_excludes_the_options_that_would_change_it(home: Any, tmp_path: Path):
    """It does not guess which of the two takes precedence."""
    said = refused(home, "train", "--from", str(tmp_path / "no.json"), "-a", "resnet", "--lr", "0.1", "--no-augment")

    assert "leave out --arch, --learning-rate, --augment" in said
    said = refused(home, "train", "--from", str(tmp_path))
    assert f"{tmp_path} has no spec.json: give a report's directory" in said
    assert "no.json: No such file" in refused(home, "train", "--from", str(tmp_path / "no.json"))
    assert "an architecture is needed" in refused(home, "train", "-d", "20")
