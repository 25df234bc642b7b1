"""Overhead of a worker over a bare loop: `uv run python -m tests.benchmarks.worker [--trials N] [--json]`.

The same steps over the same network, once alone, and once as a worker takes them, with progress read twice a second,
the journal, a checkpoint at every epoch's end and its fsync. The two take turns. Evaluation is in neither.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from engine.runs.directory import ExitReason, Labels, RunDirectory
from engine.runs.open_run import OpenRun
from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from engine.training import numerics
from engine.training.augmentation import EpochDraws
from engine.training.device import device_name
from engine.training.loop import train
from engine.training.session import Session
from engine.training.step import DeviceData, start_training
from engine.training.steps import steps_for
from models.catalog import model_spec


def random_data(num_train: int, device: torch.device) -> DeviceData:
    """Generate noise to train on, and ten test images, which take no time to evaluate."""
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.integers(0, 256, (num_train, 32, 32, 3), dtype=np.uint8)).to(device)
    labels = torch.from_numpy(generator.integers(0, 10, num_train)).to(device)
    return DeviceData(images, labels, images[:10], labels[:10], mean=(0.5,) * 3, std=(0.25,) * 3)


def bare(spec: RunSpec, data: DeviceData, device: torch.device) -> float:
    """Measure the seconds of a run's bare steps."""
    state = start_training(spec, device)
    steps = steps_for(state, data, spec, report=print)
    per_epoch = spec.steps_per_epoch(len(data.train_labels))
    began = time.perf_counter()
    for epoch in range(spec.recipe.epochs):
        steps.begin_epoch(
            EpochDraws.draw(spec.seed, epoch, len(data.train_labels)),
            [spec.recipe.learning_rate] * per_epoch,
            done=0,
        )
        for index in range(per_epoch):
            steps.take(index)
    state.sums.read()
    return time.perf_counter() - began


def worked(spec: RunSpec, data: DeviceData, device: torch.device, root: Path) -> float:
    """Measure the seconds of the same steps in a worker, including all its writing."""
    directory = RunDirectory(root / secrets.token_hex(5))
    directory.create(spec, Labels(name="bench", experiment="bench", position=0, created_at=0.0))
    run = OpenRun.open(directory)
    journal = run.open_journal()
    session = Session(run, data, start_training(spec, device), journal, data_sha256="")
    session.steps = steps_for(session.state, data, spec, report=print)
    began = time.perf_counter()
    ended = train(session, lambda: False)
    taken = time.perf_counter() - began
    journal.close()
    assert ended is ExitReason.SUCCEEDED, ended
    return taken


def main() -> None:
    """Print the medians, and the worker's overhead in percent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-a", "--arch", default="he-resnet")
    parser.add_argument("-d", "--depth", type=int, default=20)
    parser.add_argument("--train-images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spec = RunSpec(
        model=model_spec(options.arch, options.depth),
        recipe=recipe("constant", epochs=options.epochs, learning_rate=0.01),
    )
    used = numerics.resolve(spec, device)
    numerics.configure(device, used, deterministic=False)
    data = random_data(options.train_images, device)
    alone: list[float] = []
    in_worker: list[float] = []
    with tempfile.TemporaryDirectory() as root:
        for trial in range(options.trials):
            # Alternate the order.
            for is_bare in (True, False) if trial % 2 == 0 else (False, True):
                taken = bare(spec, data, device) if is_bare else worked(spec, data, device, Path(root))
                (alone if is_bare else in_worker).append(taken)
                print(f"trial {trial + 1}: {'bare' if is_bare else 'worker'} {taken:.2f} s", file=sys.stderr)
    num_images = options.train_images * options.epochs
    added = [100 * (worker / loop - 1) for worker, loop in zip(in_worker, alone, strict=True)]
    figures = {
        "device": device_name(device),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "network": f"{options.arch}{options.depth}",
        "precision": used.value,
        "images_an_epoch": options.train_images,
        "epochs": options.epochs,
        "trials": options.trials,
        "bare_images_per_second": round(num_images / statistics.median(alone), 1),
        "worker_images_per_second": round(num_images / statistics.median(in_worker), 1),
        "added_percent_median": round(statistics.median(added), 2),
        "added_percent_of_the_fastest": round(100 * (min(in_worker) / min(alone) - 1), 2),
        "added_percent_by_trial": [round(value, 2) for value in added],
    }
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        print("\n".join(f"{name.replace('_', ' ')}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
