"""The console on real terminals: in tmux with a training engine, and when the terminal closes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.terminal import Terminal, goes_on, terminal_env

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux on this machine")
ENDS_WITHIN_SECONDS = 2.0
SCRIPT = str(Path(sys.executable).with_name("depthscope"))


class Tmux:
    """A separate tmux server with one window."""

    def __init__(self, socket: Path, env: dict[str, str]) -> None:
        self._socket = str(socket)
        self._env = env

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, "-f", "/dev/null", *words],
            env={**self._env, "TERM": "screen-256color"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def end(self) -> None:
        """Stop the server, and wait until nothing that ran in it could start an engine again."""
        try:
            panes = [int(word) for word in self("list-panes", "-a", "-F", "#{pane_pid}").split()]
        except subprocess.CalledProcessError:
            return
        running = [child for pane in panes for child in psutil.Process(pane).children()]
        self("kill-server")
        _, left = psutil.wait_procs(running, timeout=10)
        assert not left, f"outlived their terminal: {left}"

    def open(self, command: str) -> None:
        self("new-session", "-d", "-x", "80", "-y", "24", command)

    def keys(self, *names: str) -> None:
        for name in names:
            self("send-keys", name)

    def screen(self) -> str:
        return self("capture-pane", "-p")

    def shows(self, condition: Callable[[str], Any], *, patience_seconds: float = 60.0) -> str:
        """Return the first screen that satisfies a condition; fail with the last screen if none does."""
        deadline = time.monotonic() + patience_seconds
        while not condition(screen := self.screen()):
            if time.monotonic() > deadline:
                pytest.fail(f"waited {patience_seconds:g} s in vain before this screen:\n{screen}")
        return screen


@pytest.fixture
def tmux(home: Any, tmp_path: Path) -> Iterator[Tmux]:
    """A tmux server, stopped with the test together with everything in it."""
    env = {name: value for name, value in home.env.items() if name not in ("NO_COLOR", "TMUX", "LC_ALL", "LC_CTYPE")}
    # The socket path must be short.
    server = Tmux(Path(os.environ.get("TMPDIR", "/tmp")) / f"depthscope-{os.getpid()}.tmux", env)
    yield server
    server.end()


@needs_tmux
@pytest.mark.slow
@pytest.mark.parametrize("words", ["LANG=C.UTF-8", "NO_COLOR=1 LANG=C.UTF-8", "LANG=C"])
def test_a_session_from_the_form_to_the_comparison(words: str, home: Any, tmux: Tmux):
    """Start an experiment from the form, watch, mark, stop, compare, quit, and return to the same view."""
    tmux.open(f"env {words} {SCRIPT}; echo ENDED $?; sleep 600")
    tmux.shows(lambda screen: "No runs yet" in screen and "engine up" in screen)
    tmux.keys("n")
    tmux.shows(lambda screen: "or any depths" in screen)
    # he-resnet and he-plain.
    tmux.keys("Down", "Down", "Down", "Space", "Down", "Space")
    tmux.shows(lambda screen: screen.count("[x]") == 2)
    # The heading of the network unfolds the width.
    tmux.keys("BTab", "Enter", "Tab", "Tab", "Tab", "8", "Tab", "4")
    tmux.shows(lambda screen: "8" in field_line(screen, "or any depths") and "4" in field_line(screen, "width"))
    # Past the rest of the network, the run, and the heading of the training.
    tmux.keys(*["Tab"] * 11, *"400", "Tab", *"20")
    tmux.shows(lambda screen: "20" in field_line(screen, "batch size"))
    tmux.keys("Tab", "Tab", "Tab")
    # The tiny dataset is first because it is cached.
    tmux.keys("Home")
    tmux.shows(lambda screen: "tiny" in field_line(screen, "dataset"))
    tmux.shows(lambda screen: "2 runs" in screen)
    tmux.keys("C-s")
    tmux.shows(lambda screen: "he-plain8" in screen and "running" in screen)
    tmux.shows(lambda screen: "Training loss" in screen)
    if "LANG=C.UTF-8" not in words:
        assert tmux.screen().isascii()
    first = chart_of(tmux.shows(lambda screen: "2/400" in screen))
    tmux.shows(lambda screen: "/400" in screen and chart_of(screen) != first)

    tmux.keys("Space")
    tmux.shows(lambda screen: "1 marked" in screen)
    tmux.keys("c")
    tmux.shows(lambda screen: "exp1: 2 runs" in screen)
    tmux.keys("Escape")
    tmux.shows(lambda screen: "1 marked" in screen)
    tmux.keys("U", "Down", "Up", "s")
    tmux.shows(lambda screen: "cancelled" in screen)
    tmux.keys("q")
    tmux.shows(lambda screen: "ENDED 0" in screen)
    left = tmux.screen()
    assert "Traceback" not in left
    runs = home.json("ls")["runs"]
    assert "training" in left, left

    tmux("respawn-pane", "-k", f"env {words} {SCRIPT}; echo ENDED $?; sleep 600")
    tmux.shows(lambda screen: all(run["name"][:9] in screen for run in runs) and "cancelled" in screen)


def field_line(screen: str, name: str) -> str:
    return next((line for line in screen.splitlines() if line.strip().startswith(name)), "")


def chart_of(screen: str) -> list[str]:
    """Return the chart's lines below its title."""
    lines = screen.splitlines()
    start = next(row for row, line in enumerate(lines) if "Training loss" in line)
    return lines[start:]


def test_the_console_ends_with_its_terminal_and_training_continues(
    home: Any, training: str, wait_until: Callable[..., Any], figure: Callable[[str], None]
):
    """Within two seconds, even if SIGHUP is ignored; a terminal that still exists is restored."""
    for how in ("SIGTERM", "SIGHUP", "SIGHUP ignored", "pty closed", "pty closed, SIGHUP ignored"):
        home.halt(training)
        taken = end_console(home, how)
        figure(f"{how}: {taken:.2f} s")
        assert taken < ENDS_WITHIN_SECONDS, how
        goes_on(home, training, wait_until)


def end_console(home: Any, how: str) -> float:
    """Open a console, end it by `how`, check what it leaves behind, and return the seconds it took."""
    command = [SCRIPT]
    if "ignored" in how:
        command = ["sh", "-c", f"trap '' HUP; exec {SCRIPT}"]
    with Terminal(command, terminal_env(home)) as terminal:
        before = termios.tcgetattr(terminal.descriptor)
        terminal.read_until(lambda seen: b"he-resnet8" in seen)
        terminal.drain(1.0)
        began = time.perf_counter()
        if how == "SIGHUP ignored":
            terminal.signal(signal.SIGHUP)
            terminal.drain(0.5)
            assert terminal.status is None
            terminal.signal(signal.SIGTERM)
            began = time.perf_counter()
        elif how.startswith("SIG"):
            terminal.signal(signal.Signals[how])
        else:
            terminal.close()
        status = terminal.wait(patience_seconds=10)
        taken = time.perf_counter() - began

        assert status, how
        assert b"Traceback" not in terminal.output
        if how.startswith("SIG"):
            # Back from the alternate screen, with cursor and modes restored.
            assert b"\x1b[?1049l" in terminal.output
            assert b"\x1b[?25h" in terminal.output
            assert termios.tcgetattr(terminal.descriptor)[:4] == before[:4]
    return taken


def test_ctrl_c_leaves_the_console_alone(home: Any, training: str, wait_until: Callable[..., Any]):
    """Ctrl-C quits and says what continues; it never affects training."""
    home.halt(training)
    with Terminal([SCRIPT], terminal_env(home)) as terminal:
        terminal.read_until(lambda seen: b"he-resnet8" in seen)
        terminal.type(b"\x03")
        assert terminal.wait() == 0
        assert b"goes on training" in terminal.output
    goes_on(home, training, wait_until)


def test_without_a_terminal_there_is_help(home: Any):
    """Scripts that call depthscope without a command get the help."""
    done = subprocess.run(home.command(), env=home.env, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    assert "quickstart" in done.stdout + done.stderr
    assert done.returncode in (0, 2)


def test_a_stopped_engine_is_reported_within_three_seconds(home: Any):
    """As not responding rather than dead, and without a second engine."""
    home.cli("engine", "start")
    engine = home.engine_pid()
    with Terminal([SCRIPT], terminal_env(home)) as terminal:
        terminal.read_until(lambda seen: b"engine up" in seen)
        os.kill(engine, signal.SIGSTOP)
        try:
            taken = terminal.read_until(lambda seen: b"not responding" in seen)
        finally:
            os.kill(engine, signal.SIGCONT)
        terminal.read_until(lambda seen: b"engine up" in seen)
    print(f"told within {taken:.2f} s")
    assert taken < 3.0
    assert home.engine_pid() == engine
