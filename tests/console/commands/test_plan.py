"""`depthscope plan` end to end: probes, stored probes, accuracy against real runs, and `--until`."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from engine.estimates.duration import Pace
from engine.estimates.probes import keep, torch_version
from engine.spec.devices import cpu_name
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from models.catalog import model_spec
from tests.samples import a_pace

TINY = ("--data", "tiny", "--width", "4", "--batch-size", "20", "--precision", "fp32", "--device", "cpu")


def planned(home: Any, *words: str) -> list[dict[str, Any]]:
    return list(home.json("plan", "-a", "he-resnet", *TINY, *words)["runs"])


def pace(architecture: str, depth: int, *, step: float, **changes: Any) -> Pace:
    """Create a pace of this processor and torch version with a given step time."""
    spec = RunSpec(
        model=model_spec(architecture, depth, width=4, num_classes=4),
        recipe=recipe("reference", batch_size=20, **changes),
    )
    return a_pace(
        spec,
        device_name=cpu_name(),
        torch=torch_version(),
        num_threads=1,
        seconds_per_step=step,
        seconds_per_evaluated_image=0.01,
        seconds_to_begin=1.0,
    )


@pytest.fixture
def same_threads(home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the commands' thread count in this process, so that stored paces apply to both."""
    monkeypatch.setenv("OMP_NUM_THREADS", home.env["OMP_NUM_THREADS"])


def test_a_network_of_which_nothing_is_known_is_probed(home: Any):
    """By a real process, at this machine's current speed; `--no-probe` leaves the time unknown."""
    words = ("-d", "8", "--epochs", "3")
    (unknown,) = planned(home, *words, "--no-probe")
    (probed,) = planned(home, *words)

    assert unknown["estimate"] is None
    assert probed["estimate"]["source"] == "probe"
    assert probed["estimate"]["total_seconds"] >= 3 * probed["estimate"]["seconds_per_epoch"] > 0
    assert probed["num_parameters"] > 0 < probed["memory_bytes"]


def test_an_estimate_is_stored_and_compared_with_the_actual_time(
    home: Any, same_threads: None, wait_until: Callable[..., Any]
):
    """The whole life of an estimate, including a lost index."""
    keep(home.home, [pace("he-resnet", 8, step=0.5)])
    words = ("-d", "8", "--epochs", "3")
    (before,) = planned(home, *words)
    # Ten steps and 80 images per epoch, a checkpoint, and a second at the start.
    assert before["estimate"]["total_seconds"] == pytest.approx(1 + 3 * (10 * 0.5 + 80 * 0.01 + 0.1))

    (run,) = home.json("train", "-a", "he-resnet", *words, *TINY)["runs"]
    assert run["estimate"] == before["estimate"]
    # The run's file agrees with the index.
    wait_until(lambda: home.directory(run["id"]).read_labels().taken_seconds is not None)
    labels = home.directory(run["id"]).read_labels()
    epochs = home.json("show", run["id"])["epochs"]
    assert labels.estimate.total_seconds == before["estimate"]["total_seconds"]
    assert labels.taken_seconds == pytest.approx(sum(row["seconds"] for row in epochs) + run["checkpoint_seconds"])

    accuracy = home.json("plan", "-a", "he-resnet", *TINY, *words)["accuracy"]
    (truth,) = accuracy["runs"]
    assert (truth["run"], truth["source"]) == (run["id"], "probe")
    assert truth["taken_seconds"] == labels.taken_seconds
    error = 100 * abs(truth["estimated_seconds"] / truth["taken_seconds"] - 1)
    assert accuracy["median_error_percent"] == accuracy["worst_error_percent"] == pytest.approx(error)
    assert f"off by {error:.1f} % (median), {error:.1f} % at worst (1 run)" in home.cli(
        "plan", "-a", "he-resnet", *TINY, *words
    )

    home.cli("engine", "stop")
    home.home.database.unlink()
    home.cli("engine", "start")
    rebuilt = home.json("plan", "-a", "he-resnet", *TINY, *words)
    assert rebuilt["accuracy"] == accuracy
    assert rebuilt["runs"][0]["estimate"]["source"] == "history"


def test_past_runs_suffice_to_estimate_the_same_and_similar_networks(home: Any):
    """`--no-probe` starts nothing."""
    home.cli("train", "-a", "he-resnet", "-d", "8", *TINY, "--epochs", "3")
    same, deeper = planned(home, "-d", "8,14", "--epochs", "3", "--no-probe")

    assert (same["estimate"]["source"], same["estimate"]["num_runs"]) == ("history", 1)
    assert (deeper["estimate"]["source"], deeper["estimate"]["network"]) == ("scaled", "he-resnet8-w4-c4")
    assert deeper["estimate"]["total_seconds"] > same["estimate"]["total_seconds"]
    assert not home.home.probes.exists()
    page = home.cli("plan", "-a", "he-resnet", *TINY, "-d", "8,14", "--epochs", "3", "--no-probe")
    assert "1 past run of he-resnet8-w4-c4, by MACs" in page
    assert re.search(r"he-resnet8-w4-c4-s0 .*~.*~.*~.*± \d+ %  1 past run\n", page)
    assert "no estimated run has finished yet" in page


NIGHT = ("--seeds", "3", *TINY, "--no-augment", "--lr", "0.05", "--drops", "0.3,0.6", "--train-images", "100")


@pytest.fixture
def hours(home: Any, same_threads: None) -> None:
    """With 697 epochs, 8 layers take 1 h 09 min and 14 layers 2 h 07 min."""
    networks = [(architecture, depth) for architecture in ("he-plain", "he-resnet") for depth in (8, 14)]
    keep(home.home, [pace(*network, step=network[1] // 7, augment=False) for network in networks])


@pytest.mark.parametrize(
    ("until", "kept", "num_commands"),
    [
        ("+30h", {8: [0, 1, 2], 14: [0, 1, 2]}, 0),
        ("+19h", {8: [0, 1, 2], 14: [0, 1]}, 2),
        ("+15.5h", {8: [0, 1], 14: [0, 1]}, 1),
        ("+11h", {8: [0, 1], 14: [0]}, 2),
        ("+6h", {8: [0, 1], 14: []}, 1),
        ("+2h", {8: [], 14: []}, 0),
    ],
)
def test_until_lists_the_runs_that_finish_and_the_commands_that_queue_them(
    home: Any, hours: None, until: str, kept: dict[int, list[int]], num_commands: int
):
    """With 15 % added to all estimates, the command lines create exactly the kept runs in one experiment."""
    asked = ("-a", "he-resnet,he-plain", "-d", "8,14", *NIGHT, "--epochs", "697", "--until", until)
    found = home.json("plan", *asked)
    outlook, specs = found["until"], {run["name"]: run["spec"] for run in found["runs"]}
    wanted = {
        f"{architecture}{depth}-w4-c4-s{seed}"
        for architecture in ("he-resnet", "he-plain")
        for depth, seeds in kept.items()
        for seed in seeds
    }

    assert {run["name"] for run in outlook["runs"] if run["kept"]} == wanted
    assert len(outlook["commands"]) == num_commands
    lines = [shlex.split(line) for line in outlook["commands"]]
    made = [run for line in lines for run in home.json(*line[1:], "--dry-run")["runs"]]
    if lines:
        assert {run["name"]: run["spec"] for run in made} == {name: specs[name] for name in wanted}
        assert ("-e" in lines[0]) == (num_commands == 2)


def test_until_says_so_in_words(home: Any, hours: None):
    """What to leave out, how to queue the rest, and which of all the runs would finish."""
    asked = ("-a", "he-resnet,he-plain", "-d", "8,14", *NIGHT, "--epochs", "697", "--until", "+11h", "-e", "night")
    page = home.cli("plan", *asked)

    left_out = "if you leave out seed 2 of depth 8; seed 1,2 of depth 14: all 6 others finish by "
    assert re.search(rf"{left_out}[-\d: ]+:\n", page)
    # The same counts as in the table.
    assert re.search(r"if all are queued: 5 finish, 2 perhaps, 5 do not by [-\d: ]+\n", page)
    assert "  depthscope train -a he-resnet,he-plain -d 8 --seed 0,1 --width 4 --data tiny" in page
    assert "  depthscope train -a he-resnet,he-plain -d 14 --seed 0 --width 4 --data tiny" in page
    assert page.count(" -e night\n") == 2
    words = re.findall(r"^he-\S+ .* (yes|perhaps|no)$", page, re.MULTILINE)
    assert words == ["yes"] * 5 + ["perhaps"] * 2 + ["no"] * 5


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_narrow_networks_are_expected_side_by_side(home: Any, monkeypatch: pytest.MonkeyPatch):
    """On two cores two runs end at the same time, and the third follows."""
    home.env["OMP_NUM_THREADS"] = "2"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    keep(home.home, [pace("he-plain", 8, step=1, augment=False)])
    until = home.json("plan", "-a", "he-plain", "-d", "8", *NIGHT, "--epochs", "100", "--until", "+30h")["until"]
    first, second, third = (run["expected_at"] - until["until"] + 30 * 3600 for run in until["runs"])

    assert first == second
    assert third == pytest.approx(2 * first, rel=0.01)


def test_a_plan_waits_for_what_is_queued_already(home: Any):
    """A queued run of a million epochs delays everything."""
    home.cli("train", "-a", "he-resnet", "-d", "8", *TINY, "--epochs", "3")
    words = ("-a", "he-resnet", "-d", "8", *TINY, "--epochs", "3", "--no-probe", "--until", "+10d")

    def ends_in() -> float:
        until = home.json("plan", *words)["until"]
        return float(until["runs"][0]["expected_at"] - until["until"])

    before = ends_in()
    run = home.train("--precision", "fp32", "--epochs", "1000000")
    with_queue = ends_in()
    home.cli("stop", run)

    assert with_queue > before + 3600
