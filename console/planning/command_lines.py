"""The command lines of `depthscope train` that would make given runs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from console.planning.planning import Asked
from engine.control.protocol import NewRun
from models import catalog

FLAGS = {
    "augment": ("--augment", "--no-augment"),
    "deterministic": ("--deterministic", "--no-deterministic"),
    "checkpoint_activations": ("--checkpoint-activations", "--keep-activations"),
}


def train_commands(asked: Asked, kept: Sequence[NewRun], experiment: str | None) -> list[str]:
    """Command lines that make the runs which are left of what was asked for: one for all depths with the same seeds.

    Args:
        asked: What was asked for.
        kept: Some of its runs: of a depth and a seed either all or none.
        experiment: A name, which more than one command line needs to add up to one experiment.
    """
    seeds_of: dict[int | None, list[int]] = {}
    for run in kept:
        seeds = seeds_of.setdefault(run.spec.model.depth if asked.depths else None, [])
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
    """The words of one command line; what has its default is left out."""
    words = ["depthscope", "train", "-a", ",".join(asked.architectures)]
    if depths:
        words += ["-d", ",".join(map(str, depths))]
    words += ["--seed", ",".join(map(str, seeds))]
    plain = {
        "--block": asked.block,
        "--blocks": None if asked.blocks is None else ",".join(map(str, asked.blocks)),
        "--width": asked.width,
        "--norm": None if asked.norm == catalog.Norm.BATCH else asked.norm,
        "--data": asked.dataset,
        "--train-images": asked.train_images,
        "--test-images": asked.test_images,
        "--recipe": None if asked.recipe == "reference" else asked.recipe,
        "--device": asked.device,
        "--memory-limit": asked.memory_limit,
        "--stop-when": asked.stop_when,
        "-e": experiment,
    }
    for flag, is_given in (("--conv-bias", asked.conv_bias), ("--fit", asked.fit), ("--fit-batch", asked.fit_batch)):
        words += [flag] if is_given else []
    for option, value in plain.items():
        if value is not None:
            words += [option, str(value)]
    for name, value in asked.overrides.items():
        if value is None:
            continue
        if name in FLAGS:
            words.append(FLAGS[name][0 if value else 1])
        elif name == "drops":
            words += ["--drops", ",".join(map(str, value))]
        else:
            words += ["--" + name.replace("_", "-"), str(value)]
    return words
