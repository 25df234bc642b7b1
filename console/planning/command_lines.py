"""The command lines of `depthscope train` that would make given runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from console.planning.options import OPTIONS, Asked
from engine.control.protocol import NewRun


def train_commands(asked: Asked, kept: Sequence[NewRun], experiment: str | None) -> list[str]:
    """Command lines that make the runs which are left of what was asked for: one for all depths with the same seeds.

    Args:
        asked: What was asked for.
        kept: Some of its runs: of a depth and a seed either all or none.
        experiment: A name, which more than one command line needs to add up to one experiment.
    """
    seeds_of: dict[int | None, list[int]] = {}
    for run in kept:
        seeds = seeds_of.setdefault(run.spec.model.depth if asked["depths"] else None, [])
        if run.spec.seed not in seeds:
            seeds.append(run.spec.seed)
    depths_with: dict[tuple[int, ...], list[int | None]] = {}
    for depth, seeds in seeds_of.items():
        depths_with.setdefault(tuple(seeds), []).append(depth)
    return [
        shlex.join(train_words(asked, [depth for depth in depths if depth is not None], seeds, experiment))
        for seeds, depths in depths_with.items()
    ]


def train_words(asked: Asked, depths: Sequence[int], seeds: Sequence[int], experiment: str | None) -> list[str]:
    """The words of one command line; options at their defaults are left out."""
    values = asked.values | {"depths": tuple(depths), "seeds": tuple(seeds), "num_seeds": None}
    words = ["depthscope", "train"]
    for option in OPTIONS:
        if (value := values[option.name]) is not None and value != option.default:
            words += option.words(value)
    return words if experiment is None else [*words, "-e", experiment]
