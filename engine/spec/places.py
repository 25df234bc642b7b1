"""How many workers a device takes at a time, and on how many threads of the CPU each of them computes.

Unless config.toml says otherwise, a GPU takes one worker, and a CPU goes by the networks: a wide network takes all
cores, and of narrow networks each core trains one. To share a narrow network's small operations among threads costs
more than it gains: two workers on two cores do more together than one on both.
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
    """Whether one core trains a network about as fast as several would."""
    return model.width < NARROW_WIDTH


def goes_by_network(settings: Settings, device: str) -> bool:
    """Whether the networks decide how many workers a device takes: the CPU, for which no number is set."""
    return device == CPU.name and device not in settings.slots


def num_places(settings: Settings, device: str) -> int:
    """Most workers at a time on a device."""
    if (asked := settings.slots.get(device)) is not None:
        return asked
    return min(num_cores(), MAX_SLOTS) if device == CPU.name else 1


def places_taken(settings: Settings, device: str, model: ModelSpec) -> int:
    """How many of the device's places a network takes: all of a CPU's if it is wide, unless a number is set."""
    takes_all = goes_by_network(settings, device) and not is_narrow(model)
    return num_places(settings, device) if takes_all else 1


def num_threads(settings: Settings, device: str, model: ModelSpec) -> int | None:
    """CPU threads of a worker; None leaves the choice to torch, where the device is the worker's own."""
    if goes_by_network(settings, device) and is_narrow(model):
        # Whatever else is queued: a run's numbers must not depend on that.
        return 1
    num_workers = num_places(settings, device) // places_taken(settings, device, model)
    return None if num_workers == 1 else max(1, num_cores() // num_workers)


def num_cores() -> int:
    """Cores that we may use: a worker gains nothing from two threads on one, and OMP_NUM_THREADS may allow fewer."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [allowed, psutil.cpu_count(logical=False) or allowed]
    word = os.environ.get("OMP_NUM_THREADS", "")
    if word.isascii() and word.isdigit() and int(word) > 0:
        limits.append(int(word))
    return min(limits)
