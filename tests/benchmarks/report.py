"""Duration of a report on six runs: `uv run python -m tests.benchmarks.report [--json] [--trials N]`.

Runs of 164 epochs with the gradients of every layer, at 20, 56 and 110 layers with and without shortcuts; no number in
them is a result. The first report on a machine also makes matplotlib's font cache, which is measured on its own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from engine.base.paths import Home
from engine.index.writer import Store
from engine.runs.journal import Gradients, LayerGradients
from models.cost import LayerKind, layers
from tests import samples

EPOCHS = 164
GOAL_SECONDS = 5.0


def fill(home: Home) -> int:
    """Create six finished runs; return their number of gradient rows."""
    store = Store(home.database)
    num_rows = 0
    with store.transaction():
        for number, (depth, residual, plain) in enumerate(((20, 8.1, 8.9), (56, 7.7, 39.0), (110, 7.5, 89.7))):
            for architecture, floor in (("he-resnet", residual), ("he-plain", plain)):
                run = samples.add_sample(
                    store, 2 * number + (architecture == "he-plain"), architecture, depth, experiment="six",
                    epochs_done=EPOCHS, total=EPOCHS, floor=floor,
                )  # fmt: skip
                names = [
                    layer.name
                    for layer in layers(samples.sample_spec(architecture, depth).model)
                    if layer.kind in (LayerKind.CONVOLUTION, LayerKind.LINEAR)
                ]
                events = [gradients(names, epoch) for epoch in range(EPOCHS + 1)]
                store.ingest(run, events, [], end=0)
                num_rows += len(names) * len(events)
    store.close()
    return num_rows


def gradients(names: list[str], epoch: int) -> Gradients:
    """Generate gradients that fall over the epochs and grow towards the head."""
    return Gradients(
        at=samples.NOW,
        epoch=epoch,
        step=epoch * samples.STEPS_PER_EPOCH,
        layers=[
            LayerGradients(
                name=name,
                gradient_norm=10 ** (-2 + place / len(names) - epoch / 100) * (1.2 + math.sin(place + epoch)),
                weight_norm=10.0,
                update_ratio=1e-3,
            )
            for place, name in enumerate(names)
        ],
    )


def seconds(home: Home, target: Path, env: dict[str, str]) -> tuple[float, float]:
    """Measure the command's wall time and CPU time."""
    command = [str(Path(sys.executable).with_name("depthscope")), "report", "six", "-o", str(target)]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env={**env, "DEPTHSCOPE_HOME": str(home.root)}, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trials", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home").create()
        num_rows = fill(home)
        env = {**os.environ, "MPLCONFIGDIR": str(Path(folder) / "matplotlib")}
        # Installed commands run from compiled modules.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        first, _ = seconds(home, Path(folder) / "report", env)
        times = [seconds(home, Path(folder) / "report", env) for _ in range(options.trials)]
        size = sum(path.stat().st_size for path in (Path(folder) / "report").rglob("*") if path.is_file())
    figures = {
        "schema": 1,
        "median_seconds": round(statistics.median(wall for wall, _ in times), 2),
        "least_seconds": round(min(wall for wall, _ in times), 2),
        "median_cpu_seconds": round(statistics.median(cpu for _, cpu in times), 2),
        "first_seconds": round(first, 2),
        "report_bytes": size,
        "gradient_rows": num_rows,
        "epochs": EPOCHS,
        "trials": options.trials,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {"python": platform.python_version(), "matplotlib": version("matplotlib")},
    }
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())  # type: ignore[attr-defined]
    print(f"{figures['machine']}; {versions}")
    print(f"report of 6 runs, {EPOCHS} epochs, {num_rows:,} rows of gradients: {size / 1e6:.1f} MB")
    median, least = figures["median_seconds"], figures["least_seconds"]
    print(f"median of {options.trials}: {median} s (least {least} s; goal: {GOAL_SECONDS:g} s)")
    print(f"of the processor: {figures['median_cpu_seconds']} s, which other work on the machine does not lengthen")
    print(f"the first of all, with matplotlib's font cache: {first:.1f} s")


if __name__ == "__main__":
    main()
