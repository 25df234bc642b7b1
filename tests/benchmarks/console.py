"""Console latency and idle load: `uv run python -m tests.benchmarks.console [--json] [--trials N]`.

Measured on a pseudo-terminal of 120x36 with an index of 1,000 runs of 164 epochs, compared with a bare Textual app that
has one empty table. Four runs report to the index twice a second, as from an engine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import textual

from engine.base.paths import Home
from engine.index.writer import Store
from engine.runs.run import RunStatus
from tests.quiet_engine import QuietEngine
from tests.samples import STEPS_PER_EPOCH, add_sample, fill_large, sample_step
from tests.terminal import Terminal

BARE = """
from textual.app import App
from textual.widgets import DataTable

class Bare(App):
    def compose(self):
        yield DataTable()

    def on_mount(self):
        self.query_one(DataTable).add_column("first-frame")

Bare().run()
"""
NUM_RUNS = 1000
NUM_KEYS = 200
WATCH_SECONDS = 30.0
SETTLE_SECONDS = 6.0


class Reporter(threading.Thread):
    """Four runs that report twice a second."""

    def __init__(self, home: Home) -> None:
        super().__init__(daemon=True)
        self._store_path = home.database
        self.ended = threading.Event()
        self.runs: list[str] = []
        store = Store(home.database)
        with store.transaction():
            for number in range(4):
                self.runs.append(
                    add_sample(
                        store,
                        NUM_RUNS + 1 + number,
                        ("resnet", "plain")[number % 2],
                        (20, 56)[number // 2],
                        experiment="now",
                        epochs_done=40,
                        status=RunStatus.RUNNING,
                        outcome=None,
                        floor=8.0 + 3 * number,
                    )
                )
        store.close()

    def run(self) -> None:
        store = Store(self._store_path)
        step = 41 * STEPS_PER_EPOCH
        while not self.ended.wait(0.5):
            step += 3
            with store.transaction():
                for run in self.runs:
                    event = sample_step(step, step // STEPS_PER_EPOCH + 1, at=time.time())
                    store.ingest(run, [event], [], end=0)
        store.close()


def first_frames(home: Home, folder: Path, trials: int, sign: bytes = b"plain56-s166") -> dict[str, list[float]]:
    """Measure the seconds from start until a table is on screen, recognised by `sign`; both apps take turns."""
    script = folder / "bare.py"
    script.write_text(BARE)
    programs = {
        "bare": ([sys.executable, str(script)], b"first-frame"),
        "depthscope": ([str(Path(sys.executable).with_name("depthscope"))], sign),
    }
    found: dict[str, list[float]] = {name: [] for name in programs}
    for trial in range(trials + 1):
        for name, (command, sign) in programs.items():
            with Terminal(command, environment(home)) as terminal:
                terminal.read_until(lambda seen, sign=sign: sign in seen)
                if trial:
                    found[name].append(time.perf_counter() - terminal.began)
    return found


def environment(home: Home) -> dict[str, str]:
    env = {**os.environ, "DEPTHSCOPE_HOME": str(home.root), "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env.pop("NO_COLOR", None)
    return env


def keys_to_frames(home: Home) -> list[float]:
    """Measure the seconds from a key to the frame with the moved cursor."""
    draws, found = random.Random(1), []
    with Terminal([str(Path(sys.executable).with_name("depthscope"))], environment(home)) as terminal:
        terminal.read_until(lambda seen: b"now" in seen)
        terminal.drain(SETTLE_SECONDS)
        for number in range(NUM_KEYS):
            terminal.drain(draws.uniform(0.03, 0.3))
            terminal.type(b"\x1b[B" if number % 2 == 0 else b"\x1b[A")
            found.append(terminal.read_until(lambda seen: b"> " in seen))
    return found


def quiet(home: Home) -> dict[str, float]:
    """Measure an idle console's share of a core and bytes written per second."""
    with Terminal([str(Path(sys.executable).with_name("depthscope"))], environment(home)) as terminal:
        terminal.read_until(lambda seen: b"exp" in seen or b"now" in seen)
        terminal.drain(SETTLE_SECONDS)
        process = psutil.Process(terminal.pid)
        before = process.cpu_times()
        num_bytes = terminal.drain(WATCH_SECONDS)
        after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return {"core_percent": 100 * used / WATCH_SECONDS, "bytes_per_second": num_bytes / WATCH_SECONDS}


def measure(trials: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home").create()
        fill_large(home, num_runs=NUM_RUNS)
        with QuietEngine(home):
            frames = first_frames(home, Path(folder), trials)
            idle = quiet(home)
            reporter = Reporter(home)
            reporter.start()
            keys = keys_to_frames(home)
            watching = quiet(home)
            reporter.ended.set()
            reporter.join()
    medians = {name: statistics.median(times) for name, times in frames.items()}
    return {
        "first_frame_seconds": medians,
        "first_frame_ratio": medians["depthscope"] / medians["bare"],
        "key_seconds": {
            "median": statistics.median(keys),
            "p95": statistics.quantiles(keys, n=20)[-1],
            "max": max(keys),
            "keys": NUM_KEYS,
        },
        "idle": idle,
        "watching_four_runs": watching,
        "trials": trials,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": f"Python {platform.python_version()}, Textual {textual.__version__}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trials", type=int, default=15)
    options = parser.parse_args()
    figures = measure(options.trials)
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    first, keys = figures["first_frame_seconds"], figures["key_seconds"]
    idle, watching = figures["idle"], figures["watching_four_runs"]
    print(f"{figures['machine']}, {figures['versions']}, 120x36")
    print(f"first frame, median of {options.trials}: bare {1000 * first['bare']:.0f} ms,", end=" ")
    print(f"depthscope with {NUM_RUNS} runs {1000 * first['depthscope']:.0f} ms,", end=" ")
    print(f"ratio {figures['first_frame_ratio']:.2f} (goal: at most 1.5)")
    print(f"key to frame, {NUM_KEYS} keys, four runs reporting: median {1000 * keys['median']:.1f} ms,", end=" ")
    print(f"p95 {1000 * keys['p95']:.1f} ms, most {1000 * keys['max']:.1f} ms (goal: p95 under 50 ms)")
    print(f"idle for {WATCH_SECONDS:g} s: {idle['core_percent']:.2f} % of a core (goal: under 1),", end=" ")
    print(f"{idle['bytes_per_second']:.0f} bytes/s (goal: under 200)")
    print(f"watching four runs: {watching['core_percent']:.1f} % of a core,", end=" ")
    print(f"{watching['bytes_per_second']:.0f} bytes/s (goal: under 8192)")


if __name__ == "__main__":
    main()
