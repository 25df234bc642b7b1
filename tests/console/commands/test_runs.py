"""Commands that show results, compared with the journal."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from typing import Any

import pytest

from console.commands.quickstart import quickstart
from console.programs.checks import examine_engine
from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.control.protocol import NewRun
from engine.index.database import Database
from engine.runs.journal import Epoch, read_journal
from tests.terminal import Terminal, terminal_env

BASE = ("--data", "tiny", "--width", "4", "--batch-size", "20", "--epochs", "2")


def epochs_of(home: Any, run: str) -> list[Epoch]:
    return [event for event in read_journal(home.directory(run).journal).events if isinstance(event, Epoch)]


def train_pairs(home: Any) -> None:
    """Train two architectures at two depths, one of them with two seeds, using `train`."""
    trained = home.json("train", "-a", "he-plain,he-resnet", "-d", "8,14", *BASE, "-e", "pairs")
    (home.home.root / "trained.json").write_text(json.dumps(trained))
    home.json("train", "-a", "he-resnet", "-d", "8", "--seed", "1", *BASE, "-e", "pairs")


@pytest.fixture
def pairs(copied_home: Callable[..., Any]) -> Any:
    return copied_home("pairs", train_pairs)


def test_train_ls_show_plot_and_compare_agree_with_the_journal(pairs: Any):
    """Every number shown equals the one measured by the worker."""
    home = pairs
    for run in json.loads((home.home.root / "trained.json").read_text())["runs"]:
        measured = epochs_of(home, run["id"])
        assert run["outcome"] == "succeeded"
        assert run["test_error_percent"] == measured[-1].test_error_percent
        shown = home.json("show", run["id"])
        assert [row["train_loss"] for row in shown["epochs"]] == [event.train_loss for event in measured]
        (curve,) = home.json("plot", run["id"], "--metric", "test-error")["curves"]
        assert curve["x"] == [1, 2]
        assert curve["y"] == [event.test_error_percent for event in measured]
    compared = home.json("compare", "pairs")
    by_network = {network["network"]: network for network in compared["networks"]}
    listed = home.json("ls", "pairs")["runs"]
    for network in by_network.values():
        finals = [epochs_of(home, run["id"])[-1].test_error_percent for run in listed if run["id"] in network["runs"]]
        assert network["test_error_percent"]["mean"] == pytest.approx(sum(finals) / len(finals))
        assert network["test_error_percent"]["n"] == len(finals)
    assert by_network["he-resnet8-w4-c4"]["test_error_percent"]["std"] is not None
    assert by_network["he-plain8-w4-c4"]["test_error_percent"]["std"] is None
    first_seed = {run["network"]: run["test_error_percent"] for run in listed if run["spec"]["seed"] == 0}
    for pair in compared["pairs"]:
        # The shallow residual network's second seed has no plain counterpart and does not count here.
        assert pair["test_error_gap"] == pytest.approx(first_seed[pair["plain"]] - first_seed[pair["residual"]])
        assert pair["over_seeds"]["test_error_gap"]["n"] == 1
    assert [pair["depth"] for pair in compared["pairs"]] == [8, 14]


def test_the_comparison_for_people_shows_the_same_numbers(pairs: Any):
    """The report's table, the pairs, the verdict, and the dataset."""
    text = pairs.cli("compare", "pairs")

    assert re.search(r"he-resnet8-w4-c4 .* \d+\.\d+ ± \d+\.\d+ \(n=2\)", text)
    claim = r"he-plain14-w4-c4 trains \d+\.\d points (worse|better) than he-plain8-w4-c4 \(1 seed: not enough to claim"
    assert re.search(claim, text)
    assert "synthetic images: these numbers say nothing about CIFAR" in text


def test_a_plot_fits_its_width_and_falls_back_to_ascii(pairs: Any):
    """On a terminal without UTF-8, and in a narrow window."""
    pairs.env.update(LC_ALL="C", LANG="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    text = pairs.cli("plot", "pairs", "--width", "60", "--height", "12")

    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 60
    assert "he-plain14" in text


def test_a_detached_train_returns_at_once_and_a_follower_sees_the_rest(home: Any):
    """Queue, close the laptop, come back."""
    (run,) = home.json("train", "-a", "he-resnet", "-d", "8", *BASE, "--detach")["runs"]
    assert run["status"] in ("queued", "running")
    follower = home.start("follow", run["id"])
    _, narration = follower.communicate(timeout=60)

    assert follower.returncode == 0
    assert "epoch 2/2" in narration
    assert narration.rstrip().endswith("succeeded")


def test_the_suggested_follow_command_has_no_trailing_space(home: Any):
    """The newest experiment needs no name."""
    home.cli("queue", "hold")
    home.json("train", "-a", "he-resnet", "-d", "8", *BASE, "--detach")
    follower = home.start("follow")
    # The queue's state, and the run's.
    for _ in range(2):
        follower.stderr.readline()
    follower.send_signal(signal.SIGINT)
    _, said = follower.communicate(timeout=60)

    assert said == "stopped following; training continues. `depthscope follow` picks it up again\n"


def test_a_dry_run_trains_nothing_and_writes_nothing(bare_home: Any):
    """Parameters and MACs of full-size networks, in closed form, without an engine or data."""
    planned = bare_home.json("train", "-a", "resnet,plain", "-d", "20,110", "--seeds", "2", "--dry-run")["runs"]

    assert [run["name"] for run in planned[:2]] == ["resnet20-s0", "resnet20-s1"]
    assert len(planned) == 8
    assert planned[0]["num_parameters"] == 12_354_634
    assert "12.4 M" in bare_home.cli("train", "-a", "resnet", "-d", "20", "--dry-run")
    assert bare_home.engine_pid() is None
    assert not any(bare_home.home.runs.iterdir())


def test_names_from_outside_cannot_move_the_cursor(home: Any):
    """A name is only a label, wherever it is shown."""
    said = home.cli("train", "-a", "he-resnet", "-d", "8", *BASE, "-e", "a\x1b[31mb", "--detach", status=2)
    assert "\x1b" not in said
    home.cli("queue", "hold")
    home.cli("train", "-a", "he-resnet", "-d", "8", *BASE, "-e", "../-rf [bold]x", "--detach")
    listed = home.cli("ls")

    assert "../-rf [bold]x" in listed
    assert not (home.home.root.parent / "-rf [bold]x").exists()


def test_logs_show_what_happened_and_what_the_worker_wrote(home: Any):
    """The first place to look if something went wrong."""
    run = home.train("--epochs", "1")
    with home.directory(run).log.open("a") as file:
        file.write("a word\x1b]52;c;Zm9v\x07 of the worker\n")
    home.cli("wait", run)
    text = home.cli("logs", run)

    assert "queued" in text
    assert "started" in text
    assert "a word of the worker" in text
    assert "\x1b" not in text


def test_doctor_names_what_it_looked_at(home: Any):
    """Everything a run needs of the machine, with remedies for problems."""
    findings = {finding["subject"]: finding for finding in home.json("doctor")["findings"]}

    assert {"Python", "torch", "GPU", "terminal", "home", "index", "engine", "data"} <= findings.keys()
    assert findings["torch"]["level"] == "ok"
    assert "tiny" in findings["data"]["text"]
    assert all(finding["remedy"] for finding in findings.values() if finding["level"] == "bad")


def test_stopping_an_engine_with_an_index_of_another_version_starts_no_other(bare_home: Any):
    """As after an upgrade; repairs that need an engine are left to the next command."""
    bare_home.cli("engine", "start")
    database = Database(bare_home.home.database, read_only=False, patience_seconds=5.0)
    database.execute("PRAGMA user_version = 1")
    database.close()
    told = bare_home.cli("engine", "stop")

    assert told.startswith("stopped the engine (pid ")
    assert bare_home.engine_pid() is None


def test_engine_status_says_what_it_has_to_do(home: Any):
    """Before, during and after an engine's life."""
    assert "; the next command that needs one starts it\n" in home.cli("engine", "status")
    home.cli("engine", "start")
    status = home.json("engine", "status")
    assert (status["serves"], status["engine"]["num_running"]) == (True, 0)
    assert f"pid {status['engine']['pid']}" in home.cli("engine", "status")
    home.cli("engine", "stop")
    assert home.json("engine", "status")["serves"] is False
    stopped = "; it was stopped: `depthscope engine start` continues the runs; "
    assert stopped in home.cli("engine", "status")
    assert stopped in examine_engine(home.home).text
    assert "serving" in home.cli("engine", "logs")
    assert not home.home.engine_socket.exists()


def test_without_a_command_the_help_is_shown(bare_home: Any):
    """The first command anyone types."""
    assert "quickstart" in bare_home.cli(status=2)


def test_quickstart_shows_progress_then_curves_table_verdict_and_what_comes_next(home: Any):
    """The README's first command, on a tiny dataset and with one seed."""
    words = ("quickstart", "--data", "tiny", "--epochs", "1", "--seed", "0", "--precision", "fp32")
    with Terminal(home.command(*words), terminal_env(home)) as terminal:
        assert terminal.wait(patience_seconds=120) == 0
        terminal.read(1.0)
    # What follows a movement of the cursor, or an erased line, starts a line of its own.
    text = re.sub(r"\x1b\[[?\d]*[A-Khl]", "\n", terminal.output.decode().replace("\r", ""))

    networks = ("he-plain8", "he-resnet8", "he-plain44", "he-resnet44")
    shown = (
        r"[▇▁]{10,} +\d+ %  \d/4 runs  ETA ",
        r"^Training error %",
        r"^Test error %",
        *(rf"^{network}-w8-c4 .* \d+\.\d\d \(n=1\)" for network in sorted(networks)),
        r"^he-plain44-w8-c4 trains .* than he-plain8-w8-c4 \(1 seed: not enough to claim degradation",
        r"^  depthscope report exp\S+ -o report ",
    )
    found = [re.search(pattern, text, re.MULTILINE) for pattern in shown]
    missing = [pattern for pattern, match in zip(shown, found, strict=True) if match is None]
    assert not missing, text
    first = [match.start() for match in (found[0], found[1], found[2], found[-2], found[-1]) if match]
    assert first == sorted(first)


def test_quickstart_trains_three_seeds_of_four_networks_the_longest_first(home: Any, monkeypatch: pytest.MonkeyPatch):
    """A smaller dataset is used completely."""
    from engine import client

    submitted: list[NewRun] = []

    def submit(_home: Home, planned: list[NewRun], experiment: str | None) -> None:
        submitted.extend(planned)
        raise UsageError("nothing is trained here")

    monkeypatch.setenv("DEPTHSCOPE_HOME", str(home.home.root))
    monkeypatch.setattr(client, "submit", submit)
    with pytest.raises(UsageError, match="nothing is trained here"):
        quickstart("tiny")

    assert [run.spec.model.depth for run in submitted] == [44] * 6 + [8] * 6
    assert {(run.spec.model.architecture, run.spec.seed) for run in submitted} == {
        (architecture, seed) for architecture in ("he-plain", "he-resnet") for seed in (0, 1, 2)
    }
    assert {run.spec.data.train_images for run in submitted} == {200}


def test_quickstart_prefers_an_imported_copy_of_cifar_to_synthetic_images(home: Any, monkeypatch: pytest.MonkeyPatch):
    """Cached data is used; slow downloads are not waited for."""
    from console.planning import planning
    from engine.base.errors import DatasetError
    from engine.data import datasets

    def unreachable(*_args: object, **_options: object) -> None:
        raise DatasetError("no network")

    monkeypatch.setattr(datasets, "prepare", unreachable)
    said: list[str] = []

    assert planning.quick_dataset(home.home, said.append) == "synthetic"
    home.add_tiny(name="cifar10-tiny")
    assert planning.quick_dataset(home.home, said.append) == "cifar10-tiny"
    assert "synthetic images" in said[0]
    assert "cifar10-tiny" in said[1]


DEEP = ("train", "-a", "resnet", "-d", "101", "--data", "cifar10", "--precision", "fp32", "--device", "cpu")


def test_a_dry_run_shows_what_does_not_fit_and_refuses_it(home: Any):
    """The table is still shown, and the error says what would fit."""
    done = home.start(*DEEP, "--seeds", "2", "--memory-limit", "2600MiB", "--dry-run")
    shown, said = done.communicate(timeout=60)

    assert done.returncode == 2
    assert [line.split()[0] for line in shown.splitlines()] == ["run", "resnet101-s0", "resnet101-s1"]
    assert all(line.endswith("2.54 GiB  no") for line in shown.splitlines()[1:])
    assert said.startswith("depthscope: resnet101-s0 needs ~6.")
    assert "the limit is 2.54 GiB (--memory-limit): " in said


def test_fit_takes_the_first_remedy_and_says_so(home: Any):
    """On any processor, one remedy that keeps the batch size suffices for this limit."""
    planned = home.json(*DEEP, "--memory-limit", "3584MiB", "--batch-size", "64", "--dry-run", "--fit")["runs"]

    assert planned[0]["memory"]["fits"] is True
    assert planned[0]["memory"]["total_bytes"] <= planned[0]["memory"]["limit_bytes"] == 3584 << 20
    assert planned[0]["spec"]["recipe"]["batch_size"] == 64
    recipe = planned[0]["spec"]["recipe"]
    assert recipe["precision"] == "bf16" or recipe["checkpoint_activations"]


def test_fit_batch_agrees_to_a_smaller_batch(home: Any):
    """--fit alone never changes the batch size."""
    tight = (*DEEP, "--memory-limit", "1900MiB", "--dry-run")

    assert "smaller batch: " in home.cli(*tight, "--fit", status=2)
    assert home.json(*tight, "--fit-batch")["runs"][0]["spec"]["recipe"]["batch_size"] < 128


def test_a_dataset_to_be_downloaded_is_announced_before_a_run_waits_for_it(home: Any):
    """Cached and synthetic datasets are not mentioned."""
    said = {}
    for dataset in ("cifar10", "tiny", "synthetic"):
        child = home.start("train", "-a", "he-resnet", "-d", "8", "--data", dataset, "--batch-size", "20", "--dry-run")
        said[dataset] = child.communicate(timeout=60)[1]

    assert "cifar10 is not downloaded yet" in said["cifar10"]
    assert "depthscope data fetch cifar10" in said["cifar10"]
    assert said["tiny"] == said["synthetic"] == ""
