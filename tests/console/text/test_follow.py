"""Following runs on a terminal and in a pipe: left with one clean line, ended where nothing is to be waited for."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from typing import Any

import msgspec
import pytest
import typer

from console.text.follow import Watch, bar_line, exit_for, fraction_of_work
from console.text.formatting import duration
from engine import client
from engine.control.protocol import Rebuild
from engine.runs.run import RunStatus
from tests.terminal import Terminal, terminal_env

LEFT = "stopped following; training continues. `depthscope follow {run}` picks it up again"


def queue_held(home: Any, num_runs: int) -> list[str]:
    """Runs that wait for as long as any test."""
    home.cli("queue", "hold")
    return [home.train("--seed", str(seed)) for seed in range(num_runs)]


def missing(home: Any, run: str) -> str:
    """Error about a run that a rebuilt index lacks."""
    why = f"it was rebuilt, and {home.home.runs} has no run directory of that name"
    return f"depthscope: {run} is not in the index: {why}\n"


def test_waiting_ends_with_the_reason_of_an_unreadable_run(finished: Any, capsys: pytest.CaptureFixture[str]):
    """Not only that it was running."""
    with finished.reader() as reader:
        (run,) = reader.runs()
    with pytest.raises(typer.Exit):
        exit_for([msgspec.structs.replace(run, status=RunStatus.RUNNING, outcome=None, unreadable="it is a FIFO")])

    assert capsys.readouterr().err == f"{run.id} {run.name} is unreadable: it is a FIFO\n"


def test_following_ends_with_an_error_if_a_rebuilt_index_lacks_the_run(home: Any):
    """In one line; a run that is still there is followed on."""
    stays, goes = queue_held(home, 2)
    followers = {run: home.start("follow", run) for run in (stays, goes)}
    for follower in followers.values():
        assert "Queue held" in follower.stderr.readline()
        assert "queued" in follower.stderr.readline()
    shutil.rmtree(home.directory(goes).path)
    home.cli("engine", "rebuild")

    _, error = followers[goes].communicate(timeout=60)
    assert (followers[goes].returncode, error) == (1, missing(home, goes))
    assert followers[stays].poll() is None


def test_waiting_ends_with_an_error_if_a_rebuilt_index_lacks_the_run(home: Any, monkeypatch: pytest.MonkeyPatch):
    """In one line, although it prints nothing else."""
    (run,) = queue_held(home, 1)

    def rebuild_without_it(_watch: Watch) -> None:
        if home.directory(run).path.exists():
            shutil.rmtree(home.directory(run).path)
            client.change(home.home, Rebuild())

    monkeypatch.setattr(Watch, "pause", rebuild_without_it)

    assert home.cli("wait", run, status=1) == missing(home, run)


def test_ctrl_c_leaves_one_line_below_the_table_on_a_terminal(home: Any):
    """At the first column, without an empty line and without a trace of ^C."""
    (run,) = queue_held(home, 1)
    with Terminal(home.command("follow", run), terminal_env(home)) as terminal:
        terminal.read_until(lambda seen: b"queued" in seen)
        terminal.type(b"\x03")

        assert terminal.wait() == 130
    *_, table, left = terminal.output.decode().replace("\x1b[?25h", "").splitlines()
    assert re.fullmatch(r"he-resnet8-w4-c4-s0  queued .* 0/164 +- +-", table.split("\x1b[2K")[-1].rstrip())
    assert left == LEFT.format(run=run)


def test_an_interrupt_in_a_pipe_prints_one_line(home: Any):
    """Nothing was echoed there that a line would have to be begun for."""
    (run,) = queue_held(home, 1)
    follower = home.start("follow", run)
    lines = [follower.stderr.readline() for _ in range(2)]
    follower.send_signal(signal.SIGINT)
    _, said = follower.communicate(timeout=60)

    assert "queued" in lines[1]
    assert (follower.returncode, said) == (130, f"{LEFT.format(run=run)}\n")


def test_the_bar_counts_runs_by_their_work_and_shows_the_time_left(home: Any):
    """A deep run weighs as much as several shallow ones; without measurements there is no ETA."""
    home.cli("queue", "hold")
    words = ("-a", "he-resnet", "-d", "8,32", "--width", "4", "--data", "tiny", "--batch-size", "20", "--epochs", "4")
    ids = [run["id"] for run in home.json("train", *words, "--detach")["runs"]]
    with home.reader() as reader:
        shallow, deep = (reader.run(run) for run in ids)
    done, all_done = (msgspec.structs.replace(run, status=RunStatus.FINISHED) for run in (shallow, deep))
    half = msgspec.structs.replace(deep, status=RunStatus.RUNNING, epoch=2, step=20, total_steps=40)
    share = fraction_of_work([done, half])

    assert 0.5 < share < 0.65
    assert bar_line([shallow, deep], 3.0, width=80, unicode=False) == f"{'.' * 10}   0 %  0/2 runs  ETA -  "
    line = bar_line([done, half], 60.0, width=100, unicode=True)
    assert line.startswith("▇" * int(30 * share) + "▁")
    assert f" {int(100 * share)} %  1/2 runs  ETA {duration(60 / share - 60)}  {deep.name} 2/4" in line
    assert "100 %  2/2 runs  ETA" in bar_line([done, all_done], 90.0, width=100, unicode=True)


def test_following_in_a_pipe_begins_now_unless_asked_for_the_past(finished: Any):
    """A line of state for a finished run; `--from-start` adds its epochs."""
    with finished.reader() as reader:
        (run,) = reader.runs()
    done = subprocess.run(finished.command("follow", run.id), env=finished.env, capture_output=True, text=True)
    past = subprocess.run(
        finished.command("follow", run.id, "--from-start"), env=finished.env, capture_output=True, text=True
    )

    assert len(done.stderr.splitlines()) == 1
    assert "succeeded" in done.stderr
    assert past.stderr.count("epoch ") == run.epoch > 0
