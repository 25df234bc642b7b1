"""Cost of measuring gradients per layer: `uv run python -m tests.benchmarks.gradients [--help]`.

Times steps and measurements of one network in turns, each until the device has finished. A run measures once per epoch,
so the share is that of one measurement in an epoch's steps, without evaluation and checkpoint; the goal is below 0.5 %.
Reading adds no time, since an epoch's sums are read at the same moment.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch

from engine.spec.recipes import recipe
from engine.spec.run import RunSpec
from engine.training import numerics
from engine.training.augmentation import EpochDraws
from engine.training.device import device_name
from engine.training.gradients import layers, measure
from engine.training.step import DeviceData, start_training
from engine.training.steps import steps_for
from models.catalog import label, model_spec

GOAL_PERCENT = 0.5
STEPS_A_TURN = 2


def timed(act: Callable[[], object], device: torch.device) -> float:
    """Measure the seconds until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    act()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def random_data(num: int, device: torch.device) -> DeviceData:
    """Generate noise, which takes as long as photographs."""
    images = torch.randint(0, 256, (num, 32, 32, 3), dtype=torch.uint8, device=device)
    labels = torch.randint(0, 10, (num,), device=device)
    return DeviceData(images, labels, images[:100], labels[:100], mean=(0.5,) * 3, std=(0.25,) * 3)


def main() -> None:
    """Print a line with hardware, versions and trials, and a line of figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-a", "--arch", default="he-plain")
    parser.add_argument("-d", "--depth", type=int, default=20)
    parser.add_argument("--width", type=int)
    parser.add_argument("--images", type=int, default=50_000, help="of an epoch")
    parser.add_argument("--trials", type=int, default=10)
    options = parser.parse_args()
    model = model_spec(options.arch, options.depth, **({} if options.width is None else {"width": options.width}))
    spec = RunSpec(model=model, recipe=recipe("reference"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch, turns = spec.recipe.batch_size, options.trials + 1
    data = random_data(batch * STEPS_A_TURN, device)
    state = start_training(spec, device)
    numerics.configure(device, state.precision, deterministic=False)
    steps = steps_for(state, data, spec, print)
    measured = layers(state.model)
    draws = EpochDraws.draw(0, 0, batch * STEPS_A_TURN)

    def take_steps() -> None:
        steps.begin_epoch(draws, [0.01] * STEPS_A_TURN, done=0)
        for index in range(STEPS_A_TURN):
            steps.take(index)

    found: list[tuple[float, float]] = []
    for _ in range(turns):
        step = timed(take_steps, device) / STEPS_A_TURN
        found.append((step, timed(lambda: measure(state, measured, learning_rate=0.01), device)))
    # The first turn chooses algorithms and fills caches.
    step, measurement = (statistics.median(times) for times in zip(*found[1:], strict=True))
    num_steps = -(-options.images // batch)
    share = 100 * measurement / (num_steps * step)
    print(
        f"{device_name(device)}, {torch.get_num_threads()} threads; torch {torch.__version__},"
        f" Python {platform.python_version()}; medians of {options.trials} turns of {STEPS_A_TURN} steps"
    )
    print(
        f"{label(model)} in {state.precision}: {len(measured)} layers in {1000 * measurement:.2f} ms, a step of"
        f" {batch} in {1000 * step:.2f} ms: {share:.4f} % of the {num_steps} steps of {options.images} images"
        f" (goal: below {GOAL_PERCENT} %)"
    )


if __name__ == "__main__":
    main()
