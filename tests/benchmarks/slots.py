"""Workers side by side on a CPU against one after another: `uv run python -m tests.benchmarks.slots [--trials N]`.

As many runs of a network as there are cores, once with a single-threaded worker on each core, once one after another,
each with every core; the two take turns. Workers are real, in a home of their own. A run's rate is that of its epochs
after the first, without start-up and evaluation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engine.runs.journal import Epoch, read_on
from engine.spec.devices import cpu_name
from engine.spec.places import num_cores

COMMAND = [sys.executable, "-P", "-m", "console.cli"]


def train_runs(network: list[str], slots: int, images: int) -> tuple[float, int]:
    """Train a run per core; return one run's images per second, and the bytes of all workers that run together."""
    with tempfile.TemporaryDirectory(prefix="slots-") as root:
        Path(root, "config.toml").write_text(f"[slots]\ncpu = {slots}\n")
        env = {**os.environ, "DEPTHSCOPE_HOME": root}
        # Compile torch once, as in an installed package, not in every worker.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        size = ["--data", "synthetic", "--train-images", str(images), "--test-images", "10", "--epochs", "3"]
        command = [*COMMAND, "train", *network, *size, "--seeds", str(num_cores())]
        subprocess.run(command, env=env, check=True, capture_output=True)
        subprocess.run([*COMMAND, "engine", "stop"], env=env, check=True, capture_output=True)
        epochs = [
            event
            for path in Path(root, "runs").glob("*/journal.jsonl")
            for reading in read_on(path)
            for event in reading.events
            if isinstance(event, Epoch) and event.epoch > 1
        ]
    rate = statistics.mean(epoch.images_per_second for epoch in epochs)
    return rate, slots * max(epoch.peak_memory_bytes for epoch in epochs)


def main() -> None:
    """Measure each width both ways and print the rates and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--arch", default="he-resnet")
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for width in options.widths:
        network = ["-a", options.arch, "-d", "20", "--width", str(width), "--precision", options.precision]
        images = 128 * max(6, 320 // width)
        # Two slots, then one, and again: a machine that slows down slows both.
        trials = [
            (train_runs(network, num_cores(), images), train_runs(network, 1, images)) for _ in range(options.trials)
        ]
        slowdowns = [shared / whole for (shared, _), (whole, _) in trials]
        found.append(
            {
                "network": f"{options.arch}20-w{width}",
                "gains": [round(num_cores() * slowdown, 3) for slowdown in slowdowns],
                "speed_of_each": round(statistics.median(slowdowns), 3),
                "images_per_second": [
                    round(num_cores() * statistics.median(shared for (shared, _), _ in trials)),
                    round(statistics.median(whole for _, (whole, _) in trials)),
                ],
                "mib": [max(trial[side][1] for trial in trials) >> 20 for side in (0, 1)],
            }
        )
    figures = {"cpu": cpu_name(), "cores": num_cores(), "torch": version("torch"), "networks": found}
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    print(
        f"{figures['cpu']}, {figures['cores']} cores, torch {figures['torch']}, {options.trials} trials; of each pair,"
    )
    print("the first is side by side, the second one after another")
    for one in found:
        rates, memory = (" : ".join(map(str, one[name])) for name in ("images_per_second", "mib"))
        print(
            f"{one['network']}: {rates} images/s, gain {statistics.median(one['gains']):.2f} {one['gains']}, each run"
            f" goes at {one['speed_of_each']:.2f}, {memory} MiB"
        )


if __name__ == "__main__":
    main()
