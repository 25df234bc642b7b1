"""Many consoles that find no engine start exactly one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest

from engine.control.launch import EXIT_LOCKED, ensure_engine, is_serving
from engine.runs.launcher import signal_holder


@pytest.mark.slow
def test_fifty_engines_started_at_once_are_one(bare_home: Any):
    """Fifty commands that each start an engine if none is running."""
    started = [bare_home.start("engine", "start") for _ in range(50)]
    said = [child.communicate(timeout=120) for child in started]

    assert [child.returncode for child in started] == [0] * 50, said
    pids = {out.split("pid ")[1].split(",")[0] for out, _ in said}
    assert pids == {str(bare_home.engine_pid())}
    assert bare_home.home.engine_log.read_text().count("serving") == 1


def test_a_second_engine_process_leaves_at_once(bare_home: Any):
    """Started without the launch lock, as an init system might."""
    ensure_engine(bare_home.home)
    command = [bare_home.command()[0], "-P", "-m", "engine.daemon", str(bare_home.home.root)]
    done = subprocess.run(command, env=bare_home.env, capture_output=True, timeout=60)

    assert done.returncode == EXIT_LOCKED
    assert ensure_engine(bare_home.home).pid == bare_home.engine_pid()


@pytest.mark.parametrize("content", ["1", "ours", "999999999", "garbage", ""])
def test_stale_lock_files_block_nothing_and_no_foreign_process_is_signalled(finished: Any, content: str):
    """An unheld lock file means no engine and no worker, even if it contains the pid of a live process."""
    home = finished
    (run,) = (path.name for path in home.home.runs.iterdir())
    content = str(os.getpid()) if content == "ours" else content
    home.home.engine_lock.write_text(content)
    home.home.engine_socket.touch()
    assert not is_serving(home.home)
    home.cli("engine", "start")
    assert home.engine_pid() not in (None, os.getpid())
    directory = home.directory(run)
    directory.lock_file.write_text(content)
    # This process's own pid: a real signal, unlike signal 0, would end the test.
    signal_holder(directory, signal.SIGKILL)

    assert json.loads(home.cli("ls", "--json"))["runs"][0]["outcome"] == "succeeded"
