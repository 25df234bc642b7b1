"""Start-up time of the command line: `uv run python tests/benchmarks/startup.py [--json] [--trials N]`.

Compares `--help` with a bare Typer program, and `ls` over 1,000 runs with `--help`; all take turns, in one run.
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

from engine.base.paths import Home
from engine.index.writer import Store
from engine.runs.directory import Labels
from engine.runs.run import RunOutcome, RunStatus
from engine.spec.run import RunSpec
from models.catalog import model_spec

NUM_RUNS = 1000
BARE = """
import typer
app = typer.Typer(rich_markup_mode=None)
@app.command()
def one() -> None: ...
@app.command()
def two() -> None: ...
app()
"""


def fill(home: Home) -> None:
    """Create an index of a thousand finished runs."""
    store = Store(home.database)
    with store.transaction():
        for number in range(NUM_RUNS):
            spec = RunSpec(model=model_spec(("resnet", "plain")[number % 2], (20, 56, 110)[number % 3]), seed=number)
            labels = Labels(
                name=f"run{number}", experiment=f"exp{number // 6}", position=number, created_at=time.time()
            )
            store.add_run(f"{number:010x}", spec, labels)
            store.set_status(
                f"{number:010x}", RunStatus.FINISHED, outcome=RunOutcome.SUCCEEDED, finished_at=time.time()
            )
    store.close()


def seconds(command: list[str], env: dict[str, str]) -> float:
    """Measure the wall time of a command from start to exit."""
    began = time.perf_counter()
    subprocess.run(command, env=env, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trials", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home").create()
        fill(home)
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE)
        env = {**os.environ, "DEPTHSCOPE_HOME": str(home.root)}
        # Installed commands run from compiled modules; so does the bare program's typer.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        script = str(Path(sys.executable).with_name("depthscope"))
        commands = {
            "bare typer --help": [sys.executable, str(bare), "--help"],
            "depthscope --help": [script, "--help"],
            f"depthscope ls, {NUM_RUNS} runs": [script, "ls"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for trial in range(options.trials + 1):
            for name, command in commands.items():
                taken = seconds(command, env)
                if trial:
                    times[name].append(taken)
    medians = {name: statistics.median(found) for name, found in times.items()}
    bare_median, help_median, ls_median = medians.values()
    figures = {
        "median_seconds": medians,
        "help_to_bare": help_median / bare_median,
        "ls_to_help": ls_median / help_median,
        "trials": options.trials,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{figures['machine']}, Python {figures['python']}, median of {options.trials} trials")
    for name, median in medians.items():
        print(f"{name:<28}{1000 * median:8.0f} ms")
    print(f"--help to a bare program: {figures['help_to_bare']:.2f} (goal: at most 1.5)")
    print(f"ls to --help: {figures['ls_to_help']:.2f} (goal: at most 3)")


if __name__ == "__main__":
    main()
