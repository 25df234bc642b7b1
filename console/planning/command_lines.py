"""Command lines of `depthscope train` that make given runs."""

from __future__ import annotations

import shlex
from collections.abc import Container, Sequence

from console.planning.options import OPTIONS, RunOptions
from engine.control.protocol import NewRun


def train_commands(options: RunOptions, kept: Sequence[NewRun], experiment: str | None) -> list[str]:
    """Command lines for a subset of planned runs, one for each set of depths with the same seeds.

    Args:
        options: Options the runs were planned from.
        kept: Runs to keep: for each depth and seed, either all or none.
        experiment: Name of the experiment; several command lines need one to end up in the same experiment.
    """
    seeds_of: dict[int | None, list[int]] = {}
    for run in kept:
        seeds = seeds_of.setdefault(run.spec.model.depth if options["depths"] else None, [])
        if run.spec.seed not in seeds:
            seeds.append(run.spec.seed)
    depths_with: dict[tuple[int, ...], list[int | None]] = {}
    for depth, seeds in seeds_of.items():
        depths_with.setdefault(tuple(seeds), []).append(depth)
    return [
        shlex.join(train_arguments(options, [depth for depth in depths if depth is not None], seeds, experiment))
        for seeds, depths in depths_with.items()
    ]


def train_arguments(
    options: RunOptions,
    depths: Sequence[int],
    seeds: Sequence[int],
    experiment: str | None,
    *,
    also: Container[str] = (),
) -> list[str]:
    """Arguments of one command line, without options at their defaults other than those named in `also`."""
    values = options.values | {"depths": tuple(depths), "seeds": tuple(seeds), "num_seeds": None}
    arguments = ["depthscope", "train"]
    for option in OPTIONS:
        if (value := values[option.name]) is not None and (value != option.default or option.name in also):
            arguments += option.arguments(value)
    return arguments if experiment is None else [*arguments, "-e", experiment]
