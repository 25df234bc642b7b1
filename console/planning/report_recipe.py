"""What the report says of its training, line by line, beside the options that stand for it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from console.planning.command_lines import train_arguments
from console.planning.options import BY_NAME, RunOptions
from console.text.formatting import table
from engine.control.protocol import NewRun
from engine.spec.recipes import RECIPES, implied
from engine.spec.run import RunSpec
from models.catalog import label, model_spec

RECIPE = "report"
OURS = "ours"
"""Mark of a value that the report leaves open."""


@dataclass(frozen=True, slots=True)
class Line:
    """One statement of the report."""

    says: str
    options: tuple[str, ...] = ()
    """Options that stand for it, by name; their values are those of the run."""
    built_in: str = ""
    """What stands for it instead of an option's value."""
    ours: str = ""
    """For what the report leaves open: where the value comes from."""


LINES = (
    Line("Res: the addition of a shortcut", built_in="-a resnet"),
    Line("CNN: the same network without the addition", built_in="-a plain"),
    Line("20, 56 and 110 layers: BasicBlocks 2-2-3-2, 6-6-9-6, 9-16-20-9", built_in="-d 20,56,110"),
    Line("stem: 3x3 convolution to 64, without bias, BN, ReLU", built_in="every network here"),
    Line("stages of 64, 128, 256, 512; stages 2 to 4 start with stride 2", built_in="--width 64, the default"),
    Line("BasicBlock: 3x3 - BN - ReLU - 3x3 - BN - addition - ReLU", built_in="--block basic, the default here"),
    Line("Bottleneck: 1x1 - 3x3 - 1x1, four times as wide", built_in="--block bottleneck, for -d 50, 101, 110, 152"),
    Line("convolutions of blocks carry a bias", ("conv_bias",)),
    Line("shortcut: identity, or 1x1 convolution with BN where shapes differ", built_in="-a resnet"),
    Line("the shortcut's convolution carries a bias", ("projection_bias",)),
    Line("head: 4x4 average pool, linear layer to 10 classes", built_in="every network here"),
    Line("CIFAR-10", ("dataset",)),
    Line("RandomCrop(32, padding=4) and RandomHorizontalFlip", ("augment",)),
    Line("Normalize: mean, std", ("mean", "std")),
    Line("SGD, momentum 0.9", ("momentum",)),
    Line("weight decay 1e-4", ("weight_decay",)),
    Line("cross entropy", built_in="every run here"),
    Line("no schedule", ("schedule",)),
    Line("learning rate: args.lr, no value given", ("learning_rate",), ours="He et al. 2015"),
    Line("number of epochs: not given", ("epochs",), ours="He et al. 2015"),
    Line("batch size: not given", ("batch_size",), ours="He et al. 2015"),
    Line("precision: not given", ("precision",), ours="PyTorch's default"),
    Line("seed, number of runs: not given", ("seeds",), ours="one run of each network"),
)
"""REFERENCE: the report's section 2, and what it leaves open."""


def report_page(options: RunOptions, planned: Sequence[NewRun]) -> str:
    """The whole command line with nothing left to a default, and each of the report's lines beside its options."""
    spec = planned[0].spec
    rows = [[line.says, option_text(line, options, spec), note(line, options, spec)] for line in LINES]
    return "\n".join(
        [
            "the same runs with every value written out:",
            f"  {full_command(options, planned)}",
            "",
            table(["the report", "option", ""], rows, align="<<<"),
            *([f"networks that the report does not have: {', '.join(others)}"] if (others := foreign(planned)) else []),
        ]
    )


def foreign(planned: Sequence[NewRun]) -> list[str]:
    """Labels of planned networks other than the report's six, biases aside."""
    six = [model_spec(kind, depth) for kind in ("resnet", "plain") for depth in (20, 56, 110)]
    models = dict.fromkeys(run.spec.model for run in planned)
    bare = {model: replace(model, conv_bias=False, projection_bias=False) for model in models}
    return [label(model) for model in models if bare[model] not in six]


def full_command(options: RunOptions, planned: Sequence[NewRun]) -> str:
    """Command line that plans the same runs and names every value of the table."""
    named = {name: value_of(name, options, planned[0].spec) for line in LINES for name in line.options}
    values = {name: value for name, value in named.items() if name != "seeds"}
    full = RunOptions(**options.values | values)
    return shlex.join(train_arguments(full, options["depths"], tuple(options.seeds()), None, also=named))


def value_of(name: str, options: RunOptions, spec: RunSpec) -> Any:
    """Value of an option in the first run."""
    option = BY_NAME[name]
    if name == "seeds":
        return tuple(options.seeds())
    if option.part == "model":
        # A plain network has no projections; the residual ones beside it do.
        return options[name] if options[name] is not None else implied(RECIPE, "resnet").get(name)
    return getattr({"recipe": spec.recipe, "data": spec.data, "run": spec}[option.part], option.field)


def option_text(line: Line, options: RunOptions, spec: RunSpec) -> str:
    """Options that stand for a line, as typed."""
    if line.built_in:
        return line.built_in
    words = [word for name in line.options for word in BY_NAME[name].arguments(value_of(name, options, spec))]
    return shlex.join(words)


def note(line: Line, options: RunOptions, spec: RunSpec) -> str:
    """Mark of a value that is ours, or that differs from what the report or its recipe has."""
    usual = {"dataset": "cifar10", "seeds": (0,)} | implied(RECIPE, "resnet")
    for name in line.options:
        option = BY_NAME[name]
        theirs = getattr(RECIPES[RECIPE], option.field) if option.part == "recipe" else usual[name]
        if (here := value_of(name, options, spec)) != theirs:
            if line.ours:
                return f"{OURS}, chosen here (else {option.text(theirs)})"
            return f"differs: {option.text(theirs)} there" if here is not None else "differs"
    return f"{OURS}: {line.ours}" if line.ours else ""
