"""Cost of ten thousand runs: `uv run python -m tests.benchmarks.load [--json] [--trials N] [--runs N]`.

One home with 10,000 finished runs of 164 epochs, made through the store: how the database grows, what the engine takes
that serves it, how long `ls` and the console's first frame take beside `--help` and a bare Textual app (in turns), and
how many journal rows a second are ingested, as the engine does it, into a database of their own on the same disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import apsw
import psutil
import textual

from engine.base.locks import read_pid
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.directory import Labels, RunDirectory
from engine.runs.journal import AnyEvent, Checkpointed, JournalWriter, read_journal
from engine.spec.run import encode_spec
from tests.benchmarks.console import environment, first_frames
from tests.benchmarks.startup import seconds
from tests.quiet_engine import QuietEngine
from tests.samples import STEPS_PER_EPOCH, fill_large, sample_epoch, sample_spec, sample_step

NUM_RUNS = 10_000
EPOCHS = 164
PARTS = 4
NUM_JOURNALS = 20
STEPS_OF_AN_EPOCH = 12
"""Progress lines between two epochs: one per half second, for an epoch of six seconds."""
IDLE_SECONDS = 30.0
SCRIPT = str(Path(sys.executable).with_name("depthscope"))
MIB = 1 << 20


def fill(home: Home, num_runs: int) -> list[float]:
    """Create the runs with their directories; return database bytes per run for each part of them."""
    growth, before = [], 0
    for part in range(PARTS):
        first, end = num_runs * part // PARTS, num_runs * (part + 1) // PARTS
        fill_large(home, first=first, num_runs=end - first, epochs=EPOCHS)
        size = home.database.stat().st_size
        growth.append((size - before) / (end - first))
        before = size
    with Reader(home.database) as reader:
        for run in reader.runs():
            path = RunDirectory(home.runs / run.id).path
            path.mkdir(mode=0o700)
            (path / "spec.json").write_bytes(encode_spec(run.spec))
    return growth


def write_journals(home: Home) -> tuple[list[RunDirectory], int]:
    """Write journals of whole runs as workers do; also return their total number of lines."""
    directories, num_lines = [], 0
    for number in range(NUM_JOURNALS):
        directory = RunDirectory(home.runs / f"{number:010x}")
        directory.path.mkdir(mode=0o700)
        events: list[AnyEvent] = []
        for epoch in range(1, EPOCHS + 1):
            for part in range(STEPS_OF_AN_EPOCH):
                step = (epoch - 1) * STEPS_PER_EPOCH + part * STEPS_PER_EPOCH // STEPS_OF_AN_EPOCH + 1
                events.append(sample_step(step, epoch, at=0.0))
            events.append(sample_epoch(epoch, floor=8.0, at=0.0))
            events.append(Checkpointed(step=epoch * STEPS_PER_EPOCH, size_bytes=MIB, seconds=0.1))
        writer = JournalWriter.open(directory.journal)
        writer.append_lines(writer.stamp(events))
        writer.close()
        directories.append(directory)
        num_lines += len(events)
    return directories, num_lines


def rows_a_second(folder: Path, trials: int) -> dict[str, float]:
    """Measure journal lines ingested per second of wall and CPU time: medians, and the lowest by wall time."""
    by_wall, by_cpu = [], []
    for trial in range(trials):
        home = Home(folder / f"ingest{trial}").create()
        directories, num_lines = write_journals(home)
        store = Store(home.database)
        with store.transaction():
            for number, directory in enumerate(directories):
                labels = Labels(name=directory.id, experiment="load", position=number, created_at=0.0)
                store.add_run(directory.id, sample_spec("resnet", 20), labels)
        wall, cpu = time.perf_counter(), time.process_time()
        for directory in directories:
            ingest(store, directory)
        by_wall.append(num_lines / (time.perf_counter() - wall))
        by_cpu.append(num_lines / (time.process_time() - cpu))
        store.close()
    return {"wall": statistics.median(by_wall), "wall_least": min(by_wall), "cpu": statistics.median(by_cpu)}


def ingest(store: Store, directory: RunDirectory) -> None:
    """Ingest a journal like the engine, syncing each part before the next."""
    offset = 0
    while (reading := read_journal(directory.journal, offset)).end > offset:
        with store.transaction():
            store.ingest(directory.id, reading.events, reading.garbage, end=reading.end)
        offset = reading.end


def engine_figures(home: Home, env: dict[str, str]) -> dict[str, float]:
    """Measure an engine's start-up time, its memory then, and its share of a core while idle."""
    subprocess.run([SCRIPT, "engine", "stop"], env=env, check=True, capture_output=True)
    begun = seconds([SCRIPT, "engine", "start"], env)
    pid = read_pid(home.engine_lock)
    assert pid is not None, "an engine that serves has written its pid"
    process = psutil.Process(pid)
    idle_percent = process.cpu_percent(interval=IDLE_SECONDS)
    resident = process.memory_info().rss
    subprocess.run([SCRIPT, "engine", "stop"], env=env, check=True, capture_output=True)
    return {"start_seconds": begun, "resident_mib": resident / MIB, "idle_percent": idle_percent}


def in_turns(commands: dict[str, list[str]], env: dict[str, str], trials: int) -> dict[str, float]:
    """Measure median wall seconds of commands in turns, ignoring the first turn."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for trial in range(trials + 1):
        for name, command in commands.items():
            taken = seconds(command, env)
            if trial:
                times[name].append(taken)
    return {name: statistics.median(found) for name, found in times.items()}


def measure(num_runs: int, trials: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = Home(folder / "home").create()
        env = environment(home)
        growth = fill(home, num_runs)
        engine = engine_figures(home, env)
        listing = in_turns({"help": [SCRIPT, "--help"], "ls": [SCRIPT, "ls"]}, env, trials)
        with Reader(home.database) as reader:
            sign = reader.runs(newest=1)[0].name.encode()
        with QuietEngine(home):
            frames = first_frames(home, folder, trials, sign)
        rows = rows_a_second(folder, max(3, trials // 3))
    medians = {name: statistics.median(times) for name, times in frames.items()}
    return {
        "runs": num_runs,
        "bytes_a_run_by_part": growth,
        "engine": engine,
        "seconds": listing,
        "ls_to_help": listing["ls"] / listing["help"],
        "first_frame_seconds": medians,
        "first_frame_ratio": medians["depthscope"] / medians["bare"],
        "rows_a_second": rows,
        "trials": trials,
        "load_average": os.getloadavg()[0],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": f"Python {platform.python_version()}, Textual {textual.__version__},"
        f" SQLite {apsw.sqlite_lib_version()}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument("--runs", type=int, default=NUM_RUNS)
    options = parser.parse_args()
    found = measure(options.runs, options.trials)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    listing, frames, engine, rows = (
        found[key] for key in ("seconds", "first_frame_seconds", "engine", "rows_a_second")
    )
    growth = found["bytes_a_run_by_part"]
    print(f"{found['machine']}, load {found['load_average']:.1f}, {found['versions']}; {found['runs']} runs")
    print(
        f"ls {1000 * listing['ls']:.0f} ms, --help {1000 * listing['help']:.0f} ms, medians of {found['trials']}:",
        end=" ",
    )
    print(f"{found['ls_to_help']:.2f} times (goal: at most 4)")
    print(f"first frame {1000 * frames['depthscope']:.0f} ms, bare {1000 * frames['bare']:.0f} ms:", end=" ")
    print(f"{found['first_frame_ratio']:.2f} times (goal: at most 2)")
    print(
        f"engine: serves after {engine['start_seconds']:.2f} s, {engine['resident_mib']:.0f} MiB (goal: under 95),",
        end=" ",
    )
    print(f"takes {engine['idle_percent']:.2f} % of a core in {IDLE_SECONDS:g} s (goal: under 0.5)")
    print(f"journal rows a second: {rows['wall']:.0f}, at least {rows['wall_least']:.0f} (goal: 20000);", end=" ")
    print(f"{rows['cpu']:.0f} by processor time")
    print(f"database: {', '.join(f'{size / 1024:.1f}' for size in growth)} KiB a run in each quarter (goal: the same)")


if __name__ == "__main__":
    main()
