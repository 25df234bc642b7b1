"""Servers: engines drained, replaced while runs train, and running past a logout."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import console.tui.engine_link
from console.programs.checks import Level, examine_logout
from engine.base.locks import locked
from engine.control import launch
from engine.control.protocol import Stop
from engine.control.systemd import LogoutRisk
from tests.terminal import Terminal, terminal_env

SCRIPT = str(Path(sys.executable).with_name("depthscope"))
OLD_ENGINE = """
import sys
import engine.base.version
engine.base.version.VERSION, engine.base.version.PROTOCOL = "0.0.9", 1
from engine import daemon
sys.exit(daemon.main())
"""


def kinds(home: Any, run: str) -> list[str]:
    return [event["kind"] for event in home.json("show", run)["events"]]


def test_a_drained_engine_finishes_what_runs_and_starts_nothing_else(home: Any, wait_until: Callable[..., Any]):
    """Queued runs wait for the next engine, whose queue is open; Ctrl-C leaves it draining and says so."""
    first, second = home.train("--epochs", "1"), home.train("--epochs", "1", "--seed", "1")
    home.halt(first)
    interrupted = home.start("engine", "stop", "--drain")
    wait_until(lambda: home.json("engine", "status")["engine"]["queue"] == "draining")
    assert interrupted.stderr is not None
    assert "1 run to finish" in interrupted.stderr.readline()
    interrupted.send_signal(signal.SIGINT)
    _, said = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130
    assert "still draining" in said
    home.cli("queue", "release")
    home.go_on(first)

    said = home.cli("engine", "stop", "--drain", patience_seconds=240)

    assert "; left for the next one: 1 queued" in said
    assert home.engine_pid() is None
    with home.reader() as reader:
        assert reader.run(first).succeeded
        assert "started" not in [event.kind for event in reader.events(second)]
    home.cli("engine", "start")
    wait_until(lambda: home.worker_pid(second))


def test_stopping_waits_for_checkpoints_and_says_so(home: Any, training: str):
    """Progress up to then is on disk when the command returns."""
    done = subprocess.run(home.command("engine", "stop"), env=home.env, capture_output=True, text=True, timeout=200)

    assert done.returncode == 0
    assert "waiting for 1 run to save a checkpoint" in done.stderr
    assert home.worker_pid(training) is None
    with home.reader() as reader:
        saved = [event.text for event in reader.events(training) if event.kind == "checkpoint"][-1]
        # Progress is reported twice a second, so the checkpoint is at least that far.
        assert int(saved.removeprefix("step ")) >= reader.run(training).step > 0


def test_draining_and_leaving_alone_are_two_things(bare_home: Any):
    """Refused in one line."""
    assert "choose one: " in bare_home.cli("engine", "stop", "--drain", "--keep-training", status=2)


def test_an_engine_of_another_version_is_replaced_while_runs_train(
    home: Any, training: str, wait_until: Callable[..., Any]
):
    """By the command every refusal names, or by a key of the console; the worker is unaffected."""
    worker = home.worker_pid(training)
    home.halt(training)
    for how in ("command", "console"):
        home.cli("engine", "stop", "--keep-training")
        old = start_old(home)
        try:
            refused = home.cli("train", "-a", "he-resnet", "-d", "8", "--data", "tiny", "--detach", status=2)
            assert "is version 0.0.9" in refused
            assert "`depthscope engine restart`" in refused
            assert refused.count("\n") == 1
            if how == "command":
                home.cli("engine", "restart")
            else:
                with Terminal([SCRIPT], terminal_env(home)) as terminal:
                    terminal.read_until(lambda seen: b"key E" in seen)
                    terminal.type(b"E")
                    terminal.read_until(lambda seen: b"engine up" in seen)
                    terminal.type(b"q")
                    assert terminal.wait() == 0
            assert old.wait(timeout=30) == 0
        finally:
            old.kill()
            old.wait()
        greeting = launch.greet(home.home)
        assert greeting is not None
        launch.check_version(greeting)
        assert greeting.num_running == 1
        assert home.worker_pid(training) == worker
    with home.reader() as reader:
        step = reader.run(training).step
        home.go_on(training)
        wait_until(lambda: reader.run(training).step > step)
    assert home.worker_pid(training) == worker


def start_old(home: Any) -> subprocess.Popen[bytes]:
    """Start an engine that identifies as depthscope 0.0.9 and adopts running workers."""
    with locked(home.home.launch_lock):
        old = subprocess.Popen([sys.executable, "-P", "-c", OLD_ENGINE, str(home.home.root)], env=home.env)
        while (greeting := launch.greet(home.home)) is None or greeting.num_running == 0:
            assert old.poll() is None
    return old


def test_an_engine_that_a_console_started_outlives_the_login(home: Any, wait_until: Callable[..., Any]):
    """The shell's terminal closes, sending SIGHUP to everything in it; the engine keeps running and training."""
    with Terminal(["sh", "-c", f"{SCRIPT}; sleep 600"], terminal_env(home)) as terminal:
        terminal.read_until(lambda seen: b"engine up" in seen)
        engine = home.engine_pid()
        terminal.close()
        assert terminal.wait() is not None
    run = home.train("--epochs", "1")
    home.cli("wait", run)

    assert home.engine_pid() == engine


def test_doctor_reports_what_a_logout_would_end(bare_home: Any, monkeypatch: Any):
    """With the command that fixes it; no message without systemd."""
    monkeypatch.setattr("console.programs.checks.systemd_runs", lambda: False)
    assert examine_logout(bare_home.home) == []
    monkeypatch.setattr("console.programs.checks.systemd_runs", lambda: True)
    monkeypatch.setattr("console.programs.checks.risk_of_home", lambda _home: None)
    assert [finding.level for finding in examine_logout(bare_home.home)] == [Level.GOOD]
    risk = LogoutRisk("ann does not linger", "`loginctl enable-linger`")
    monkeypatch.setattr("console.programs.checks.risk_of_home", lambda _home: risk)
    (finding,) = examine_logout(bare_home.home)

    assert (finding.level, finding.remedy) == (Level.BAD, "`loginctl enable-linger`")


async def test_the_console_reports_what_a_logout_would_end(make_app: Callable[..., Any], monkeypatch: Any):
    """On opening, and in the message on exit."""
    app = make_app()
    risk = LogoutRisk("ann does not linger", "`loginctl enable-linger`")
    monkeypatch.setattr(console.tui.engine_link, "find_logout_risk", lambda _home: risk)
    async with app.run_test() as pilot:
        while not list(app.session.notices):
            await pilot.pause(0.01)
        (told,) = app.session.notices

        assert "`loginctl enable-linger`" in told.text
        assert "`loginctl enable-linger`" in app.exit_message()


async def test_requests_made_just_before_leaving_are_still_sent(
    make_app: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    """If a run is stopped and the console quit with the next key, it exits once the engine has replied."""
    asked: list[Any] = []
    may_answer = threading.Event()
    monkeypatch.setattr(
        console.tui.engine_link, "ask_for", lambda _home, request: (asked.append(request), may_answer.wait(30))
    )
    app = make_app()
    async with app.run_test() as pilot:
        app.session.engine.request(Stop(runs=("0000000007",)), "stopped")
        await pilot.press("q")
        while not asked:
            await pilot.pause(0.01)
        await pilot.pause(0.1)
        assert app.is_running
        assert app.return_code is None
        may_answer.set()
        while app.return_code is None:
            await pilot.pause(0.01)

    assert app.return_code == 0
