"""The options of a run: one table from which commands, the form and printed command lines are made.

An option that fills a field of the specification needs a row here and nothing else; with `crossed`, a list
makes a run of each value. `--help` loads this module, so it imports nothing slow at the top.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from console.planning.option import GROUPS, Option

if TYPE_CHECKING:
    from engine.base.errors import DepthscopeError
    from engine.base.paths import Home
    from engine.spec.errors import InvalidField


def recipes(_home: Home) -> Sequence[str]:
    from engine.spec.recipes import RECIPES

    return list(RECIPES)


def blocks(_home: Home) -> Sequence[str]:
    from models.catalog import Block

    return list(Block)


def norms(_home: Home) -> Sequence[str]:
    from models.catalog import Norm

    return list(Norm)


def schedules(_home: Home) -> Sequence[str]:
    from engine.spec.recipes import Schedule

    return list(Schedule)


def precisions(_home: Home) -> Sequence[str]:
    from engine.spec.precision import Precision

    return list(Precision)


def yes_or_no(_home: Home) -> Sequence[str]:
    return ("yes", "no")


def stop_rules() -> type[StrEnum]:
    from engine.spec.run import StopRule

    return StopRule


def dataset_names(home: Home) -> Sequence[str]:
    """Names of all datasets, cached ones first."""
    from engine.base.errors import DepthscopeError
    from engine.data import datasets

    try:
        listed = datasets.list_datasets(home)
    except DepthscopeError:
        return ["cifar10", "synthetic"]
    return [entry.name for entry in sorted(listed, key=lambda entry: not entry.cached)]


OPTIONS: tuple[Option, ...] = (
    Option("architectures", "resnet, plain, preact, he-resnet, he-plain; or a list.",
           group="network", flags=("-a", "--arch"), many=True, crossed=True, default=(), fills="model.architecture"),
    Option("depths", "Depths, such as 20,56,110; he-*: any 6n+2.",
           group="network", flags=("-d", "--depth"), kind="whole", many=True, crossed=True, default=(),
           fills="model.depth", placeholder="such as 20,56,110"),
    Option("seeds", "Seeds, such as 4,7.",
           group="run", flags=("--seed",), kind="whole", many=True, crossed=True, default=(), fills="run.seed",
           placeholder="0; more with 0,1,2"),
    Option("num_seeds", "Number of seeds: 3 trains seeds 0, 1 and 2; or a list.",
           group="run", in_form=False, flags=("--seeds",), kind="whole", many=True),
    Option("width", "Channels of the first stage (64; he-*: 16).",
           group="network", rare=True, kind="whole", fills="model.width", placeholder="64; he-*: 16"),
    Option("block", "basic or bottleneck; the default depends on the depth.",
           group="network", rare=True, fills="model.block", choices=blocks, unset="by depth"),
    Option("blocks", "Blocks per stage, such as 3,4,6,3, instead of depths.",
           group="network", rare=True, kind="whole", many=True, fills="model.blocks",
           placeholder="3,4,6,3 instead of depths"),
    Option("norm", "batch, or none to see vanishing gradients.",
           group="network", rare=True, default="batch", fills="model.norm", choices=norms),
    Option("conv_bias", "Give the blocks' convolutions biases.",
           group="network", rare=True, flags=("--conv-bias/--no-conv-bias",), kind="yes/no",
           fills="model.conv_bias", choices=yes_or_no, unset="by recipe"),
    Option("projection_bias", "Give the projections biases, as the report does.",
           group="network", rare=True, flags=("--projection-bias/--no-projection-bias",), kind="yes/no",
           fills="model.projection_bias", choices=yes_or_no, unset="by recipe"),
    Option("dataset", "A dataset of `depthscope data ls`.",
           group="data", flags=("--data",), default="cifar10", fills="data.name", choices=dataset_names),
    Option("train_images", "Size of a class-balanced training subset.",
           group="data", kind="whole", fills="data.train_images", placeholder="all"),
    Option("test_images", "Size of a class-balanced test subset.",
           group="data", rare=True, kind="whole", fills="data.test_images", placeholder="all"),
    Option("validation", "Class-balanced images to hold out of training for selection.",
           group="data", rare=True, kind="whole", fills="data.validation_images", placeholder="none"),
    Option("mean", "R,G,B mean for normalisation, of values in 0..1.",
           group="data", rare=True, kind="number", many=True, fills="data.mean", placeholder="the dataset's",
           wanted="three numbers such as 0.49,0.48,0.45"),
    Option("std", "R,G,B standard deviation for normalisation.",
           group="data", rare=True, kind="number", many=True, fills="data.std", placeholder="the dataset's",
           wanted="three numbers such as 0.25,0.24,0.26"),
    Option("recipe", "reference, constant, quick or report.",
           group="training", default="reference", fills="recipe.name", choices=recipes),
    Option("epochs", "Passes over the training set.", group="training", kind="whole", fills="recipe.epochs"),
    Option("batch_size", "Images per update.", group="training", kind="whole", fills="recipe.batch_size"),
    Option("learning_rate", "Base learning rate.",
           group="training", flags=("--lr", "--learning-rate"), kind="number", fills="recipe.learning_rate"),
    Option("schedule", "step, constant, one-cycle or cosine.",
           group="training", rare=True, fills="recipe.schedule", choices=schedules, unset="by recipe"),
    Option("drops", "Where a step schedule drops, such as 0.5,0.75.",
           group="training", rare=True, kind="number", many=True, fills="recipe.drops",
           wanted="fractions such as 0.5,0.75"),
    Option("drop_factor", "Factor of the learning rate at each drop (0.1).",
           group="training", rare=True, kind="number", fills="recipe.drop_factor"),
    Option("warmup_rate", "Learning rate of the warm-up (the paper's 110: 0.01).",
           group="training", rare=True, kind="number", fills="recipe.warmup_rate"),
    Option("warmup_steps", "Updates at the warm-up rate (400).",
           group="training", rare=True, kind="whole", fills="recipe.warmup_steps"),
    Option("momentum", "SGD momentum.", group="training", rare=True, kind="number", fills="recipe.momentum"),
    Option("weight_decay", "Weight decay, on every parameter.",
           group="training", rare=True, kind="number", fills="recipe.weight_decay"),
    Option("augment", "Random crop and flip.",
           group="training", rare=True, flags=("--augment/--no-augment",), kind="yes/no", fills="recipe.augment",
           choices=yes_or_no, unset="by recipe"),
    Option("precision", "auto (the fastest native one), fp32, tf32, bf16 or fp16.",
           group="device", fills="recipe.precision", choices=precisions, unset="by recipe"),
    Option("deterministic", "Bit-identical results on a GPU; slower.",
           group="device", rare=True, flags=("--deterministic/--no-deterministic",), kind="yes/no",
           fills="recipe.deterministic", choices=yes_or_no, unset="by recipe"),
    Option("checkpoint_activations", "Less memory, more time, the same numbers.",
           group="device", rare=True, label="checkpointing",
           flags=("--checkpoint-activations/--keep-activations",), kind="yes/no",
           fills="recipe.checkpoint_activations", choices=yes_or_no, unset="by recipe"),
    Option("device", "cpu, or a GPU such as cuda:1; else the first free one.",
           group="device", fills="run.device", placeholder="the first that is free"),
    Option("memory_limit", "Most device memory to use, such as 6GiB; else all of it.",
           group="device", rare=True, kind="size", fills="run.memory_limit_bytes", placeholder="all; such as 6GiB"),
    Option("stop_when", "not-learning: stop a run no better than guessing.",
           group="run", fills="run.stop_when", enum=stop_rules, choices=lambda _home: list(stop_rules()),
           unset="never"),
    Option("fit", "Change precision or checkpointing to fit in memory.",
           group="device", in_form=False, flags=("--fit",), kind="yes/no", default=False),
    Option("fit_batch", "Change the batch size, too, which changes results.",
           group="device", in_form=False, flags=("--fit-batch",), kind="yes/no", default=False),
)  # fmt: skip
BY_NAME = {option.name: option for option in OPTIONS}


def in_form() -> list[Option]:
    """Options shown in the form, in its order: by group, the rare ones of each group last."""
    return sorted((one for one in OPTIONS if one.in_form), key=lambda one: (GROUPS.index(one.group), one.rare))


def of_field(field: str) -> Option | None:
    """Find an option by its name or by the spec field it sets."""
    return BY_NAME.get(field) or next((one for one in OPTIONS if field and one.field == field), None)


class RunOptions:
    """Values of all options by name; those not given have their defaults."""

    def __init__(self, **given: Any) -> None:
        if unknown := given.keys() - BY_NAME.keys():
            raise TypeError(f"no such options: {', '.join(sorted(unknown))}")
        self.values = {option.name: option.default for option in OPTIONS} | given

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def part(self, part: str) -> dict[str, Any]:
        """Fields of one part of a run's spec, without options left out; crossed options must hold one value.

        Where an option is left out, the recipe may imply a value.
        """
        from engine.spec.recipes import implied

        values = implied(self["recipe"], self["architectures"])
        values |= {name: value for name, value in self.values.items() if value is not None}
        return {
            option.field: values[option.name] for option in OPTIONS if option.part == part and option.name in values
        }

    def combinations(self) -> Iterator[RunOptions]:
        """Iterate over the cross product of the crossed lists: options with one value of each, or None for no value."""
        lists = {option.name: self[option.name] or (None,) for option in OPTIONS if option.crossed}
        lists["seeds"] = self.seeds()
        for values in itertools.product(*lists.values()):
            yield RunOptions(**self.values | dict(zip(lists, values, strict=True)))

    def suffix(self, one: RunOptions) -> str:
        """Part of a run's name that tells the values of other crossed lists apart, such as `-lr0.1`.

        Args:
            one: One of the combinations.
        """
        listed = (option for option in OPTIONS if option.crossed and len(self[option.name] or ()) > 1)
        named = (option for option in listed if option.part != "model" and option.name != "seeds")
        return "".join(f"-{option.declared[0].lstrip('-')}{option.text_of_one(one[option.name])}" for option in named)

    def seeds(self) -> Sequence[int]:
        """Seeds from `--seed`, or 0, 1, ... from `--seeds`; seed 0 by default.

        Raises:
            UsageError: both options are given, or `--seeds` is 0.
        """
        from engine.base.errors import UsageError
        from engine.spec.errors import InvalidField

        listed, how_many = self["seeds"], self["num_seeds"]
        if listed and how_many:
            raise UsageError("choose one: --seed lists seeds, --seeds is their number")
        if not how_many:
            return listed or (0,)
        if len(how_many) > 1:
            return tuple(how_many)
        if how_many[0] == 0:
            raise InvalidField("num_seeds", "must be at least 1, got 0; --seed 0 trains seed 0 only")
        return range(how_many[0])


FLAG_IN_TEXT = r"(?<![\w`-])--?[a-z][a-z-]*"
FLAGS_IN_A_ROW = r"(--[a-z-]+(?: [^-\s]\S*)?) (?=--)"
"""Patterns that only the form compiles: `--help` loads this module."""


def label_named(error: DepthscopeError) -> str:
    """Error text for the form: with the labels of its fields instead of spec fields and flags."""
    from engine.spec.errors import InvalidField

    text = str(error)
    if isinstance(error, InvalidField) and (option := of_field(error.field)) is not None:
        # A crossed option is a list, but its field holds one value: "depth 57 does not exist".
        text = error.naming(error.field.replace("_", " ") if option.crossed else option.label)
    text = re.sub(FLAGS_IN_A_ROW, r"\1, ", text)
    return re.sub(FLAG_IN_TEXT, lambda found: label_for_flag(found[0]), text)


def label_for_flag(flag: str) -> str:
    """What the form calls a flag: the field's label, with yes or no for a switch."""
    for option in OPTIONS:
        for declared in option.declared:
            if flag in (names := declared.split("/")):
                answer = f" {'no' if names.index(flag) else 'yes'}" if option.kind == "yes/no" else ""
                return f"{option.label}{answer}"
    return flag


def flag_named(error: InvalidField) -> str:
    """Error text that names the option's flag instead of the field."""
    option = of_field(error.field)
    return str(error) if option is None else error.naming(option.flag)
