"""Number of workers per device, and CPU threads per worker.

Unless config.toml sets a number, a GPU takes one worker, and a CPU's number depends on the networks: a wide network
takes all cores; narrow networks take one core each. `tests.benchmarks.slots` measures what that is worth: on two cores,
two single-threaded workers train 1.53 times as many images as one worker with both for he-resnet20-w8, but only 1.19
times (width 16) and 1.11 times (width 32) as many for wide ones, where each run goes at 0.6 times its speed and the
memory doubles.
"""

from __future__ import annotations

import os

import psutil

from engine.spec.devices import CPU
from engine.spec.settings import MAX_SLOTS, Settings
from models.catalog import ModelSpec

NARROW_WIDTH = 16
"""Networks with fewer channels in their first stage are narrow."""


def is_narrow(model: ModelSpec) -> bool:
    """Return whether one core trains a network about as fast as several would."""
    return model.width < NARROW_WIDTH


def is_automatic(settings: Settings, device: str) -> bool:
    """Return whether a device's number of workers depends on the networks: the CPU, unless a number is set."""
    return device == CPU.name and device not in settings.slots


def num_places(settings: Settings, device: str) -> int:
    """Return the maximum number of concurrent workers on a device."""
    if (asked := settings.slots.get(device)) is not None:
        return asked
    return min(num_cores(), MAX_SLOTS) if device == CPU.name else 1


def places_taken(settings: Settings, device: str, model: ModelSpec) -> int:
    """Return how many of a device's places a network takes: all of a CPU's if it is wide, unless a number is set."""
    takes_all = is_automatic(settings, device) and not is_narrow(model)
    return num_places(settings, device) if takes_all else 1


def num_threads(settings: Settings, device: str, model: ModelSpec) -> int | None:
    """Return a worker's CPU threads; None leaves the choice to torch when the worker has the device to itself."""
    if is_automatic(settings, device) and is_narrow(model):
        # Regardless of what else is queued, because the number of threads changes a run's results.
        return 1
    num_workers = num_places(settings, device) // places_taken(settings, device, model)
    return None if num_workers == 1 else max(1, num_cores() // num_workers)


def num_cores() -> int:
    """Return the number of physical cores we may use; OMP_NUM_THREADS may lower it."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [allowed, psutil.cpu_count(logical=False) or allowed]
    word = os.environ.get("OMP_NUM_THREADS", "")
    if word.isascii() and word.isdigit() and int(word) > 0:
        limits.append(int(word))
    return min(limits)
