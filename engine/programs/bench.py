"""One loop of `depthscope bench`: `python -P -m engine.programs.bench`, controlled by lines on stdin."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import msgspec
import numpy as np
import psutil
import torch
import torchvision

from engine.control.messages import Failed, Loop, Measured, Ready, Task
from engine.programs.textbook import NUM_LOADER_WORKERS, TextbookLoop
from engine.spec.precision import Precision
from engine.training import numerics
from engine.training.augmentation import EpochDraws
from engine.training.device import assigned_device, device_name, synchronise, torch_device
from engine.training.loop import peak_memory_bytes
from engine.training.step import DeviceData, start_training
from engine.training.steps import steps_for
from models.build import build_model

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
MATRIX_SIDE = {"cuda": 8192, "cpu": 2048}
PREFETCHED = 2 * NUM_LOADER_WORKERS
"""Batches a loader has ready after a pause (its prefetch_factor is 2)."""
UNTIMED_SECONDS = 3.0

Act = Callable[[], float]
"""Runs one step and returns the amount of work done."""


def random_images(num: int) -> tuple[np.ndarray, np.ndarray]:
    """Generate noise images [N, 32, 32, 3] and labels [N]; content does not affect speed."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (num, 32, 32, 3), dtype=np.uint8), generator.integers(0, 10, num)


def depthscope_loop(task: Task, device: torch.device, notices: list[str]) -> tuple[Act, Precision]:
    """Build depthscope's training step, as a worker runs it."""
    images, labels = random_images(task.num_images)
    on_device = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
    data = DeviceData(*on_device, *on_device, mean=MEAN, std=STD)
    spec, num_steps = task.spec, task.spec.steps_per_epoch(task.num_images)
    state = start_training(spec, device)
    numerics.configure(device, state.precision, deterministic=spec.recipe.deterministic)
    steps = steps_for(state, data, spec, notices.append)

    def step() -> float:
        epoch, index = divmod(state.next_step, num_steps)
        if index == 0:
            draws = EpochDraws.draw(spec.seed, epoch, task.num_images)
            steps.begin_epoch(draws, [spec.recipe.learning_rate] * num_steps, done=0)
        before = state.sums.num_images
        steps.take(index)
        return state.sums.num_images - before

    return step, state.precision


def textbook_loop(task: Task, device: torch.device) -> tuple[Act, Precision]:
    """Build the textbook training step, without a worker's torch settings."""
    torch.manual_seed(task.spec.seed)
    loop = TextbookLoop(build_model(task.spec.model), task.spec.recipe, *random_images(task.num_images), device)
    return loop.step, Precision.FP32


def matmul_loop(task: Task, device: torch.device) -> tuple[Act, Precision]:
    """Build a step that multiplies square matrices in a run's precision."""
    used = numerics.resolve(task.spec, device)
    numerics.configure(device, used, deterministic=False)
    side = MATRIX_SIDE[device.type]
    kind = numerics.AUTOCAST_TYPES.get(used, torch.float32)
    left, right = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    product = torch.empty(side, side, device=device, dtype=kind)

    def multiply() -> float:
        torch.mm(left, right, out=product)
        return float(side**3)

    return multiply, used


def measure(act: Act, seconds: float, device: torch.device, *, untimed: int) -> Measured:
    """Run for a number of seconds after some untimed steps."""
    began = time.perf_counter()
    for _ in range(untimed):
        act()
        if time.perf_counter() - began > UNTIMED_SECONDS:
            break
    synchronise(device)
    began, amount = time.perf_counter(), 0.0
    while time.perf_counter() - began < seconds:
        amount += act()
    synchronise(device)
    taken = time.perf_counter() - began
    return Measured(amount=amount, seconds=taken, peak_memory_bytes=peak_memory_bytes(device))


def serve(task: Task) -> None:
    """Build the loop, report that it is ready, and run it for the seconds given by each line."""
    device, notices = torch_device(assigned_device()), list[str]()
    match task.loop:
        case Loop.DEPTHSCOPE:
            act, used = depthscope_loop(task, device, notices)
        case Loop.TEXTBOOK:
            act, used = textbook_loop(task, device)
        case Loop.MATMUL:
            act, used = matmul_loop(task, device)
    act()
    synchronise(device)
    send(
        Ready(
            device_name=device_name(device),
            precision=used,
            torch=str(torch.__version__),
            torchvision=torchvision.__version__,
            cuda=torch.version.cuda,
            num_threads=torch.get_num_threads(),
            seconds_to_first_step=time.time() - psutil.Process(os.getpid()).create_time(),
            notices=tuple(notices),
        )
    )
    untimed = PREFETCHED if task.loop is Loop.TEXTBOOK else 1
    for line in sys.stdin:
        send(measure(act, float(line), device, untimed=untimed))


def send(answer: msgspec.Struct) -> None:
    """Write an answer to stdout as one line."""
    print(msgspec.json.encode(answer).decode(), flush=True)


def main() -> None:
    """Entry point; errors are sent as replies."""
    try:
        serve(msgspec.json.decode(sys.stdin.readline(), type=Task))
    except (RuntimeError, ValueError, MemoryError) as error:
        send(Failed(error=f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    main()
