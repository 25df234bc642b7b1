"""`depthscope queue` and `[slots]`, with real engines and workers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.runs.journal import Resumed, Started, read_journal
from engine.runs.run import RunStatus

LONG = ("--epochs", "2000")


def state_of(home: Any, run: str) -> RunStatus:
    with home.reader() as reader:
        return RunStatus(reader.run(run).status)


def queued(home: Any, num: int) -> list[str]:
    """Queue runs while the queue is held; commands start the engine."""
    home.cli("queue", "hold")
    return [home.train("--epochs", "1", "--seed", str(number)) for number in range(num)]


def order(home: Any) -> list[str]:
    return [row["id"] for row in home.json("queue", "ls")["runs"] if row["status"] == "queued"]


def test_queue_shows_the_order_and_what_is_held(home: Any):
    """As a table, as JSON, and with the reason on stderr why nothing starts."""
    first, second = queued(home, 2)
    home.cli("queue", "hold", second)
    shown = home.json("queue")

    assert shown["queue"] == "held"
    rows = [(row["place_in_queue"], row["id"], row["held"], row["status"]) for row in shown["runs"]]
    assert rows == [(1, first, False, "queued"), (2, second, True, "queued")]
    lines = home.cli("queue").splitlines()
    assert lines[0].split() == ["place", "id", "experiment", "run", "device", "status"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]
    assert [line.split()[-1] for line in lines[1:]] == ["queued", "held"]


def test_queue_of_nothing_says_so(bare_home: Any):
    """Without starting an engine."""
    done = bare_home.start("queue")
    out, narration = done.communicate(timeout=60)

    assert (done.returncode, out) == (0, "")
    assert "queue is empty" in narration
    assert bare_home.engine_pid() is None


def test_move_changes_the_order_for_good(home: Any):
    """By a run's id, name or prefix; the order survives the engine and its index."""
    one, two, three = queued(home, 3)
    assert "first" in home.cli("queue", "move", three, "--first")
    assert order(home) == [three, one, two]
    home.cli("queue", "move", one, "--last")
    home.cli("queue", "move", one[:6], "--before", two)
    home.cli("engine", "stop")
    for path in home.home.root.glob("depthscope.db*"):
        path.unlink()
    home.cli("engine", "start")

    assert order(home) == [three, one, two]


def test_what_makes_no_sense_is_refused_in_a_line(home: Any):
    """Exit code 2, and nothing is changed."""
    (run,) = queued(home, 1)
    for words, says in (
        (("move", run), "one of --first, --last and --before"),
        (("move", run, "--first", "--last"), "one of --first, --last and --before"),
        (("move", "nobody", "--first"), "no run is called 'nobody'"),
        (("move", run, "--before", run), "cannot be moved before itself"),
        (("hold", "nobody"), "no run is called 'nobody'"),
        (("release", "nobody"), "no run is called 'nobody'"),
        (("--json", "ls"), "--json comes after the command"),
    ):
        said = home.cli("queue", *words, status=2)
        assert says in said
        assert len(said.strip().splitlines()) == 1
    assert order(home) == [run]


def test_a_finished_run_is_neither_held_nor_moved(finished: Any):
    """The message gives the run's status."""
    home = finished
    (run,) = (path.name for path in home.home.runs.iterdir())

    assert "already succeeded: only queued runs can be held" in home.cli("queue", "hold", run, status=2)
    assert "already succeeded: only queued runs can be moved" in home.cli("queue", "move", run, "--first", status=2)


def test_drain_finishes_what_runs_and_release_opens_the_queue_again(home: Any, wait_until: Callable[..., Any]):
    """A running run finishes; the queue starts nothing until it is released, even after an engine restart."""
    run = home.train("--epochs", "1")
    home.halt(run)
    behind = home.train("--epochs", "1", "--seed", "1")
    assert "Draining: running jobs will finish" in home.cli("queue", "drain")
    home.cli("engine", "restart")
    home.go_on(run)
    home.cli("wait", run)

    assert home.json("queue")["queue"] == "draining"
    assert order(home) == [behind]
    assert "open" in home.cli("queue", "release")
    wait_until(lambda: state_of(home, behind) is RunStatus.RUNNING)


def test_slots_train_several_runs_at_a_time_and_divide_the_threads(home: Any, wait_until: Callable[..., Any]):
    """One run uses both cores; with two slots, a second starts with its share."""
    home.env["OMP_NUM_THREADS"] = "2"
    home.home.config.write_text("[slots]\ncpu = 1\n")
    alone, beside, behind = (home.train(*LONG, "--seed", str(seed)) for seed in (0, 1, 2))
    wait_until(lambda: told(home, alone, Started))
    assert state_of(home, beside) is RunStatus.QUEUED
    home.home.config.write_text("[slots]\ncpu = 2\n")
    home.cli("engine", "restart")
    wait_until(lambda: told(home, beside, Started))

    assert [state_of(home, run) for run in (alone, beside, behind)] == ["running", "running", "queued"]
    assert "cpu (2 slots)" in home.cli("engine", "status")
    assert [told(home, run, Started) for run in (alone, beside)] == [[2], [1]]


def told(home: Any, run: str, kind: type[Started] | type[Resumed]) -> list[int]:
    """Return the thread counts of a run's workers."""
    return [event.num_threads for event in read_journal(home.directory(run).journal).events if isinstance(event, kind)]


def test_a_run_that_is_resumed_beside_others_ends_with_the_same_weights(home: Any, wait_until: Callable[..., Any]):
    """Bit-identical: sums depend on the number of threads, so a run keeps it."""
    # Passive, because threads spinning on shared cores take a hundred times as long.
    home.env |= {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    home.home.config.write_text("[slots]\ncpu = 1\n")
    words = ("--epochs", "12", "--seed", "3")
    whole = home.train(*words)
    home.cli("wait", whole)
    broken = home.train(*words)
    wait_until(home.directory(broken).checkpoint.exists)
    home.halt(broken)
    home.cli("pause", broken)
    home.go_on(broken)
    wait_until(lambda: state_of(home, broken) is RunStatus.PAUSED)
    home.home.config.write_text("[slots]\ncpu = 2\n")
    home.cli("engine", "restart")
    home.cli("resume", broken)
    home.cli("wait", broken)

    assert told(home, broken, Resumed) == [2]
    one, other = (torch.load(home.directory(run).weights, weights_only=True) for run in (whole, broken))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slots = 2", "slots must be a table"),
        ("[slots]\ngpu = 2", "slots.gpu is not a device"),
        ("[slots]\ncpu = 0", "slots.cpu must be a whole number in 1..64, or auto, got 0"),
        ('[slots]\n"cuda:0" = 2.5', "slots.cuda:0 must be a whole number in 1..64, got 2.5"),
        ("[slots]\ncpu = true", "slots.cpu must be a whole number in 1..64, or auto, got True"),
        ("[slots]\ncuda:0 = 2", "is not TOML"),
    ],
)
def test_nonsense_slots_are_refused(bare_home: Any, text: str, says: str):
    """File and key in one line."""
    bare_home.home.config.write_text(text)
    said = bare_home.cli("config", "show", status=2)

    (error,) = [line for line in said.splitlines() if line.startswith("depthscope: ")]
    assert says in error
    assert str(bare_home.home.config) in error


def test_an_engine_is_not_replaced_by_one_that_could_not_start(home: Any):
    """The error is reported, and the running engine continues until it is fixed."""
    home.cli("engine", "start")
    pid = home.engine_pid()
    home.home.config.write_text("[slots]\ncpu = 0\n")
    assert "slots.cpu must be" in home.cli("engine", "restart", status=2)
    assert home.engine_pid() == pid

    home.cli("engine", "stop")
    assert "slots.cpu must be" in home.cli("engine", "start", status=2)
    assert home.engine_pid() is None


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_two_cores_train_two_narrow_networks_at_once(home: Any, wait_until: Callable[..., Any]):
    """One thread each, both by default and with an explicit `auto`."""
    home.env["OMP_NUM_THREADS"] = "2"
    home.home.config.write_text('[slots]\ncpu = "auto"\n')
    runs = [home.train(*LONG, "--seed", str(seed)) for seed in (1, 2, 3)]
    wait_until(lambda: all(told(home, run, Started) for run in runs[:2]))

    assert [state_of(home, run) for run in runs] == ["running", "running", "queued"]
    assert [told(home, run, Started) for run in runs[:2]] == [[1], [1]]


def test_config_show_names_the_slots_of_every_device(bare_home: Any):
    """Those of this machine and those mentioned only in the file."""
    bare_home.home.config.write_text('[slots]\n"cuda:7" = 3\n')
    rows = {row["name"]: row for row in json.loads(bare_home.cli("config", "show", "--json"))["settings"]}

    assert rows["slots.cuda:7"] == {"name": "slots.cuda:7", "value": "3", "source": "config.toml"}
    assert rows["slots.cpu"] == {"name": "slots.cpu", "value": "auto", "source": "default"}
