"""Choose the runs that will finish by a deadline: pure functions over expected durations.

Simulates the engine's queue: runs start in order, each on the first free device it may use. If a plan does not fit,
seeds are dropped before depths, which keeps the comparison complete with fewer repetitions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run waiting for a device."""

    seconds: float
    """Expected duration, from start to end on a device."""
    devices: tuple[str, ...]
    """Names of the devices it may use."""
    fills: tuple[str, ...] = ()
    """Devices it takes completely; on the others it takes one place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A planned run that may be left out."""

    job: Job
    depth: object
    """Depth; runs of equal depth are left out together."""
    seed: int


def ends(jobs: Sequence[Job], free_in: Mapping[str, Sequence[float]]) -> list[float | None]:
    """Compute the seconds until each job ends, in queue order; None for a job without a device.

    Args:
        free_in: For each device, the seconds until each of its places is free.
    """
    places = {device: list(seconds) for device, seconds in free_in.items()}
    found: list[float | None] = []
    for job in jobs:
        starts = {
            device: max(places[device]) if device in job.fills else min(places[device])
            for device in job.devices
            if places.get(device)
        }
        if not starts:
            found.append(None)
            continue
        # min takes the first of several devices that become free together, like the engine.
        device = min(starts, key=starts.__getitem__)
        end = starts[device] + job.seconds
        if device in job.fills:
            places[device] = [end] * len(places[device])
        else:
            places[device][places[device].index(starts[device])] = end
        found.append(end)
    return found


def kept(
    wishes: Sequence[Wish], *, ahead: Sequence[Job], free_in: Mapping[str, Sequence[float]], within_seconds: float
) -> list[int]:
    """Choose planned runs that all finish in time, and return their indices.

    Drops the highest seed first, at the slowest depth; every depth keeps one seed as long as any depth has two. If one
    seed of each is still too much, drops the slowest depth and starts again with all seeds. All runs of a depth and
    seed are dropped together, so that comparisons at a depth stay paired.

    Args:
        wishes: Planned runs, in queue order.
        ahead: Jobs already in the queue.
        free_in: As for `ends`.
        within_seconds: Time until the deadline.
    """
    left = list(range(len(wishes)))
    while left:
        chosen: list[int] | None = left
        while chosen is not None:
            if all_in_time([wishes[index].job for index in chosen], ahead, free_in, within_seconds):
                return chosen
            chosen = without_a_seed(wishes, chosen)
        longest = max((wishes[index] for index in left), key=lambda wish: wish.job.seconds)
        left = [index for index in left if wishes[index].depth != longest.depth]
    return []


def all_in_time(
    jobs: Sequence[Job], ahead: Sequence[Job], free_in: Mapping[str, Sequence[float]], within_seconds: float
) -> bool:
    """Return whether every job ends in time, after the jobs ahead of it."""
    return all(end is not None and end <= within_seconds for end in ends([*ahead, *jobs], free_in)[len(ahead) :])


def without_a_seed(wishes: Sequence[Wish], chosen: Sequence[int]) -> list[int] | None:
    """Drop the next seed from the chosen runs; None if every depth has only one."""
    seeds: dict[object, set[int]] = {}
    seconds: dict[tuple[int, object], float] = {}
    for wish in (wishes[index] for index in chosen):
        seeds.setdefault(wish.depth, set()).add(wish.seed)
        seconds[wish.seed, wish.depth] = seconds.get((wish.seed, wish.depth), 0.0) + wish.job.seconds
    spared = [place for place in seconds if len(seeds[place[1]]) > 1]
    if not spared:
        return None
    gone = max(spared, key=lambda place: (place[0], seconds[place]))
    return [index for index in chosen if (wishes[index].seed, wishes[index].depth) != gone]
