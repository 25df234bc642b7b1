"""Accuracy of probes: `uv run python -m tests.benchmarks.plan_accuracy [--json] [--trials N] ...`.

Each trial probes two networks by `depthscope plan --probe`, which leaves history aside, and then trains them by
`depthscope train` on synthetic images, one after the other. An estimate is compared with what the epochs and
checkpoints really took. Other work on the machine shows in the ratios: a trial waits for a quiet moment for as long as
`--patience` says, and how busy the device was just before is printed.
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

import psutil

from console.planning.estimates import QUIET_PERCENT
from engine.estimates.probes import torch_version
from engine.spec.devices import Device, busy_percent, device_name, find_devices


def depthscope(home: Path, *words: str) -> Any:
    """Return a command's JSON output."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "console.cli", *words, "--json"],
        env={**os.environ, "DEPTHSCOPE_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)}: status {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def trial(home: Path, asked: list[str]) -> list[dict[str, Any]]:
    """Return the estimate, the actual time and their ratio for every requested run."""
    planned = depthscope(home, "plan", *asked, "--probe")["runs"]
    trained = depthscope(home, "train", *asked)["runs"]
    figures = []
    for expected, run in zip(planned, trained, strict=True):
        taken = run["seconds"] + run["checkpoint_seconds"]
        figures.append(
            {
                "run": run["name"],
                "precision": run["precision"],
                "estimated_seconds": expected["estimate"]["total_seconds"],
                "error_percent": expected["estimate"]["error_percent"],
                "taken_seconds": taken,
                "ratio": expected["estimate"]["total_seconds"] / taken,
            }
        )
    return figures


def wait_for_quiet(device: Device, *, patience_seconds: float) -> float | None:
    """Wait until others use little of the device or patience runs out; return their use."""
    deadline = time.monotonic() + patience_seconds
    while (busy := busy_percent(device, over_seconds=2.0)) is not None and busy > QUIET_PERCENT:
        if time.monotonic() > deadline:
            break
    return busy


def stop_engine(home: Path) -> None:
    """Stop the home's engine."""
    subprocess.run(
        [sys.executable, "-P", "-m", "console.cli", "engine", "stop"],
        env={**os.environ, "DEPTHSCOPE_HOME": str(home)},
        check=True,
        capture_output=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--patience", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--device", default=find_devices()[0].name)
    parser.add_argument("--depths", default="8,20")
    parser.add_argument("--width", default="8")
    parser.add_argument("--images", default="5000")
    parser.add_argument("--epochs", default="8")
    options = parser.parse_args()
    device = next(one for one in find_devices() if one.name == options.device)
    asked = ["-a", "he-resnet", "-d", options.depths, "--width", options.width, "--data", "synthetic"]
    asked += ["--train-images", options.images, "--epochs", options.epochs, "--device", device.name]
    trials = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        depthscope(home, "data", "fetch", "synthetic")
        for _ in range(options.trials):
            busy = wait_for_quiet(device, patience_seconds=options.patience)
            trials.append({"busy_percent_before": busy, "runs": trial(home, asked)})
        stop_engine(home)
    ratios = [run["ratio"] for one in trials for run in one["runs"]]
    figures = {
        "trials": trials,
        "median_ratio": statistics.median(ratios),
        "worst_error_percent": max(abs(100 * (ratio - 1)) for ratio in ratios),
        "device": device_name(device),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB",
        "python": platform.python_version(),
        "torch": torch_version(),
        "asked": asked,
    }
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{figures['device']} ({figures['machine']}), torch {figures['torch']}, Python {figures['python']}")
    print(f"depthscope train {' '.join(asked)}; {options.trials} trials")
    print(f"{'trial':<7}{'busy before':>12}  {'run':<22}{'precision':<11}{'estimate':>10}{'truth':>10}{'ratio':>8}")
    for number, one in enumerate(trials, 1):
        for run in one["runs"]:
            busy = "-" if one["busy_percent_before"] is None else f"{one['busy_percent_before']:.0f} %"
            print(
                f"{number:<7}{busy:>12}  {run['run']:<22}{run['precision']:<11}{run['estimated_seconds']:>8.1f} s"
                f"{run['taken_seconds']:>8.1f} s{run['ratio']:>8.2f}"
            )
    print(
        f"median ratio {figures['median_ratio']:.2f}, worst error {figures['worst_error_percent']:.0f} % (goal: 15 %)"
    )


if __name__ == "__main__":
    main()
