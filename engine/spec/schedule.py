"""The learning rate as a pure function of the step."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import assert_never

from engine.spec.recipes import Recipe, Schedule

ONE_CYCLE_RISE = 0.3
"""Fraction of a one-cycle run in which the rate rises."""
ONE_CYCLE_START = 0.04
"""First rate of a one-cycle run, as a fraction of its peak."""


def learning_rate_at(step: int, recipe: Recipe, *, total_steps: int) -> float:
    """Learning rate of one optimizer update.

    Args:
        step: Index of the update, 0 <= step < total_steps.
        recipe: Gives the schedule, base rate, drops and warm-up.
        total_steps: Updates in the whole run.

    Raises:
        ValueError: step lies outside the run.

    Source: He et al. 2015, section 4.2 (drops to a tenth at 32k and 48k of 64k updates; with 110 layers, a warm-up of
    about 400 updates at 0.01). One-cycle: Smith and Topin 2018 (arXiv:1708.07120), piecewise linear: up to the peak
    over the first three tenths of the run, then down to zero, without the paper's momentum cycle. Cosine: Loshchilov
    and Hutter 2016 (arXiv:1608.03983) without restarts, as in kuangliu/pytorch-cifar's main.py, which sets T_max to its
    number of epochs and steps the schedule once an epoch: all updates of an epoch have the same rate, and it reaches
    zero only after the last one.
    """
    if not 0 <= step < total_steps:
        raise ValueError(f"step must be in 0..{total_steps - 1}, got {step}")
    if recipe.warmup_rate is not None and step < recipe.warmup_steps:
        return recipe.warmup_rate
    match recipe.schedule:
        case Schedule.CONSTANT:
            return recipe.learning_rate
        case Schedule.STEP:
            num_drops = sum(step >= fraction * total_steps for fraction in recipe.drops)
            return recipe.learning_rate * recipe.drop_factor**num_drops
        case Schedule.ONE_CYCLE:
            rise = ONE_CYCLE_RISE * total_steps
            if step < rise:
                return recipe.learning_rate * (ONE_CYCLE_START + (1 - ONE_CYCLE_START) * step / rise)
            return recipe.learning_rate * (total_steps - step) / (total_steps - rise)
        case Schedule.COSINE:
            epoch = step * recipe.epochs // total_steps
            return recipe.learning_rate * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
        case _:
            assert_never(recipe.schedule)


MAX_SAMPLES = 1000
"""Epochs at which a schedule is looked at; a longer run is sampled."""


def epoch_rate(epoch: int, recipe: Recipe, *, steps_per_epoch: int) -> float:
    """Learning rate of the first update of an epoch, counted from 1."""
    return learning_rate_at((epoch - 1) * steps_per_epoch, recipe, total_steps=recipe.epochs * steps_per_epoch)


@functools.lru_cache(maxsize=256)
def rate_drops(recipe: Recipe, *, steps_per_epoch: int) -> tuple[int, ...]:
    """Return after how many epochs the rate drops: to half or less at once, after an epoch at a constant rate."""

    def rate(epoch: int) -> float:
        return epoch_rate(epoch, recipe, steps_per_epoch=steps_per_epoch)

    drops = []
    for left, right in itertools.pairwise(_sampled(1, recipe.epochs)):
        while right - left > 1 and 2 * rate(right) <= rate(left):
            middle = (left + right) // 2
            left, right = (left, middle) if 2 * rate(middle) <= rate(left) else (middle, right)
        if right - left == 1 and 2 * rate(right) <= rate(left) == rate(max(left - 1, 1)):
            drops.append(left)
    return tuple(drops)


@functools.lru_cache(maxsize=256)
def high_rate_epochs(recipe: Recipe, *, steps_per_epoch: int) -> int:
    """Number of epochs from the first to the last whose rate is at least half the highest of the run."""
    samples = _sampled(1, recipe.epochs)
    rates = [epoch_rate(epoch, recipe, steps_per_epoch=steps_per_epoch) for epoch in samples]
    return max(epoch for epoch, rate in zip(samples, rates, strict=True) if 2 * rate >= max(rates))


@functools.lru_cache(maxsize=256)
def lowest_rates(recipe: Recipe, *, steps_per_epoch: int) -> tuple[tuple[int, float], ...]:
    """Pairs of an epoch and the lowest rate from there to the end, by epoch."""
    samples = _sampled(1, recipe.epochs)
    rates = (epoch_rate(epoch, recipe, steps_per_epoch=steps_per_epoch) for epoch in reversed(samples))
    return tuple(reversed([*zip(reversed(samples), itertools.accumulate(rates, min), strict=True)]))


def has_fall_ahead(epoch: int, recipe: Recipe, *, steps_per_epoch: int) -> bool:
    """Return whether the rate will fall to half or less of that of an epoch, at once or gradually."""
    now = epoch_rate(epoch, recipe, steps_per_epoch=steps_per_epoch)
    later = (rate for first, rate in lowest_rates(recipe, steps_per_epoch=steps_per_epoch) if first > epoch)
    return 2 * next(later, math.inf) <= now


@functools.lru_cache(maxsize=256)
def warmup_epochs(recipe: Recipe, *, steps_per_epoch: int) -> int:
    """Number of epochs with an update at the warm-up rate, or before the first at the highest rate of the run.

    The rise of a one-cycle schedule is a warm-up in this sense.
    """
    samples = _sampled(1, recipe.epochs)
    rates = [epoch_rate(epoch, recipe, steps_per_epoch=steps_per_epoch) for epoch in samples]
    rise = samples[rates.index(max(rates))] - 1
    return max(rise, 0 if recipe.warmup_rate is None else math.ceil(recipe.warmup_steps / steps_per_epoch))


def _sampled(first: int, last: int) -> Sequence[int]:
    """Epochs from the first to the last, both included, at most MAX_SAMPLES of them."""
    if last - first < MAX_SAMPLES:
        return range(first, last + 1)
    span = last - first
    return [first + span * index // (MAX_SAMPLES - 1) for index in range(MAX_SAMPLES)]
