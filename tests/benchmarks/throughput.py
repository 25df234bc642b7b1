"""All figures of speed on a GPU in one go, in under eight minutes: `uv run python -m tests.benchmarks.throughput`.

Holds our loop against the textbook's and against the measured matrix rate for the networks that have a goal, with the
cost of determinism and the time to the first step; writes throughput.json, and prints the table last.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import msgspec

from console.programs.bench import NetworkResult, bench_document, bench_network, bench_table, conditions
from engine.spec.devices import find_devices
from engine.spec.precision import Precision
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from models.catalog import label, model_spec

GOALS = {20: (5.0, 33), 56: (3.0, 38), 110: (2.3, 40), 50: (3.0, 27), 101: (3.0, 30)}
"""Per depth of resnet at width 64: times the textbook loop's images a second, and percent of the matrix rate, on an
H200-class GPU."""
FIRST_STEP_GOAL_SECONDS = 15.0
LIMIT_SECONDS = 8 * 60


def verdicts(results: dict[int, NetworkResult]) -> list[str]:
    """Compare each figure with its goal."""
    lines = []
    for depth, (goal_ratio, goal_share) in GOALS.items():
        result = results.get(depth)
        if result is None:
            lines.append(f"resnet{depth}: not measured, the time was up")
            continue
        ready = result.ours.ready
        share = None if result.share_of_matmul is None else 100 * result.share_of_matmul
        first_step = None if ready is None else ready.seconds_to_first_step
        figures = [
            ("ratio", result.ratio, goal_ratio, False),
            ("percent of matmul", share, goal_share, False),
            ("seconds to the first step", first_step, FIRST_STEP_GOAL_SECONDS, True),
        ]
        told = []
        for name, value, goal, less_is_better in figures:
            if value is None:
                told.append(f"{name} not measured")
                continue
            reached = value <= goal if less_is_better else value >= goal
            told.append(f"{name} {value:.2f} (goal {goal:g}: {'reached' if reached else 'missed'})")
        lines.append(f"resnet{depth}: {', '.join(told)}")
    return lines


def main() -> int:
    """Measure the networks in order while time remains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("throughput.json"))
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    gpus = [device for device in find_devices() if device.visible]
    if not gpus:
        print("no GPU here: `depthscope bench` measures the CPU", file=sys.stderr)
        return 1
    began = time.monotonic()
    results: dict[int, NetworkResult] = {}
    for depth in GOALS:
        taken = time.monotonic() - began
        if taken + taken / max(len(results), 1) > LIMIT_SECONDS:
            break
        spec = RunSpec(model=model_spec("resnet", depth), recipe=recipe("reference", precision=Precision.AUTO))
        results[depth] = bench_network(
            label(spec.model),
            spec,
            gpus[0],
            trials=options.trials,
            seconds=options.seconds,
            report=lambda text: print(text, file=sys.stderr, flush=True),
        )
    found = list(results.values())
    document = bench_document(found, trials=options.trials, seconds=options.seconds)
    options.output.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2))
    print(conditions(found, trials=options.trials, seconds=options.seconds))
    print("\n".join(verdicts(results)))
    print(bench_table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
