"""Following runs on a terminal and in a pipe: left with one clean line, ended where nothing is to be waited for."""

from __future__ import annotations

import re
import shutil
import signal
from typing import Any

from tests.terminal import Terminal, terminal_env

LEFT = "stopped following; training goes on: `depthscope follow {run}` watches it again"


def queue_held(home: Any, num_runs: int) -> list[str]:
    """Runs that wait for as long as any test."""
    home.cli("queue", "hold")
    return [home.train("--seed", str(seed)) for seed in range(num_runs)]


def test_who_follows_a_run_that_an_index_built_anew_does_not_have_is_told_and_let_go(home: Any):
    """By `follow` and by `wait`, in one line; a run that is in it is followed on."""
    stays, goes = queue_held(home, 2)
    followers = {words: home.start(*words) for words in (("follow", goes), ("wait", goes), ("follow", stays))}
    for (command, _), follower in followers.items():
        if command == "follow":
            assert "the queue is held" in follower.stderr.readline()
            assert "queued" in follower.stderr.readline()
    shutil.rmtree(home.directory(goes).path)
    home.cli("engine", "rebuild")
    told = f"depthscope: {goes} is not in the index: that was built anew, and {home.home.runs} has no run directory"

    for words in (("follow", goes), ("wait", goes)):
        _, said = followers[words].communicate(timeout=60)
        assert (followers[words].returncode, said) == (1, f"{told} of that name\n"), words
    assert followers["follow", stays].poll() is None


def test_who_leaves_by_ctrl_c_finds_one_line_behind_the_table_on_a_terminal(home: Any):
    """At the first column, without an empty line and without a trace of ^C."""
    (run,) = queue_held(home, 1)
    with Terminal(home.command("follow", run), terminal_env(home)) as terminal:
        terminal.read_until(lambda seen: b"queued" in seen)
        terminal.type(b"\x03")

        assert terminal.wait() == 130
    *_, table, left = terminal.output.decode().replace("\x1b[?25h", "").splitlines()
    assert re.fullmatch(r"he-resnet8-w4-c4-s0  queued .* 0/164 +- +-", table.split("\x1b[2K")[-1].rstrip())
    assert left == LEFT.format(run=run)


def test_who_is_interrupted_in_a_pipe_says_so_in_one_line(home: Any):
    """Nothing was echoed there that a line would have to be begun for."""
    (run,) = queue_held(home, 1)
    follower = home.start("follow", run)
    lines = [follower.stderr.readline() for _ in range(2)]
    follower.send_signal(signal.SIGINT)
    _, said = follower.communicate(timeout=60)

    assert "queued" in lines[1]
    assert (follower.returncode, said) == (130, f"{LEFT.format(run=run)}\n")
