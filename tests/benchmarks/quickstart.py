"""Duration of quickstart and strength of its claims: `uv run python -m tests.benchmarks.quickstart [--json]`.

Each repetition is the whole command in an empty home, engine included, on the synthetic images and with seeds of its
own. The t of a contrast is its mean over its standard error, over as many seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from typing import Any

from engine.spec.devices import cpu_name
from engine.spec.places import num_cores


def repeat(seeds: list[int], precision: str) -> dict[str, Any]:
    """Run quickstart once; return its seconds, the t of both contrasts of training error, and the verdict."""
    with tempfile.TemporaryDirectory(prefix="quickstart-") as root:
        env = {**os.environ, "DEPTHSCOPE_HOME": root}
        # Compile torch once, as in an installed package, not in every worker.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-P", "-m", "console.cli"]
        words = ["--data", "synthetic", "--seed", ",".join(map(str, seeds)), "--precision", precision, "--json"]
        load = os.getloadavg()[0]
        began = time.perf_counter()
        done = subprocess.run([*command, "quickstart", *words], env=env, check=True, stdout=subprocess.PIPE)
        seconds = time.perf_counter() - began
        subprocess.run([*command, "engine", "stop"], env=env, check=True, capture_output=True)
    found = json.loads(done.stdout)
    (verdict,) = found["verdicts"]
    return {
        "seeds": seeds,
        "precision": precision,
        "seconds": round(seconds, 1),
        "load_before": load,
        "plain_t": t_of(verdict["train_error_difference"]),
        "residual_t": t_of(verdict["with_shortcuts"]),
        "verdict": found["verdict"],
    }


def t_of(contrast: dict[str, Any]) -> float:
    """Compute Student's t of a paired contrast."""
    return round(contrast["mean"] / (contrast["std"] / math.sqrt(contrast["n"])), 1)


def main() -> None:
    """Repeat quickstart and print the time and claims of each repetition."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=3)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = []
    for trial in range(options.trials):
        first = options.first_seed + 3 * trial
        found.append(repeat([first, first + 1, first + 2], options.precision))
        one = found[-1]
        line = f"{one['precision']} seeds {one['seeds']}: {one['seconds']} s, plain t = {one['plain_t']}, residual t ="
        print(f"{line} {one['residual_t']}, load before {one['load_before']:.2f}: {one['verdict']}", file=sys.stderr)
    figures = {"cpu": cpu_name(), "cores": num_cores(), "torch": version("torch"), "trials": found}
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        slowest, least = max(one["seconds"] for one in found), min(one["plain_t"] for one in found)
        print(f"{figures['cpu']}, {figures['cores']} cores, torch {figures['torch']}")
        print(f"{len(found)} trials: at most {slowest} s, plain t at least {least}")


if __name__ == "__main__":
    main()
