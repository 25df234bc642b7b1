"""Fixtures: homes for tests, whose processes are ended with the test."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import numpy as np
import pytest

from console import cli
from engine.base.locks import read_pid
from engine.base.paths import Home
from engine.control import launch
from engine.data.cache import ImageSets, conversion_lock, store
from engine.index.queries import Reader
from engine.runs.directory import RunDirectory

PATIENCE_SECONDS = 120.0
NUM_KILLS = 1000
FIGURE = "figure"
TINY_CLASSES = ("down", "up", "left", "right")
# One thread, here and in child processes: on few cores, small networks lose more to synchronisation than they gain,
# a hundredfold if other tests run at the same time. torch reads this when it is loaded.
os.environ["OMP_NUM_THREADS"] = "1"
ENVIRONMENT = dict(os.environ)
"""Environment this process was started with."""
READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_")
"""Prefixes of variables that Python reads only at start-up."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills",
        type=int,
        default=NUM_KILLS,
        metavar="N",
        help=f"workers that a soak kills, `-m soak` (default {NUM_KILLS}); other soaks scale with it",
    )
    parser.addoption(
        "--minutes", type=float, default=20, metavar="M", help="minutes of the endurance test, `-m soak` (default 20)"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect slow tests and soaks unless the selection names them.

    Not by `-m "not slow"` in the configuration: a `-m "not gpu"` on the command line would take that back. Last, so
    that the snapshots of a test left out do not count as unused, which would fail the session.
    """
    unnamed = [marker for marker in ("slow", "soak") if marker not in config.option.markexpr]
    left_out = [item for item in items if any(item.get_closest_marker(marker) for marker in unnamed)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """Exclude torch and all tests from later garbage collections, which took a seventh of the console tests' time."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures measured by tests, which arrive with their reports from any process."""
    reports = [report for name in ("passed", "failed") for report in terminalreporter.getreports(name)]
    measured = [(report.nodeid, value) for report in reports for key, value in report.user_properties if key == FIGURE]
    if measured:
        terminalreporter.section("figures")
        for node, text in measured:
            terminalreporter.write_line(f"{node.rpartition('::')[2]}: {text}")


def wait_until(condition: Callable[[], Any], *, patience_seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait for a condition and return its true value; fail the test if it stays false."""
    deadline = time.monotonic() + patience_seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {patience_seconds:g} s for {condition.__name__} in vain")
        time.sleep(0.01)
    return value


def tiny_images(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Generate noise with a bright half that reveals the class, learnt in a few steps of milliseconds."""
    draws = np.random.default_rng(seed)
    labels = np.arange(num, dtype=np.int64) % len(TINY_CLASSES)
    images = draws.integers(0, 128, (num, 32, 32, 3), dtype=np.uint8)
    halves = (np.s_[16:, :], np.s_[:16, :], np.s_[:, :16], np.s_[:, 16:])
    for index, label in enumerate(labels):
        images[index][halves[label]] += 100
    return images, labels


def needs_process(env: dict[str, str]) -> bool:
    """Return whether a command in this environment needs a separate process."""
    return threading.current_thread() is not threading.main_thread() or any(
        env.get(name) != ENVIRONMENT.get(name)
        for name in env.keys() | ENVIRONMENT.keys()
        if name.startswith(READ_AT_START) and name != "PYTHONDONTWRITEBYTECODE"
    )


def run_here(words: Sequence[str], env: dict[str, str], patience_seconds: float) -> tuple[int, str, str]:
    """Run a command in this process, which is faster; return exit status, stdout and stderr.

    An exception the command does not handle fails the test, with its traceback.
    """

    def give_up(*_: Any) -> NoReturn:
        raise TimeoutError(f"{words} did not end within {patience_seconds:g} s")

    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as err,
        Path(os.devnull).open() as nothing,
    ):
        streams = {"stdin": nothing, "stdout": out, "stderr": err}
        handlers = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGINT)}
        try:
            with (
                mock.patch.dict(os.environ, env, clear=True),
                mock.patch.multiple(sys, argv=["depthscope", *words], **streams),
                mock.patch.multiple(sys, **{f"__{name}__": stream for name, stream in streams.items()}),
            ):
                signal.signal(signal.SIGALRM, give_up)
                signal.setitimer(signal.ITIMER_REAL, patience_seconds)
                cli.main()
            status: Any = 0
        except SystemExit as end:
            status = end.code or 0
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return status, *texts  # type: ignore[return-value]


def read_end(words: Sequence[str], status: int | None, returned: int, stdout: str, stderr: str) -> str:
    """Check an exit status and return the output: only stdout if success was expected."""
    assert status in (None, returned), f"{words}: status {returned}\n{stdout}\n{stderr}"
    return stdout if status == 0 else stdout + stderr


class TestHome:
    """A home with a tiny dataset, and the command line for it."""

    __test__ = False

    def __init__(self, root: Path) -> None:
        self.home = Home(root).create()
        self.env = {**os.environ, "DEPTHSCOPE_HOME": str(root), "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
        # With compiled torch modules, a worker starts in two seconds rather than five.
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)
        self._started: list[subprocess.Popen[str]] = []

    def add_tiny(self, *, num_train: int = 200, num_test: int = 80, name: str = "tiny") -> None:
        """Store the dataset most tests train on."""
        train_images, train_labels = tiny_images(num_train, 1)
        test_images, test_labels = tiny_images(num_test, 2)
        sets = ImageSets("for tests", TINY_CLASSES, train_images, train_labels, test_images, test_labels, True)
        with conversion_lock(self.home, lambda _text: None):
            store(self.home, name, sets)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "console.cli", *words]

    def cli(self, *words: str, status: int | None = 0, patience_seconds: float = PATIENCE_SECONDS) -> str:
        """Run a command and return its output; fail unless it exits with the status (None allows any).

        Runs in this process if that makes no difference.
        """
        if needs_process(self.env):
            return self.cli_apart(*words, status=status, patience_seconds=patience_seconds)
        return read_end(words, status, *run_here(words, self.env, patience_seconds))

    def cli_apart(self, *words: str, status: int | None = 0, patience_seconds: float = PATIENCE_SECONDS) -> str:
        """Like `cli`, but always in a separate process, as started by a shell."""
        done = subprocess.run(
            self.command(*words),
            env=self.env,
            capture_output=True,
            text=True,
            timeout=patience_seconds,
            stdin=subprocess.DEVNULL,
        )
        return read_end(words, status, done.returncode, done.stdout, done.stderr)

    def json(self, *words: str) -> Any:
        """Return a command's JSON output."""
        return json.loads(self.cli(*words, "--json"))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command and leave it running, until the test ends at the latest."""
        child = subprocess.Popen(
            self.command(*words), env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._started.append(child)
        return child

    def train(self, *words: str) -> str:
        """Queue one tiny run and return its id."""
        base = ["train", "-a", "he-resnet", "-d", "8", "--width", "4", "--data", "tiny", "--batch-size", "20"]
        (run,) = self.json(*base, "--detach", *words)["runs"]
        return str(run["id"])

    def directory(self, run: str) -> RunDirectory:
        return RunDirectory(self.home.runs / run)

    def reader(self) -> Reader:
        return Reader(self.home.database)

    def engine_pid(self) -> int | None:
        """Pid of the engine holding the lock; None before it has written its pid."""
        return read_pid(self.home.engine_lock) if launch.is_serving(self.home) else None

    def worker_pid(self, run: str) -> int | None:
        """Pid of the worker holding the run's lock; None before it has written its pid."""
        directory = self.directory(run)
        return read_pid(directory.lock_file) if directory.path.exists() and directory.is_locked() else None

    def halt(self, run: str) -> None:
        """Suspend a run's worker, so that it neither finishes nor takes CPU time from other tests."""
        os.kill(wait_until(lambda: self.worker_pid(run)), signal.SIGSTOP)

    def go_on(self, run: str) -> None:
        """Continue a suspended worker; pending signals reach it now."""
        os.kill(wait_until(lambda: self.worker_pid(run)), signal.SIGCONT)

    def kill(self, pid: int) -> None:
        """Kill a process with SIGKILL."""
        os.kill(pid, signal.SIGKILL)

    def end_everything(self) -> None:
        """Kill everything started in this home, the engine first so that it starts nothing more."""
        for child in self._started:
            child.kill()
            child.communicate()
        while (pid := self.engine_pid()) is not None:
            with contextlib.suppress(ProcessLookupError):
                self.kill(pid)
            wait_until(lambda gone=pid: self.engine_pid() != gone)
        for path in self.home.runs.iterdir():
            directory = RunDirectory(path)

            def is_free(directory: RunDirectory = directory) -> bool:
                # Read again each time: a new worker writes its pid only after taking the lock.
                if (pid := self.worker_pid(directory.id)) is not None:
                    with contextlib.suppress(ProcessLookupError):
                        self.kill(pid)
                return not directory.is_locked()

            wait_until(is_free)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Record a line of figures to print after all tests."""
    return lambda text: record_property(FIGURE, text)


@pytest.fixture
def num_kills(pytestconfig: pytest.Config) -> int:
    """Number of kills of a soak, set by --kills."""
    return int(pytestconfig.getoption("--kills"))


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> None:
    """Let children receive Ctrl-C even if a shell started the tests in the background, where it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def bare_home(tmp_path: Path) -> Iterator[TestHome]:
    """An empty home."""
    home = TestHome(tmp_path / "home")
    yield home
    home.end_everything()


@pytest.fixture
def home(bare_home: TestHome) -> TestHome:
    """A home with the tiny dataset."""
    bare_home.add_tiny()
    return bare_home


def made_once(factory: pytest.TempPathFactory, name: str, fill: Callable[[TestHome], None]) -> Path:
    """Fill a home once per session across all test processes; tests use copies of it."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root = shared / name
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "whole").exists():
            shutil.rmtree(root, ignore_errors=True)
            home = TestHome(root / "home")
            try:
                home.add_tiny()
                fill(home)
                home.cli("engine", "stop")
            finally:
                home.end_everything()
            (root / "whole").touch()
    return root / "home"


@pytest.fixture
def copied_home(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Callable[..., TestHome]]:
    """Copy homes filled by a function, such as one that trains, which runs once for all tests."""
    homes = []

    def copy(name: str, fill: Callable[[TestHome], None]) -> TestHome:
        homes.append(TestHome(shutil.copytree(made_once(tmp_path_factory, name, fill), tmp_path / "home")))
        return homes[-1]

    yield copy
    for home in homes:
        home.end_everything()


def train_one_epoch(home: TestHome) -> None:
    home.cli("wait", home.train("--epochs", "1"))


@pytest.fixture
def finished(copied_home: Callable[..., TestHome]) -> TestHome:
    """A home with one finished run and no engine."""
    return copied_home("finished", train_one_epoch)


@pytest.fixture(name="wait_until")
def _wait_until() -> Callable[..., Any]:
    """Wait for a condition, with a deadline."""
    return wait_until


@pytest.fixture
def training(home: TestHome) -> str:
    """A running run that outlasts any test."""
    run = home.train("--epochs", "2000")
    with home.reader() as reader:
        # Without commands, which would take CPU time from the worker.
        wait_until(lambda: reader.run(run).step > 0)
    return run
