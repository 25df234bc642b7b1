"""The on-finish command: when it runs, its arguments and its time limit."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.control.protocol import Retry, Stop
from engine.runs.directory import ExitReason
from engine.scheduler.hooks import Announcer, announce
from engine.spec.devices import CPU
from engine.spec.settings import Hook, read_settings
from tests.conftest import wait_until
from tests.engine.scripted import Scene, scene

WRITE = "import os, sys; open(sys.argv[1], 'a').write('|'.join(sys.argv[2:]) + '|' + os.environ['DEPTHSCOPE_OUTCOME'] + '\\n')"  # noqa: E501


def of_home(tmp_path: Path) -> Scene:
    return scene(Home(tmp_path / "home").create(), [CPU])


def writing(path: Path, *words: str) -> Hook:
    """Return a command that writes its arguments to a file."""
    return Hook(command=(sys.executable, "-c", WRITE, str(path), *words))


def announcer(engine: Scene, hook: Hook | None) -> Announcer:
    return Announcer(hook, engine.supervisor.store, engine.supervisor.reader)


async def test_every_end_is_announced_once_across_engines(tmp_path: Path):
    """The next engine announces a run whose engine died; a rebuilt index announces no old runs."""
    engine, told = of_home(tmp_path), tmp_path / "told"
    hook = writing(told, "{run_name}", "{experiment}", "{outcome}", "{test_error}", "$HOME; {x", "{run_id}")
    first, second = engine.submit(None, None)
    engine.end(first, ExitReason.SUCCEEDED)
    engine = engine.successor()
    await announcer(engine, hook).announce_all()
    assert told.read_text() == f"run0|exp1|succeeded||$HOME; {{x|{first}|succeeded\n"

    engine.end(second, ExitReason.DIVERGED)
    await announcer(engine, hook).announce_all()
    engine = engine.successor()
    await announcer(engine, hook).announce_all()
    engine = engine.successor(index_lost=True)
    await announcer(engine, hook).announce_all()
    assert [line.split("|")[2] for line in told.read_text().splitlines()] == ["succeeded", "diverged"]

    engine.ask(Retry(runs=(second,)))
    engine.end(second, ExitReason.FAILED)
    await announcer(engine, hook).announce_all()
    assert told.read_text().splitlines()[-1] == f"run1|exp1|failed||$HOME; {{x|{second}|failed"
    assert len(told.read_text().splitlines()) == 3


async def test_a_run_resumed_before_its_announcement_is_not_announced(tmp_path: Path):
    """A resumed run has not finished; without a command, nothing is kept for a later one."""
    engine, told = of_home(tmp_path), tmp_path / "told"
    first, second = engine.submit(None, None)
    engine.end(first, ExitReason.FAILED)
    engine.ask(Retry(runs=(first,)))
    await announcer(engine, writing(told)).announce_all()
    assert not told.exists()

    engine.ask(Stop(runs=(second,)))
    await announcer(engine, None).announce_all()
    await announcer(engine, writing(told)).announce_all()
    assert not told.exists()


async def test_a_command_is_killed_after_its_limit_with_its_children(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A hanging hook blocks neither the engine nor later hooks; its output so far is in the log."""
    engine = of_home(tmp_path)
    (run,) = engine.submit(None)
    found = engine.supervisor.reader.run(run)
    code = "import subprocess, sys; c = subprocess.Popen(['sleep', '600']); print('child', c.pid, '\\x1b[31m', flush=True); c.wait()"  # noqa: E501
    hook = Hook(command=(sys.executable, "-c", code), timeout_seconds=3.0)
    caplog.set_level(logging.INFO)

    began = time.monotonic()
    await announce(hook, found)
    assert time.monotonic() - began < 60
    (line,) = caplog.messages
    assert line.startswith(f"on-finish for {run}: killed after its limit of 3 s in ")
    assert "\x1b" not in line
    child = int(line.split("child ")[1].split()[0])
    # Already killed; gone once the kernel has processed that.
    wait_until(lambda: is_gone(child))


def is_gone(pid: int) -> bool:
    """Return whether a process has exited, even if it is a zombie."""
    try:
        return "(sleep) Z" in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


async def test_commands_that_fail_or_cannot_start_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """With status and limited output, without the environment."""
    engine = of_home(tmp_path)
    (run,) = engine.submit(None)
    found = engine.supervisor.reader.run(run)
    odd = msgspec.structs.replace(found, name="a\0b")
    caplog.set_level(logging.INFO)

    await announce(Hook(command=("/nonexistent/program", "x")), found)
    await announce(Hook(command=("true", "{run_name}")), odd)
    await announce(Hook(command=(sys.executable, "-c", "print('x' * 100_000); raise SystemExit(3)")), found)
    assert "cannot start /nonexistent/program: " in caplog.messages[0]
    assert "cannot start true: embedded null byte" in caplog.messages[1]
    assert ": status 3 in " in caplog.messages[2]
    assert len(caplog.messages[2]) < 4300
    assert os.environ["PATH"] not in caplog.text


def test_a_real_engine_announces_a_real_run_once(home: Any, wait_until: Any, tmp_path: Path):
    """By the command in config.toml, and not again after a restart."""
    told = tmp_path / "told"
    words = json.dumps([sys.executable, "-c", WRITE, str(told), "{run_id}"])
    home.home.config.write_text(f"notify = 'osc9'\n[on-finish]\ncommand = {words}\n")
    run = home.train("--epochs", "1", "--device", "cpu")
    home.cli("wait", run)
    wait_until(lambda: told.exists() and told.read_text() == f"{run}|succeeded\n")
    wait_until(lambda: f"on-finish for {run}: status 0 in " in home.home.engine_log.read_text())

    home.cli("engine", "restart")
    other = home.train("--epochs", "1", "--device", "cpu")
    home.cli("wait", other)
    wait_until(lambda: len(told.read_text().splitlines()) > 1)
    assert told.read_text() == f"{run}|succeeded\n{other}|succeeded\n"
    assert "on-finish.command" in home.cli("config", "show")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on-finish = 3", "on-finish: Expected `object`"),
        ("[on-finish]", "missing required field `command`"),
        ("[on-finish]\ncommand = []", "command must be a program"),
        ("[on-finish]\ncommand = 'notify-send x'", "Expected `array`"),
        ("[on-finish]\ncommand = ['x', '{name}']", "{name} is not known in command: there are run_id, run_name"),
        ("[on-finish]\ncommand = ['x']\ntimeout-seconds = 0", "timeout-seconds must be above 0"),
        ("[on-finish]\ncommand = ['x']\ntimeout = 3", "unknown field `timeout`"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(text: str, expected: str, tmp_path: Path):
    """The error names the file and the setting."""
    home = Home(tmp_path / "home").create()
    home.config.write_text(text)

    with pytest.raises(UsageError, match=r"config\.toml: on-finish: ") as refused:
        read_settings(home)
    assert expected in str(refused.value)
