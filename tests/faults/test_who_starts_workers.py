"""After training was interrupted, only commands that ask for it start workers; all others say how it continues."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from console.comparison.digest import away_lines, read_away
from console.text.interruption import interruption
from engine.control import stopped
from engine.control.engine_lock import Holder
from engine.control.launch import ensure_engine, greet
from engine.control.stopped import Cause, Stopped, end_of, leave_mark, read_stopped, write_mark
from engine.daemon import SIGNALS_TO_END
from tests.conftest import TestHome
from tests.console.test_terminal import SCRIPT, terminal_env
from tests.faults.test_stops import boot
from tests.terminal import Terminal

CONTINUES = "`depthscope engine start` continues it"


@pytest.fixture
def interrupted(bare_home: TestHome, wait_until: Callable[..., Any]) -> TestHome:
    """A home with a queued run whose engine was ended by SIGTERM."""
    home = bare_home
    home.add_tiny()
    home.cli("queue", "hold")
    home.train("--epochs", "2000", "-e", "exp1")
    os.kill(home.engine_pid() or 0, signal.SIGTERM)
    wait_until(lambda: home.engine_pid() is None)
    home.home.queue.unlink()
    return home


def worker_of(home: TestHome) -> int | None:
    """Pid of the first run's worker, whose run is the only one unless a command queued another."""
    return next((pid for path in home.home.runs.iterdir() if (pid := home.worker_pid(path.name)) is not None), None)


SERVES = {
    "ls": ["ls"],
    "show": ["show", "RUN"],
    "logs": ["logs", "RUN"],
    "digest": ["digest", "--since", "1h"],
    "tag": ["tag", "RUN", "+seen"],
    "note": ["note", "RUN", "seen"],
    "star": ["star", "RUN"],
    "rename": ["rename", "RUN", "other"],
    "queue": ["queue"],
    "hold": ["queue", "hold"],
    "hold a run": ["queue", "hold", "RUN"],
    "release": ["queue", "release"],
    "drain": ["queue", "drain"],
    "move": ["queue", "move", "RUN", "--first"],
    "pause": ["pause", "RUN"],
    "stop": ["stop", "RUN"],
    "rm": ["rm", "RUN"],
    "rebuild": ["engine", "rebuild"],
    "status": ["engine", "status"],
    "stop the engine": ["engine", "stop"],
}
TRAINS = {
    "engine start": ["engine", "start"],
    "engine restart": ["engine", "restart"],
    "train": ["train", "-a", "he-plain", "-d", "8", "--width", "4", "--data", "tiny", "--epochs", "2000", "--detach"],
}


@pytest.mark.parametrize("has_database", [True, False], ids=["", "no database"])
def test_a_command_that_asks_for_no_training_starts_none(interrupted: TestHome, has_database: bool):
    """Each of them, one after the other; the mark stays, and says what happened."""
    home = interrupted
    (run,) = (path.name for path in home.home.runs.iterdir())
    before = read_stopped(home.home)
    assert (before.cause, before.signal) == (Cause.SIGNAL, "SIGTERM")
    for name, words in SERVES.items():
        if not has_database:
            for path in home.home.root.glob("depthscope.db*"):
                path.unlink()
        home.cli(*(run if word == "RUN" else word for word in words), status=None)
        assert worker_of(home) is None, name
        assert read_stopped(home.home) == before, name
        if (greeting := greet(home.home)) is not None:
            assert not greeting.starts_runs, name


@pytest.mark.parametrize("passive", [True, False], ids=["beside an engine that serves", ""])
@pytest.mark.parametrize("words", TRAINS.values(), ids=TRAINS)
def test_a_command_that_asks_for_training_starts_it(
    interrupted: TestHome, wait_until: Callable[..., Any], words: list[str], passive: bool
):
    """Whether or not another command has started an engine before."""
    if passive:
        interrupted.cli("queue", "release")
        assert not greet(interrupted.home).starts_runs
    interrupted.cli(*words)

    wait_until(lambda: worker_of(interrupted))
    assert read_stopped(interrupted.home) is None
    assert greet(interrupted.home).starts_runs


@pytest.mark.parametrize("command", ["resume", "retry"])
def test_a_run_continued_by_name_is_trained(interrupted: TestHome, wait_until: Callable[..., Any], command: str):
    """By an engine that only served so far; a refused request changes nothing."""
    (run,) = (path.name for path in interrupted.home.runs.iterdir())
    assert "only failed" in interrupted.cli("retry", run, status=2)
    interrupted.cli("stop", run)
    assert not greet(interrupted.home).starts_runs
    interrupted.cli(command, run)
    wait_until(lambda: interrupted.worker_pid(run))


def test_what_was_interrupted_is_said_first(interrupted: TestHome, wait_until: Callable[..., Any]):
    """By ls, digest, engine status, doctor, whoever follows, and the console, whose question starts it."""
    home = interrupted
    (run,) = (path.name for path in home.home.runs.iterdir())
    first = home.cli_apart("ls", status=None).splitlines()
    said = next(line for line in first if "interrupted" in line)
    assert said.startswith("training was interrupted by SIGTERM at 20")
    assert said.endswith(f": 1 queued run waits; {CONTINUES}")
    home.cli("tag", run, "+seen")
    assert away_lines(read_away(home.home, since=0.0))[0] == said
    assert "it starts no runs: training was interrupted by SIGTERM" in home.cli("engine", "status", status=None)
    for command in ("follow", "wait"):
        assert "training was interrupted by SIGTERM" in home.cli(command, run, status=3)
    with Terminal([SCRIPT], terminal_env(home)) as terminal:
        terminal.read_until(lambda seen: b"Continue training?" in seen)
        assert worker_of(home) is None
        terminal.type(b"y\r")
        wait_until(lambda: worker_of(home))
    assert read_stopped(home.home) is None
    with home.reader() as reader:
        assert interruption(home.home, reader.runs()) is None


@pytest.mark.parametrize("number", SIGNALS_TO_END, ids=lambda number: number.name)
def test_any_signal_that_announces_an_end_leaves_a_mark(
    bare_home: TestHome, wait_until: Callable[..., Any], number: signal.Signals
):
    """With its name and the time."""
    ensure_engine(bare_home.home)
    os.kill(bare_home.engine_pid() or 0, number)
    wait_until(lambda: bare_home.engine_pid() is None)

    found = read_stopped(bare_home.home)
    assert (found.cause, found.signal) == (Cause.SIGNAL, number.name)
    assert found.at is not None


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2], ids=lambda number: number.name)
def test_a_worker_saves_a_checkpoint_when_a_batch_job_ends(
    home: TestHome, training: str, wait_until: Callable[..., Any], number: signal.Signals
):
    """Engine and worker both get the signal, as all processes of a job do."""
    os.kill(home.engine_pid() or 0, number)
    wait_until(lambda: home.engine_pid() is None)
    os.kill(home.worker_pid(training) or 0, number)
    wait_until(lambda: home.worker_pid(training) is None)

    assert home.directory(training).read_exit().reason == "stopped"
    assert home.directory(training).checkpoint.exists()
    assert f"interrupted by {number.name}" in home.cli_apart("digest", "--since", "1h").splitlines()[0]
    assert worker_of(home) is None
    with home.reader() as reader:
        assert reader.run(training).status == "queued"


def test_after_a_restart_of_the_machine_training_waits_for_a_command(home: TestHome, wait_until: Callable[..., Any]):
    """The service, which starts the engine without an argument, asks for it by itself."""
    boot(home, "first")
    run = home.train("--epochs", "2000")
    wait_until(lambda: home.worker_pid(run))
    home.kill(home.engine_pid() or 0)
    home.kill(home.worker_pid(run) or 0)
    boot(home, "second")
    wait_until(lambda: home.engine_pid() is None)
    home.cli("ls")
    assert read_stopped(home.home).cause is Cause.REBOOT
    with home.reader() as reader:
        said = interruption(home.home, reader.runs())
    assert "training was interrupted by a restart of the machine" in said
    assert "/he-resnet8" in said
    assert worker_of(home) is None
    home.kill(home.engine_pid() or 0)
    wait_until(lambda: home.engine_pid() is None)
    service = [home.command()[0], "-P", "-m", "engine.daemon", str(home.home.root)]
    with subprocess.Popen(service, env=home.env) as engine:
        wait_until(lambda: home.worker_pid(run))
        engine.kill()


def test_marks_of_every_version_are_read(bare_home: TestHome):
    """An empty one is that of an older version's `engine stop`."""
    home = bare_home.home
    assert read_stopped(home) is None
    for content in (b"", b"garbage", b'{"cause":"later"}'):
        home.engine_stopped.write_bytes(content)
        assert read_stopped(home) == Stopped()
    wanted = Stopped(cause=Cause.SIGNAL, signal="SIGUSR1", at=1.0, host="node7")
    write_mark(home, wanted)
    assert read_stopped(home) == wanted
    assert str(wanted).endswith("on node7")
    assert end_of(Holder(pid=None), None).cause is Cause.NONE
    assert end_of(Holder.here(None), 5.0) == Stopped(cause=Cause.LOST, at=5.0, host=Holder.here(None).host)


def test_on_a_full_disk_the_mark_is_at_least_there(bare_home: TestHome, monkeypatch: pytest.MonkeyPatch):
    """Empty, like that of an older version."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(stopped, "write_atomically", fail)
    leave_mark(bare_home.home, Cause.SIGNAL, signal="SIGTERM")
    assert read_stopped(bare_home.home) == Stopped()
