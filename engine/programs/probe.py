"""Measure how fast networks train on a device, from a few steps each: `python -P -m engine.programs.probe`.

Reads runs as JSON lines on stdin and answers each with a line on stdout: a pace, or the reason there is none. The
device comes from the environment, as for a worker. Steps, evaluations and checkpoints are those of training; the images
are noise.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import torch

from engine.base.folder import Folder
from engine.base.paths import find_home
from engine.estimates.duration import Pace, Workload
from engine.estimates.probes import NoPace, Task
from engine.training import numerics
from engine.training.augmentation import EpochDraws
from engine.training.checkpoint import save_checkpoint
from engine.training.device import assigned_device, device_name, synchronise, torch_device
from engine.training.step import EVALUATION_BATCH_SIZE, DeviceData, TrainingState, diverged_at, start_training
from engine.training.steps import EagerSteps, Steps, steps_for

FEWEST_STEPS = 3
LEAST_SECONDS = 2.0
MOST_SECONDS = 10.0
"""Limit on timing steps per network; a slower step is the only one."""
SECONDS_OF_EVALUATION = 2.0
BLOCK_SECONDS = 0.25
"""Duration of a group of steps timed together on a GPU, since waiting after each would stall it."""
MAX_IMAGES = 10_000
SMALL_RATE = 1e-4
"""Low enough that random labels do not make the network diverge."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Timing of a repeated action."""

    seconds: float
    """Median."""
    to_begin: float
    """Extra time of the first repetition."""
    spread: float
    """Half the interquartile range over the median; 0 if there are too few repetitions."""


def probe(task: Task, device: torch.device) -> Pace:
    """Time the steps, the evaluation and the checkpoint of one run.

    Raises:
        ValueError: the device does not do the precision natively.
        torch.OutOfMemoryError: the network does not fit.
    """
    spec = task.spec
    state = start_training(spec, device)
    numerics.configure(device, state.precision, deterministic=spec.recipe.deterministic)
    num_train, num_test = min(task.num_train, MAX_IMAGES), min(task.num_test, 2 * EVALUATION_BATCH_SIZE)
    num_train = max(num_train, min(task.num_train, 2 * spec.recipe.batch_size))
    data = noise(num_train, num_test, spec.model.num_classes, device)
    began = time.perf_counter()
    stepper = steps_for(state, data, spec, report=lambda _text: None)
    synchronise(device)
    to_record = time.perf_counter() - began
    step = time_steps(stepper, state, data, task)
    if device.type == "cuda":
        # A captured evaluation covers the whole test set.
        num_evaluated, evaluation = num_test, stepper.evaluate
    else:
        # A forward pass is about a third of a step.
        share = step.seconds / spec.recipe.batch_size
        num_evaluated = max(1, min(num_test, round(3 * SECONDS_OF_EVALUATION / share)))
        images, labels = data.test_images[:num_evaluated], data.test_labels[:num_evaluated]
        evaluation = EagerSteps(state, replace(data, test_images=images, test_labels=labels), spec).evaluate
    return Pace(
        workload=Workload.of(spec, state.precision),
        device_name=device_name(device),
        torch=str(torch.__version__),
        num_threads=torch.get_num_threads(),
        seconds_per_step=step.seconds,
        seconds_per_evaluated_image=time_evaluation(evaluation) / num_evaluated,
        # On a GPU it is written in the background.
        seconds_per_checkpoint=time_checkpoint(state) if device.type == "cpu" else 0.0,
        seconds_to_begin=to_record + step.to_begin,
        spread=step.spread,
        at=time.time(),
    )


def noise(num_train: int, num_test: int, num_classes: int, device: torch.device) -> DeviceData:
    """Generate random images with random labels."""
    generator = torch.Generator().manual_seed(0)

    def draw(num: int) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.randint(0, 256, (num, 32, 32, 3), generator=generator, dtype=torch.uint8)
        return images.to(device), torch.randint(0, num_classes, (num,), generator=generator).to(device)

    return DeviceData(*draw(num_train), *draw(num_test), mean=(0.5,) * 3, std=(0.25,) * 3)


def time_steps(stepper: Steps, state: TrainingState, data: DeviceData, task: Task) -> Timing:
    """Measure the duration of an update after a warm-up, within this module's limits."""
    recipe = task.spec.recipe
    draws = EpochDraws.draw(task.spec.seed, 0, len(data.train_labels))
    num_whole = max(1, len(data.train_labels) // recipe.batch_size)
    rates = [SMALL_RATE] * task.spec.steps_per_epoch(len(data.train_labels))

    def steps(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            index = state.next_step % num_whole
            if index == 0:
                stepper.begin_epoch(draws, rates, done=0)
            stepper.take(index)
            if state.device.type == "cpu":
                # The training loop checks this after every step, too.
                diverged_at(state)
        synchronise(state.device)
        return (time.perf_counter() - began) / count

    warm_up = [steps(1)]
    if warm_up[0] >= MOST_SECONDS:
        return Timing(warm_up[0], 0.0, 0.0)
    warm_up.append(steps(1))
    block = 1 if state.device.type == "cpu" else max(1, int(BLOCK_SECONDS / warm_up[-1]))
    found: list[float] = []
    began = time.perf_counter() - sum(warm_up)
    while (spent := time.perf_counter() - began) < MOST_SECONDS or not found:
        if len(found) >= FEWEST_STEPS and spent >= LEAST_SECONDS + sum(warm_up):
            break
        found.append(steps(block))
    median = statistics.median(found)
    to_begin = max(0.0, warm_up[0] - median)
    if len(found) < FEWEST_STEPS:
        return Timing(median, to_begin, 0.0)
    low, _, high = statistics.quantiles(found, n=4, method="inclusive")
    return Timing(median, to_begin, (high - low) / 2 / median)


def time_evaluation(evaluation: Callable[[], object]) -> float:
    """Measure the duration of an evaluation: median of three if time allows, since the first runs with cold caches."""
    taken: list[float] = []
    while not taken or (len(taken) < 3 and sum(taken) < SECONDS_OF_EVALUATION):
        began = time.perf_counter()
        evaluation()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def time_checkpoint(state: TrainingState) -> float:
    """Measure the duration of a checkpoint, written next to the run directories and removed."""
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=find_home().root) as path, Folder(Path(path)) as folder:
        began = time.perf_counter()
        save_checkpoint(folder, {"model": state.model.state_dict(), "optimizer": state.optimizer.state_dict()})
        return time.perf_counter() - began


def answers(device: torch.device, lines: Iterator[bytes]) -> Iterator[Pace | NoPace]:
    """Probe each run in turn."""
    decode: Callable[[bytes], Task] = msgspec.json.Decoder(Task).decode
    torchs_choice = torch.get_num_threads()
    for line in lines:
        task = decode(line)
        torch.set_num_threads(task.num_threads or torchs_choice)
        try:
            yield probe(task, device)
        except torch.OutOfMemoryError:
            yield NoPace(reason="out of memory: a smaller --batch-size or --width needs less")
        except ValueError as error:
            yield NoPace(reason=str(error))
        if device.type == "cuda":
            torch.cuda.empty_cache()


def main() -> None:
    """Entry point."""
    for answer in answers(torch_device(assigned_device()), iter(sys.stdin.buffer)):
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.flush()


if __name__ == "__main__":
    # The parent process may have exited.
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
