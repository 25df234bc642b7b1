"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
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
