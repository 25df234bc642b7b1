"""Fuzz whole homes: `uv run python -m tests.faults.fuzz_homes --homes 2000 [--seed 0]`.

Each home has 20 runs. Files of up to 15 of them, and files of the home, are changed at random: bits, lengths, types and
sizes of numbers, nesting, or the file is replaced by a directory, FIFO, link, socket or huge file, and run directories
are renamed. Then an engine must serve within five seconds and `ls` must list every run that was not touched, exit with
status 0 and print no traceback. Failures are printed with the seed that repeats them; the status is 1 if there are any.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from engine.base.paths import Home
from engine.runs.directory import ExitReason, RunDirectory
from engine.runs.run import Intent
from tests.recorded_runs import RECORDED, recorded_home

NUM_RUNS = 20
MIN_HEALTHY = 5
START_LIMIT_SECONDS = 5.0
HANG_SECONDS = 20.0
FILES = ("journal.jsonl", "labels.json", "exit.json", "spec.json", "run.lock", "worker.log", "checkpoint.pt")
HOME_FILES = {
    "config.toml": b'[slots]\ncpu = 2\n\n[on-finish]\ncommand = ["true"]\ntimeout-seconds = 10.0\n',
    "queue.json": b'{"state":"held","to_finish":["0123456789"]}',
    "probes.json": b"[]",
    "console.json": b'{"marked":["0123456789"],"cursor":null,"looked_at":1790000000.0}',
    "engine.failed": b"the last engine could not start\n",
    "engine.stopped": b"",
    "data/tiny/dataset.json": b'{"format":1,"name":"tiny","num_train":10}',
}
NUMBERS = (
    b"9" * 30,
    b"9" * 5000,
    b"-1",
    b"1e999",
    b"-1e300",
    b"1e300",
    b"18446744073709551616",
    b"null",
    b'"1"',
    b"[]",
)


def fill(root: Path) -> Home:
    """Create a home with runs in every state, and an index of them."""
    home = recorded_home(root, *sorted(path.name for path in RECORDED.iterdir() if path.is_dir()))
    runs = sorted(home.runs.iterdir())
    for number in range(len(runs), NUM_RUNS):
        shutil.copytree(runs[number % len(runs)], home.runs / f"{number:010x}")
    for run in sorted(home.runs.iterdir())[NUM_RUNS:]:
        shutil.rmtree(run)
    for number, path in enumerate(sorted(home.runs.iterdir())):
        directory = RunDirectory(path)
        labels = directory.read_labels()
        directory.log.write_bytes(b"a line\n")
        directory.lock_file.write_bytes(b"1\n")
        directory.checkpoint.write_bytes(b"depthscope-checkpoint 00 4\n1234")
        if number % 4 == 1:
            directory.clear_exit()
            intent = (Intent.PAUSE, Intent.RUN, Intent.STOP)[number // 4 % 3]
            directory.write_labels(msgspec.structs.replace(labels, intent=intent))
        elif number % 4 == 2:
            directory.write_exit((ExitReason.FAILED, ExitReason.DISK, ExitReason.CRASHED)[number // 4 % 3], step=1)
    for name, content in HOME_FILES.items():
        (home.root / name).parent.mkdir(exist_ok=True, parents=True)
        (home.root / name).write_bytes(content)
    for path in home.root.glob("depthscope.db*"):
        path.unlink()
    return home


def flip(content: bytes, rng: random.Random) -> bytes:
    found = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if found:
            found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def change_number(content: bytes, rng: random.Random) -> bytes:
    places = [found.span() for found in re.finditer(rb"(?<=[:\[,])-?[0-9][0-9.e+-]*", content)]
    if not places:
        return content + rng.choice(NUMBERS)
    first, last = rng.choice(places)
    return content[:first] + rng.choice(NUMBERS) + content[last:]


def change_type(content: bytes, rng: random.Random) -> bytes:
    places = [found.span() for found in re.finditer(rb'(?<=:)("[^"]*"|true|false|null)', content)]
    if not places:
        return b"[]"
    first, last = rng.choice(places)
    return content[:first] + rng.choice((b"[]", b"{}", b"7", b'"\\u0000"', b'"\xff"', b"null")) + content[last:]


def nest(content: bytes, rng: random.Random) -> bytes:
    opening = rng.choice((b"[", b'{"a":'))
    return rng.choice((b"", content, b'{"x":')) + opening * rng.choice((1_000, 200_000)) + rng.choice((b"", b"\n"))


def extend(content: bytes, rng: random.Random) -> bytes:
    """Append a valid event with a number out of range."""
    number = rng.choice(NUMBERS)
    line = rng.choice(
        (
            b'{"kind":"gradients","seq":999999,"at":1.0,"epoch":%s,"step":1,"layers":[]}',
            b'{"kind":"notice","seq":%s,"at":1.0,"text":"x"}',
            b'{"kind":"notice","seq":999999,"at":%s,"text":"x"}',
            b'{"kind":"checkpoint","seq":999999,"at":1.0,"step":1,"size_bytes":%s,"seconds":1.0}',
            b'{"kind":"stopped-early","seq":999999,"at":1.0,"epoch":1,"text":"x","saved_epochs":%s,"saved_seconds":1.0}',
        )
    )
    return content + line % number + b"\n"


CONTENTS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip, flip, cut, change_number, change_number, change_type, nest, extend,
)  # fmt: skip


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one, contextlib.suppress(OSError):
        place = Path(tempfile.mkdtemp()) / "s"
        one.bind(str(place))
        place.rename(path)
        place.parent.rmdir()


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(5 << 30)


REPLACEMENTS: dict[str, Callable[[Path], object]] = {
    "directory": Path.mkdir,
    "FIFO": os.mkfifo,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "socket": bind,
    "huge file": huge,
    "empty file": Path.touch,
    "nothing": lambda path: None,
}


def mutate(path: Path, rng: random.Random) -> str:
    """Change one file; returns what was done."""
    content = path.read_bytes() if path.is_file() and path.stat().st_size < 1 << 20 else b""
    if rng.random() < 0.5:
        change = rng.choice(CONTENTS)
        path.unlink(missing_ok=True)
        path.write_bytes(change(content, rng))
        return f"{path.name}: {change.__name__}"
    kind = rng.choice(list(REPLACEMENTS))
    path.unlink(missing_ok=True)
    REPLACEMENTS[kind](path)
    return f"{path.name}: {kind}"


def mutate_directory(path: Path, rng: random.Random) -> str:
    """Rename or replace a run directory; returns what was done."""
    name = rng.choice((os.fsdecode(b"caf\xe9\xff"), f"{path.name}.bak", path.name.upper() + "G", "0" * 200, "a\nb"))
    match rng.randrange(3):
        case 0 if not (path.parent / name).exists():
            path.rename(path.parent / name)
            return "directory: renamed"
        case 1 if not (path.parent / name).exists():
            shutil.copytree(path, path.parent / name, symlinks=True)
            return "directory: copied"
        case _:
            shutil.rmtree(path)
            kind = rng.choice(list(REPLACEMENTS))
            REPLACEMENTS[kind](path)
            return f"directory: {kind}"


def spoil(home: Home, rng: random.Random) -> tuple[set[str], list[str]]:
    """Change a home at random; returns the ids of the untouched runs and what was done."""
    paths = sorted(home.runs.iterdir())
    touched = rng.sample(paths, rng.randint(1, len(paths) - MIN_HEALTHY))
    done = []
    for path in touched:
        if rng.random() < 0.1:
            done.append(mutate_directory(path, rng))
        if path.is_dir() and not path.is_symlink():
            done += [mutate(path / name, rng) for name in rng.sample(FILES, rng.choice((1, 1, 2, 3)))]
    done += [mutate(home.root / name, rng) for name in HOME_FILES if rng.random() < 0.15]
    if rng.random() < 0.1 and home.database.exists():
        home.database.write_bytes(flip(home.database.read_bytes(), rng))
        done.append("database: flip")
    return {path.name for path in paths} - {path.name for path in touched}, done


@dataclass(slots=True)
class Trial:
    """What became of one home."""

    seed: int
    done: list[str]
    seconds: float | None = None
    """Until the engine served; None if it never did."""
    problems: list[str] = field(default_factory=list)


def try_home(template: Path, seed: int, arguments: Sequence[str] = ("serve",)) -> Trial:
    """Spoil a copy of a home, start an engine in it and list its runs.

    Args:
        template: Home to copy; with an index for half of the seeds.
        arguments: Further arguments of the engine, by default to start no workers.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="home") as folder:
        home = Home(Path(folder) / "home")
        shutil.copytree(template, home.root, symlinks=True)
        home.root.chmod(0o700)
        if rng.random() < 0.5:
            for path in home.root.glob("depthscope.db*"):
                path.unlink()
        healthy, done = spoil(home, rng)
        trial = Trial(seed, done)
        engine = start(home, trial, arguments)
        try:
            check_list(home, healthy, trial)
        finally:
            engine.send_signal(signal.SIGKILL)
            engine.wait()
    return trial


def start(home: Home, trial: Trial, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start an engine and wait until it serves."""
    reading, writing = os.pipe()
    began = time.monotonic()
    engine = subprocess.Popen(
        [sys.executable, "-P", "-m", "engine.daemon", str(home.root), str(writing), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(home.root / "fuzz.log").open("wb"),
        pass_fds=(writing,),
        cwd=home.root,
        env={**os.environ, "PYTHONPATH": os.fspath(Path(__file__).parents[2])},
    )
    os.close(writing)
    said = b""
    while select.select([reading], [], [], max(0.0, began + HANG_SECONDS - time.monotonic()))[0]:
        piece = os.read(reading, 1 << 16)
        said += piece
        if not piece:
            break
    else:
        trial.problems.append("hang: the engine does not serve")
    os.close(reading)
    taken = time.monotonic() - began
    why = said.strip(b".\n").removeprefix(b"ready")
    if why or engine.poll() is not None or not home.engine_socket.exists():
        last = (home.root / "fuzz.log").read_text(errors="replace").strip().splitlines()[-1:]
        trial.problems.append(f"no engine: {why.decode(errors='replace') or last}")
    elif not trial.problems:
        trial.seconds = taken
        if taken > START_LIMIT_SECONDS:
            trial.problems.append(f"late: the engine served after {taken:.1f} s")
    return engine


def check_list(home: Home, healthy: set[str], trial: Trial) -> None:
    """Check that `ls` lists every healthy run."""
    try:
        listed = subprocess.run(
            [sys.executable, "-P", "-m", "console.cli", "ls", "--json"],
            env={**os.environ, "DEPTHSCOPE_HOME": str(home.root), "PYTHONPATH": os.fspath(Path(__file__).parents[2])},
            capture_output=True,
            timeout=HANG_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        trial.problems.append("hang: ls does not end")
        return
    if b"Traceback" in listed.stdout + listed.stderr:
        trial.problems.append(f"traceback: {listed.stderr.decode(errors='replace').strip().splitlines()[-1:]}")
    if listed.returncode != 0:
        trial.problems.append(f"ls: status {listed.returncode}: {listed.stderr.decode(errors='replace').strip()[:300]}")
        return
    missing = healthy - {run["id"] for run in json.loads(listed.stdout)["runs"]}
    if missing:
        trial.problems.append(f"missing: {len(missing)} of {len(healthy)} healthy runs are not listed")


def make_template(folder: Path) -> Path:
    """Create the home that trials copy, with the index that an engine makes of it."""
    home = fill(folder / "template")
    whole = Trial(0, [])
    engine = start(home, whole, ("serve",))
    check_list(home, {path.name for path in home.runs.iterdir()}, whole)
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    assert not whole.problems, f"the untouched home already fails: {whole.problems}"
    for path in (home.engine_socket, home.engine_lock, home.root / "fuzz.log"):
        path.unlink(missing_ok=True)
    for name, content in HOME_FILES.items():
        (home.root / name).write_bytes(content)
    return home.root


def figures(trials: Sequence[Trial]) -> str:
    """Figures of many trials, in lines."""
    seconds = [trial.seconds for trial in trials if trial.seconds is not None]
    kinds = Counter(problem.partition(":")[0] for trial in trials for problem in trial.problems)
    in_time = sum(second <= START_LIMIT_SECONDS for second in seconds)
    lines = [
        f"{len(trials)} homes, {sum(len(trial.done) for trial in trials)} changes",
        f"{in_time} starts within {START_LIMIT_SECONDS:g} s"
        + (f" (median {statistics.median(seconds):.2f} s, at most {max(seconds):.2f} s)" if seconds else ""),
        f"{kinds['no engine']} engines did not start, {kinds['late']} were late, {kinds['hang']} hung",
        f"{kinds['missing']} homes with healthy runs not listed",
        f"{kinds['ls']} homes where ls failed, {kinds['traceback']} with a traceback",
    ]
    return "\n".join(lines)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Fuzz whole homes.")
    parser.add_argument("--homes", type=int, default=2000, help="number of homes")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first home; each next one has the next")
    options = parser.parse_args()
    trials = []
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        template = make_template(Path(folder))
        for seed in range(options.seed, options.seed + options.homes):
            trial = try_home(template, seed)
            trials.append(trial)
            for problem in trial.problems:
                print(f"seed {seed}: {problem} ({'; '.join(trial.done)})", flush=True)
            if len(trials) % 100 == 0:
                print(f"{len(trials)} homes done", file=sys.stderr, flush=True)
    print(figures(trials))
    return 1 if any(trial.problems for trial in trials) else 0


if __name__ == "__main__":
    sys.exit(main())
