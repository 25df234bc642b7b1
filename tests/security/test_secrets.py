"""Secrets in the environment (tokens, passwords) appear in no file and no message, whatever goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECRET = "correct-horse-battery-staple"


def files_with_secret(root: Path) -> list[str]:
    return [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]


def test_no_environment_is_written_anywhere(home: Any, wait_until: Callable[..., Any]):
    """A run that trains, one whose worker crashes, one that fails, and everything that reports them."""
    home.env |= {"WANDB_API_KEY": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET, "DEPTHSCOPE_TOKEN": SECRET}
    run = home.train("--epochs", "2000")
    wait_until(home.directory(run).checkpoint.exists)
    worker = home.worker_pid(run)
    if sys.platform == "linux":
        # Control: the secret is in the environment.
        assert SECRET.encode() in Path(f"/proc/{worker}/environ").read_bytes()
    os.kill(worker, signal.SIGABRT)
    wait_until(lambda: home.worker_pid(run) not in (None, worker))
    home.cli("stop", run)
    home.cli("wait", run, status=4)
    home.cli("queue", "hold")
    failing = home.train("--epochs", "2")
    shutil.rmtree(home.home.data / "tiny")
    home.cli("queue", "release")
    home.cli("wait", failing, status=4)

    told = [
        home.cli(*words)
        for words in (
            ("show", run),
            ("logs", run),
            ("logs", failing),
            ("engine", "logs"),
            ("engine", "status", "--json"),
        )
    ]
    told += [home.cli("show", failing, "--json"), home.cli("config", "show"), home.cli("stop", run, status=2)]
    assert not [text for text in told if SECRET in text]
    assert files_with_secret(home.home.root) == []
    # Control: the search finds text that is there.
    (home.home.root / "planted").write_text(f"x{SECRET}x")
    assert files_with_secret(home.home.root) == ["planted"]
