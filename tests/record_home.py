"""Record a home as this version writes it, for the test that a later version opens it and goes on.

Run it from a checkout of the version to record: `python -m tests.record_home FILE.tar.xz`.
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
from pathlib import Path

import torch

from engine.runs.journal import Checkpointed, read_journal
from engine.training.device import device_name
from tests.conftest import TestHome, wait_until

NUM_TRAIN, NUM_TEST = 16, 8
EPOCHS = 40
NETWORK = ("-a", "he-resnet", "-d", "8", "--width", "2", "--data", "tiny", "--batch-size", "4", "--precision", "fp32")
LEFT_OUT = (".lock", ".sock", ".tmp", "-shm", ".log", ".reserve")
"""Endings of files without a meaning for the next engine."""

PROCESSOR = "processor"
"""File that says what rounded the recorded numbers."""


def processor() -> str:
    """Return what the last bits of a result depend on."""
    return f"{device_name(torch.device('cpu'))}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def train(home: TestHome, *words: str) -> str:
    (run,) = home.json("train", *NETWORK, "-e", "history", "--detach", "--device", "cpu", *words)["runs"]
    return str(run["id"])


def halt_in_the_middle(home: TestHome, run: str, *, checkpoints: int) -> None:
    """Suspend a run's worker after some checkpoints, and check that it has not finished."""
    directory = home.directory(run)

    def has_saved() -> bool:
        events = read_journal(directory.journal).events
        return sum(isinstance(event, Checkpointed) for event in events) >= checkpoints

    wait_until(has_saved)
    home.halt(run)
    assert directory.read_exit() is None, "too late to interrupt it"


def fill(home: TestHome) -> None:
    """Train two runs to the end, interrupt two, and leave others that never ran."""
    home.home.config.write_text("[slots]\ncpu = 1\n")
    (home.home.root / PROCESSOR).write_text(processor())
    home.add_tiny(num_train=NUM_TRAIN, num_test=NUM_TEST)
    for seed in ("0", "1"):
        done = train(home, "--epochs", "2", "--seed", seed)
        home.cli("wait", done)
    home.cli("tag", done, "+baseline")
    home.cli("note", done, "the second seed")
    paused = train(home, "--epochs", str(EPOCHS), "--seed", "2")
    halt_in_the_middle(home, paused, checkpoints=3)
    home.cli("pause", paused)
    home.go_on(paused)
    wait_until(lambda: home.json("show", paused)["run"]["status"] == "paused")
    killed = train(home, "--epochs", str(EPOCHS), "--seed", "3")
    halt_in_the_middle(home, killed, checkpoints=4)
    train(home, "--epochs", "2", "--seed", "4")
    home.cli("queue", "hold", train(home, "--epochs", "2", "--seed", "5"))
    removed = train(home, "--epochs", "2", "--seed", "6")
    home.cli("stop", removed)
    home.cli("rm", removed)
    # Neither has time to record anything.
    home.kill(wait_until(home.engine_pid))
    home.kill(wait_until(lambda: home.worker_pid(killed)))


def pack(root: Path, target: Path) -> None:
    """Write a home's files to an archive, with the modes they have."""
    with tarfile.open(target, "w:xz", preset=9) as archive:
        for path in sorted(root.rglob("*")):
            if path.is_dir() or (path.is_file() and not path.name.endswith(LEFT_OUT)):
                found = archive.gettarinfo(path, str(path.relative_to(root)))
                found.uid = found.gid = 0
                found.uname = found.gname = ""
                if path.is_dir():
                    archive.addfile(found)
                else:
                    archive.addfile(found, io.BytesIO(path.read_bytes()))


def main() -> None:
    """Entry point."""
    with tempfile.TemporaryDirectory() as scratch:
        home = TestHome(Path(scratch) / "home")
        try:
            fill(home)
        finally:
            home.end_everything()
        pack(home.home.root, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
