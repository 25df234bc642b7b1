"""Which runs will be done by a time, and which to leave out so that the others are: pure functions over expected times.

The queue is followed as the engine works it off: in order, each run on the first free device that it may go to. Of a
plan that does not fit, seeds go before depths: more of what a comparison is about stays, measured less often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run that waits for a device."""

    seconds: float
    """What it is expected to take, from its start on a device to its end."""
    devices: tuple[str, ...]
    """Names of those that it may go to."""
    fills: tuple[str, ...] = ()
    """Those of them whose places it takes all; one place of each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A planned run as far as leaving it out is concerned."""

    job: Job
    depth: object
    """Equal for runs that are left out together: those of one depth."""
    seed: int


def ends(jobs: Sequence[Job], free_in: Mapping[str, Sequence[float]]) -> list[float | None]:
    """Seconds until each job has ended; None of one for which there is no device.

    Args:
        jobs: In queue order.
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
        # Of devices that are free at the same time the first is taken, as the engine does.
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
    """Indices of the planned runs that can all be done in time, when the others are left out.

    The highest seed goes first, at the depth that takes longest; every depth keeps a seed for as long as any depth has
    two. Where a seed of each is still too much, the depth that takes longest goes, and the seeds are looked at anew.
    All runs of a depth and a seed go together, so that what is compared at a depth stays paired.

    Args:
        wishes: In the order in which they would be queued.
        ahead: What waits in the queue already.
        free_in: For each device, the seconds until each of its places is free of what runs now.
        within_seconds: The time there is.
    """
    left = list(range(len(wishes)))
    while left:
        chosen: list[int] | None = left
        while chosen is not None:
            if all_in_time([wishes[index].job for index in chosen], ahead, free_in, within_seconds):
                return chosen
            chosen = without_a_seed(wishes, chosen)
        longest = longest_depth([wishes[index] for index in left])
        left = [index for index in left if wishes[index].depth != longest]
    return []


def all_in_time(
    jobs: Sequence[Job], ahead: Sequence[Job], free_in: Mapping[str, Sequence[float]], within_seconds: float
) -> bool:
    """Whether every job ends in time behind what is ahead of it."""
    return all(end is not None and end <= within_seconds for end in ends([*ahead, *jobs], free_in)[len(ahead) :])


def without_a_seed(wishes: Sequence[Wish], chosen: Sequence[int]) -> list[int] | None:
    """The chosen runs without the seed that goes next; None where every depth has but one."""
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


def longest_depth(wishes: Sequence[Wish]) -> object:
    """The depth whose longest run takes longest."""
    return max(wishes, key=lambda wish: wish.job.seconds).depth
