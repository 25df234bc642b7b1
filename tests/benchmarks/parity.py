"""Compare final errors in the fast precision and in fp32: `uv run python -m tests.benchmarks.parity [--data NAME]`.

Trains a small residual and a small plain network in fp32 and in what `auto` takes here, with the same seeds, and holds
the difference of the mean final test errors against its standard error. Run it where `auto` is not fp32.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import sys
import time

import torch

from engine.base.paths import find_home
from engine.data import datasets
from engine.data.datasets import Dataset
from engine.spec.precision import Precision
from engine.spec.recipes import recipe
from engine.spec.run import DataSpec, RunSpec
from engine.spec.schedule import learning_rate_at
from engine.training import numerics
from engine.training.augmentation import EpochDraws
from engine.training.device import device_name
from engine.training.step import load_to_device, start_training
from engine.training.steps import steps_for
from models.catalog import model_spec

NETWORKS = (("he-resnet", 14), ("he-plain", 14))
WIDTH = 8


def final_error(spec: RunSpec, dataset: Dataset, precision: Precision, device: torch.device) -> float:
    """Train a network; return its final test error in percent."""
    data = load_to_device(dataset, spec, device)
    state = start_training(spec, device, precision=precision)
    numerics.configure(device, precision, deterministic=False)
    steps = steps_for(state, data, spec, report=print)
    per_epoch = spec.steps_per_epoch(len(data.train_labels))
    total = per_epoch * spec.recipe.epochs
    for epoch in range(spec.recipe.epochs):
        rates = [
            learning_rate_at(epoch * per_epoch + index, spec.recipe, total_steps=total) for index in range(per_epoch)
        ]
        steps.begin_epoch(EpochDraws.draw(spec.seed, epoch, len(data.train_labels)), rates, done=0)
        for index in range(per_epoch):
            steps.take(index)
    measured = steps.evaluate()
    assert measured is not None
    return measured[1]


def main() -> None:
    """Print a row per network: both means ± standard deviations, their difference, and its standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--train-images", type=int, default=6000)
    parser.add_argument("--test-images", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    home = find_home().create()
    datasets.prepare(home, options.data)
    dataset = datasets.load(home, options.data)
    rows, began = [], time.perf_counter()
    for architecture, depth in NETWORKS:
        errors: dict[str, list[float]] = {}
        for seed in range(options.seeds):
            spec = RunSpec(
                model=model_spec(architecture, depth, width=WIDTH),
                data=DataSpec(name=options.data, train_images=options.train_images, test_images=options.test_images),
                recipe=recipe("quick", epochs=options.epochs),
                seed=seed,
            )
            fast = numerics.resolve(spec, device)
            for precision in (Precision.FP32, fast):
                final = final_error(spec, dataset, precision, device)
                errors.setdefault(precision, []).append(final)
                print(f"{architecture}{depth} s{seed} {precision}: {errors[precision][-1]:.2f} %", file=sys.stderr)
        exact, quick = errors[Precision.FP32], errors[fast]
        difference = statistics.mean(quick) - statistics.mean(exact)
        standard_error = math.sqrt((statistics.variance(exact) + statistics.variance(quick)) / options.seeds)
        rows.append(
            {
                "network": f"{architecture}{depth}-w{WIDTH}",
                "fp32": exact,
                fast.value: quick,
                "difference": difference,
                "standard_error": standard_error,
                "within": abs(difference) <= standard_error,
            }
        )
    conditions = {
        "device": device_name(device),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "data": options.data,
        "train_images": options.train_images,
        "epochs": options.epochs,
        "seeds": options.seeds,
        "seconds": round(time.perf_counter() - began),
    }
    if options.json:
        print(json.dumps({**conditions, "networks": rows}, indent=2))
        return
    print(", ".join(f"{name} {value}" for name, value in conditions.items()))
    print(f"{'network':<16} {'fp32':>15} {fast.value:>15} {'difference':>11} {'std. error':>11}  within one")
    for row in rows:
        means = [
            f"{statistics.mean(row[name]):.2f} ± {statistics.stdev(row[name]):.2f}" for name in ("fp32", fast.value)
        ]
        print(
            f"{row['network']:<16} {means[0]:>15} {means[1]:>15} {row['difference']:>+11.2f}"
            f" {row['standard_error']:>11.2f}  {'yes' if row['within'] else 'no'}"
        )


if __name__ == "__main__":
    main()
