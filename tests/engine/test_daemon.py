"""The engine through its commands: queue, stop, pause, resume, retry, restart, rebuild."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.base.errors import EngineUnreachable, UsageError
from engine.base.version import PROTOCOL
from engine.control.connection import Connection
from engine.control.launch import ensure_engine
from engine.control.protocol import Done, Hello, NewRun, Refused, Submit
from engine.runs.journal import Epoch, read_journal
from engine.spec.run import DataSpec, RunSpec
from models.catalog import model_spec

LONG = ("--epochs", "2000")
"""More epochs than a test waits for."""


def rows(home: Any, run: str) -> list[dict[str, Any]]:
    """Return the epochs in the index after checking them against the journal."""
    found = home.json("show", run)["epochs"]
    journal = [event for event in read_journal(home.directory(run).journal).events if isinstance(event, Epoch)]
    assert [row["epoch"] for row in found] == [event.epoch for event in journal]
    assert [row["test_error_percent"] for row in found] == [event.test_error_percent for event in journal]
    return found


def kinds(home: Any, run: str) -> list[str]:
    """Return the kinds of a run's events, in order."""
    with home.reader() as reader:
        return [event.kind for event in reader.events(run)]


def state(home: Any, run: str) -> str:
    with home.reader() as reader:
        found = reader.run(run)
    return str(found.outcome or found.status)


def until(home: Any, wait_until: Callable[..., Any], run: str, wanted: str) -> None:
    wait_until(lambda: state(home, run) == wanted)


def until_training(home: Any, wait_until: Callable[..., Any], run: str, *, epochs: int = 1) -> None:
    def trains() -> bool:
        with home.reader() as reader:
            return reader.run(run).epoch >= epochs

    wait_until(trains)


def test_a_run_goes_from_the_queue_to_its_end(home: Any):
    """End to end: spec, queue, worker, journal, index, and loadable final weights."""
    run = home.train("--epochs", "3")
    home.cli("wait", run)

    assert [row["epoch"] for row in rows(home, run)] == [1, 2, 3]
    (listed,) = home.json("ls")["runs"]
    assert (listed["id"], listed["outcome"], listed["epoch"]) == (run, "succeeded", 3)
    assert listed["test_error_percent"] == rows(home, run)[-1]["test_error_percent"] < 75
    weights = torch.load(home.directory(run).weights, weights_only=True)
    assert weights["head.weight"].shape == (4, 16)
    happened = kinds(home, run)
    assert (happened[0], happened[1], happened[-1]) == ("queued", "started", "finished")


def test_stop_saves_a_checkpoint_that_resume_continues_from(home: Any, wait_until: Callable[..., Any]):
    """A cancelled run can be continued."""
    run = home.train(*LONG)
    until_training(home, wait_until, run)
    home.cli("stop", run)
    until(home, wait_until, run, "cancelled")
    with home.reader() as reader:
        stopped_at = reader.run(run).step
    assert home.directory(run).checkpoint.exists()

    home.cli("resume", run)
    wait_until(lambda: "resumed" in kinds(home, run))
    until_training(home, wait_until, run, epochs=stopped_at // 10 + 2)
    home.cli("stop", run)
    until(home, wait_until, run, "cancelled")
    rows(home, run)


def test_pause_stops_a_run_and_lets_the_next_one_start(home: Any, wait_until: Callable[..., Any]):
    """A paused run occupies no device."""
    run = home.train(*LONG)
    until_training(home, wait_until, run)
    home.cli("pause", run)
    until(home, wait_until, run, "paused")
    assert not home.directory(run).is_locked()
    other = home.train("--epochs", "1", "--seed", "1")
    home.cli("wait", other)

    assert state(home, run) == "paused"
    home.cli("resume", run)
    until(home, wait_until, run, "running")


def test_a_queued_run_is_stopped_and_paused_without_a_worker(home: Any):
    """Nothing has started, so nothing needs saving."""
    home.cli("queue", "hold")
    paused, stopped = home.train(*LONG, "--seed", "1"), home.train(*LONG, "--seed", "2")
    home.cli("pause", paused)
    home.cli("stop", stopped)

    assert (state(home, paused), state(home, stopped)) == ("paused", "cancelled")
    assert home.worker_pid(paused) is None


def test_invalid_changes_are_refused_and_change_nothing(finished: Any):
    """All or nothing: one wrong name refuses the whole command."""
    home = finished
    (run,) = (path.name for path in home.home.runs.iterdir())

    assert "already finished: succeeded" in home.cli("stop", run, status=2)
    assert "only paused, cancelled and early stopped runs" in home.cli("resume", run, status=2)
    assert "only failed, diverged, lost or cancelled runs" in home.cli("retry", run, status=2)
    assert "no run is called 'nothing'" in home.cli("rm", run, "nothing", status=2)
    assert [listed["id"] for listed in home.json("ls")["runs"]] == [run]


def test_removed_runs_are_hidden_and_come_back(finished: Any):
    """rm deletes nothing from disk."""
    home = finished
    (run,) = (path.name for path in home.home.runs.iterdir())
    home.cli("rm", run)

    assert home.json("ls")["runs"] == []
    assert [listed["id"] for listed in home.json("ls", "--all")["runs"]] == [run]
    home.cli("restore", run)
    assert [listed["id"] for listed in home.json("ls")["runs"]] == [run]


def test_a_failing_run_says_why_and_the_queue_continues(home: Any):
    """As with a dataset damaged after the run was queued."""
    labels = home.home.data / "tiny" / "train_labels.npy"
    content = bytearray(labels.read_bytes())
    content[-1] ^= 1
    labels.write_bytes(content)
    run = home.train("--epochs", "1")

    assert "checksum" in home.cli("wait", run, status=4)
    assert state(home, run) == "failed"
    assert "train_labels.npy" in home.cli("show", run)
    assert "failed" in home.cli("retry", run) or state(home, run) in ("queued", "running", "failed")


def test_stopping_the_engine_saves_runs_and_the_next_one_resumes_them(home: Any, wait_until: Callable[..., Any]):
    """`engine stop` ends workers without losing progress."""
    run = home.train(*LONG)
    until_training(home, wait_until, run)
    home.cli("engine", "stop")
    assert home.worker_pid(run) is None
    assert state(home, run) == "queued"
    home.cli("engine", "start")
    until(home, wait_until, run, "running")
    wait_until(lambda: "resumed" in kinds(home, run))


def test_restarting_the_engine_leaves_training_alone(home: Any, wait_until: Callable[..., Any]):
    """The same worker trains before and after."""
    run = home.train(*LONG)
    until_training(home, wait_until, run)
    worker, engine = home.worker_pid(run), home.engine_pid()
    home.cli("engine", "restart")

    assert home.worker_pid(run) == worker
    assert home.engine_pid() != engine
    assert "adopted" in kinds(home, run)


def test_a_lost_database_is_built_again_from_the_run_directories(finished: Any):
    """With finished, paused and cancelled runs, their epochs, names and experiments."""
    home = finished
    (done,) = (path.name for path in home.home.runs.iterdir())
    home.cli("queue", "hold")
    rests, ended = (home.train(*LONG, "--seed", seed) for seed in ("1", "2"))
    home.cli("pause", rests)
    home.cli("stop", ended)
    assert (state(home, rests), state(home, ended)) == ("paused", "cancelled")
    before = home.json("ls")["runs"]
    home.cli("engine", "stop")
    for path in home.home.root.glob("depthscope.db*"):
        path.unlink()
    home.cli("engine", "start")
    after = home.json("ls")["runs"]

    kept = ("id", "name", "experiment", "status", "outcome", "epoch", "step", "test_error_percent", "position", "spec")
    assert [{key: run[key] for key in kept} for run in after] == [{key: run[key] for key in kept} for run in before]
    assert len(rows(home, done)) == 1


@pytest.mark.parametrize("damage", ["schema", "garbage"])
def test_an_unusable_database_is_kept_and_rebuilt(finished: Any, damage: str):
    """An old schema or a damaged file loses no run."""
    home = finished
    (run,) = (path.name for path in home.home.runs.iterdir())
    if damage == "schema":
        import apsw

        connection = apsw.Connection(str(home.home.database))
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        # No instructions needed: the engine started here rebuilds it.
        home.cli("ls")
    else:
        home.home.database.write_bytes(b"not a database at all" * 500)
    home.cli("engine", "restart")

    assert [listed["id"] for listed in home.json("ls")["runs"]] == [run]
    assert len(list(home.home.root.glob("depthscope.db.*.old"))) == 1


def test_sending_a_request_twice_does_it_once(home: Any):
    """A client that lost the reply retries."""
    home.cli("queue", "hold")
    spec = RunSpec(model=model_spec("he-resnet", 8, width=4, num_classes=4), data=DataSpec(name="tiny"))
    request = Submit(runs=(NewRun(name="a", spec=spec), NewRun(name="b", spec=spec)), experiment="e")
    replies = []
    for _ in range(2):
        with Connection(home.home.engine_socket) as connection:
            replies.append(connection.ask(request))

    assert isinstance(replies[0], Done)
    assert replies[0] == replies[1]
    assert len(home.json("ls")["runs"]) == 2


def test_a_request_whose_reply_was_never_written_is_not_doubled(home: Any):
    """If the engine died between creating the run directory and the commit, the retry gives the same run."""
    home.cli("queue", "hold")
    spec = RunSpec(model=model_spec("he-resnet", 8, width=4, num_classes=4), data=DataSpec(name="tiny"))
    request = Submit(runs=(NewRun(name="a", spec=spec),), experiment="e")
    with Connection(home.home.engine_socket) as connection:
        connection.ask(request)
    home.cli("engine", "stop")
    for path in home.home.root.glob("depthscope.db*"):
        path.unlink()
    ensure_engine(home.home)
    with Connection(home.home.engine_socket) as connection:
        connection.ask(request)

    assert len(home.json("ls")["runs"]) == 1


def test_files_and_socket_are_private_under_an_open_umask(home: Any):
    """Created with 0600 and 0700, not changed afterwards."""
    before = os.umask(0o022)
    try:
        run = home.train("--epochs", "1")
    finally:
        os.umask(before)
    home.cli("wait", run)

    for path in (home.home.root, *home.home.root.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        wanted = 0o700 if path.is_dir() else 0o600
        assert mode == wanted, f"{path} has mode {mode:o}"


def test_garbage_on_the_socket_is_refused_and_the_engine_continues(bare_home: Any):
    """Invalid input from one client does not affect others."""
    ensure_engine(bare_home.home)
    for line in (
        b"\n",
        b"garbage\n",
        b"[]\n",
        b'{"request":"fly","id":"1","protocol":%d}\n' % PROTOCOL,
        b'{"request":"stop","id":"2","protocol":%d}\n' % PROTOCOL,
    ):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(bare_home.home.engine_socket))
            client.sendall(line)
            reply = json.loads(client.makefile("rb").readline())

        assert reply["reply"] == "refused", line
        with Connection(bare_home.home.engine_socket) as connection:
            assert not isinstance(connection.ask(Hello()), Refused)


def serve_once(home: Any, reply: bytes | None) -> threading.Thread:
    """A fake engine that gives every client one reply or none."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(home.home.engine_socket))
    listening.listen()

    def answer() -> None:
        connection, _ = listening.accept()
        connection.recv(65536)
        if reply is not None:
            connection.sendall(reply)
            connection.close()
        else:
            connection.recv(65536)
        listening.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


def test_an_engine_of_another_version_is_refused_with_the_remedy(home: Any):
    """It is sent nothing it might misinterpret."""
    thread = serve_once(home, b'{"reply":"greeting","id":"x","pid":1,"version":"9.9.9","protocol":99}\n')

    with pytest.raises(UsageError, match=r"version 9\.9\.9.*`depthscope engine restart`"):
        ensure_engine(home.home)
    thread.join()


def test_an_unresponsive_engine_is_reported_as_such(home: Any):
    """And no second one is started."""
    serve_once(home, None)

    with pytest.raises(EngineUnreachable, match="does not respond"):
        ensure_engine(home.home)
    assert home.engine_pid() is None


def test_an_idle_engine_sleeps(home: Any):
    """An idle engine uses no CPU time."""
    import psutil

    ensure_engine(home.home)
    engine = psutil.Process(home.engine_pid())
    before = engine.cpu_times()
    threading.Event().wait(2.0)
    after = engine.cpu_times()

    assert (after.user + after.system) - (before.user + before.system) <= 0.02


def test_sigterm_ends_the_engine_and_leaves_training_alone(home: Any, wait_until: Callable[..., Any]):
    """Workers continue, and the next engine adopts them."""
    run = home.train(*LONG)
    until_training(home, wait_until, run)
    worker = home.worker_pid(run)
    os.kill(home.engine_pid(), signal.SIGTERM)
    wait_until(lambda: home.engine_pid() is None)

    assert home.worker_pid(run) == worker
    home.cli("ls")
    assert home.engine_pid() is not None
    assert state(home, run) == "running"


def test_a_console_that_is_interrupted_leaves_training_alone(home: Any, wait_until: Callable[..., Any]):
    """Ctrl-C stops following, says so, and ends with status 130."""
    follower = home.start(
        "train", "-a", "he-resnet", "-d", "8", "--width", "4", "--data", "tiny", "--batch-size", "20", *LONG
    )
    wait_until(lambda: home.home.database.exists() and home.json("ls")["runs"])
    (run,) = home.json("ls")["runs"]
    until_training(home, wait_until, run["id"])
    follower.send_signal(signal.SIGINT)
    _, narration = follower.communicate(timeout=20)

    assert follower.returncode == 130
    assert "training continues" in narration
    assert state(home, run["id"]) == "running"
