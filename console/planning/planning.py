"""From a user's words to the runs of an experiment: checked whole before anything is queued, and torch-free."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from console.text.formatting import count, table
from engine.base.errors import DatasetError, UsageError
from engine.base.paths import Home
from engine.base.units import byte_size, parse_size
from engine.control.protocol import NewRun
from engine.data import datasets
from engine.estimates.fitting import Verdict, check_memory, judge, made_to_fit
from engine.spec.devices import check_device, find_devices
from engine.spec.recipes import recipe
from engine.spec.run import DataSpec, RunSpec, StopRule, check_fits_data
from models import catalog, cost

QUICK_FETCH_SECONDS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for, as it was typed: lists are crossed with each other."""

    architectures: Sequence[str]
    depths: Sequence[int] = ()
    seeds: Sequence[int] = (0,)
    block: str | None = None
    blocks: Sequence[int] | None = None
    width: int | None = None
    conv_bias: bool = False
    norm: str = "batch"
    dataset: str = "cifar10"
    train_images: int | None = None
    test_images: int | None = None
    recipe: str = "reference"
    overrides: dict[str, Any] = field(default_factory=dict)
    """Fields of the recipe; None leaves one as it is."""
    device: str | None = None
    memory_limit: str | None = None
    """A size such as `6GiB`."""
    stop_when: str | None = None
    """A StopRule; None lets every run go on to its end."""
    fit: bool = False
    """Whether a run that does not fit may be computed in another precision, or with its activations recomputed."""
    fit_batch: bool = False
    """Whether it may be trained with a smaller batch, too."""


def plan_runs(home: Home, asked: Asked, report: Callable[[str], None] = lambda _text: None) -> list[NewRun]:
    """The cross product of architectures, depths and seeds, each run checked against its data.

    Whether they fit in memory is left to `check_all_fit`, so that a table of them can be shown before.

    Args:
        home: Where datasets are cached.
        asked: What was typed.
        report: Is told what was changed to make a run fit, where that was agreed to.

    Raises:
        UsageError: something of it does not exist or makes no sense; the text names the value and the remedy.
    """
    if not asked.depths and asked.blocks is None:
        raise UsageError("a depth is needed: -d 20,56,110, or --blocks 3,4,6,3")
    num_train, num_test, num_classes = datasets.describe(home, asked.dataset)
    here = find_devices()
    try:
        chosen = recipe(asked.recipe, **asked.overrides)
        data = DataSpec(name=asked.dataset, train_images=asked.train_images, test_images=asked.test_images)
        limit = None if asked.memory_limit is None else parse_size(asked.memory_limit, "memory limit")
        rule = None if asked.stop_when is None else stop_rule(asked.stop_when)
        planned: list[NewRun] = []
        depths: Sequence[int | None] = asked.depths or [None]
        for architecture, depth, seed in itertools.product(asked.architectures, depths, asked.seeds):
            model = catalog.model_spec(
                architecture,
                depth,
                block=asked.block,
                blocks=asked.blocks,
                width=asked.width,
                conv_bias=asked.conv_bias,
                norm=asked.norm,
                num_classes=num_classes,
            )
            run = RunSpec(
                model=model,
                data=data,
                recipe=chosen,
                seed=seed,
                device=asked.device,
                memory_limit_bytes=limit,
                stop_when=rule,
            )
            check_fits_data(run, num_train=num_train, num_test=num_test, num_classes=num_classes)
            check_device(run, here)
            name = f"{catalog.label(model)}-s{seed}"
            if asked.fit or asked.fit_batch:
                run, remedy = made_to_fit(
                    run, here, may_change_batch=asked.fit_batch, num_train=num_train, num_test=num_test
                )
                if remedy is not None:
                    report(f"{name}: {remedy.options}, so that it fits")
            planned.append(NewRun(name=name, spec=run))
    except ValueError as error:
        raise UsageError(str(error)) from error
    if len({run.name for run in planned}) < len(planned):
        raise UsageError("the same network is asked for twice: leave repetitions out")
    return planned


def stop_rule(word: str) -> StopRule:
    """The rule of a name.

    Raises:
        ValueError: there is none; the text lists those there are.
    """
    if word not in list(StopRule):
        raise ValueError(f"stop-when must be one of {', '.join(StopRule)}, or left out for never, got {word!r}")
    return StopRule(word)


def judge_all(home: Home, planned: Sequence[NewRun]) -> list[Verdict]:
    """Of each run, what it is estimated to need and whether that fits on a device here."""
    here = find_devices()
    sizes = data_sizes(home, planned)
    return [
        judge(run.spec, here, num_train=num_train, num_test=num_test)
        for run, (num_train, num_test) in zip(planned, sizes, strict=True)
    ]


def check_all_fit(home: Home, planned: Sequence[NewRun]) -> None:
    """Refuse runs of which one does not fit in memory.

    Raises:
        UsageError: it does not; the text says what it needs, what there is, and what would fit.
    """
    here = find_devices()
    for run, (num_train, num_test) in zip(planned, data_sizes(home, planned), strict=True):
        check_memory(run.name, run.spec, here, num_train=num_train, num_test=num_test)


def data_sizes(home: Home, planned: Sequence[NewRun]) -> list[tuple[int, int]]:
    """Training and test images of each run's dataset."""
    sizes = {name: datasets.describe(home, name)[:2] for name in {run.spec.data.name for run in planned}}
    return [sizes[run.spec.data.name] for run in planned]


def not_here_yet(home: Home, dataset: str) -> str | None:
    """What has to be fetched before a run can begin, in words; None where everything is here."""
    entry = next((one for one in datasets.list_datasets(home) if one.name == dataset), None)
    if entry is None or entry.cached or entry.synthetic:
        return None
    return (
        f"{dataset} is not here yet: the first run fetches it, or fails (`depthscope data fetch {dataset}` tells now)"
    )


def quick_dataset(home: Home, report: Callable[[str], None]) -> str:
    """CIFAR-10 where it is here or can be fetched within seconds, else the synthetic set; says which, and why.

    Args:
        home: Where datasets are cached.
        report: Is told what was chosen.
    """
    cached = {entry.name for entry in datasets.list_datasets(home) if entry.cached}
    if "cifar10" in cached:
        return "cifar10"
    if copies := sorted(name for name in cached if name.startswith("cifar10-")):
        report(f"data: {copies[0]}, an imported copy of CIFAR-10")
        return copies[0]
    try:
        datasets.prepare(home, "cifar10", limit_seconds=QUICK_FETCH_SECONDS)
    except DatasetError:
        report(
            f"data: synthetic images, since CIFAR-10 is not here and could not be fetched in {QUICK_FETCH_SECONDS:g} s"
        )
        return "synthetic"
    report("data: CIFAR-10, just fetched")
    return "cifar10"


def plan_table(planned: Sequence[NewRun], verdicts: Sequence[Verdict]) -> str:
    """What would be trained, a row a run, with a verdict of `judge_all` for each."""
    rows = [
        [
            run.name,
            count(cost.num_parameters(run.spec.model)),
            count(cost.forward_macs(run.spec.model)),
            run.spec.data.name,
            run.spec.recipe.name,
            str(run.spec.recipe.epochs),
            f"~{byte_size(verdict.estimate.total_bytes)}",
            byte_size(verdict.limit_bytes),
            "yes" if verdict.fits else "no",
        ]
        for run, verdict in zip(planned, verdicts, strict=True)
    ]
    header = ["run", "parameters", "MACs", "data", "recipe", "epochs", "memory", "limit", "fits"]
    return table(header, rows, align="<>><<>>><")


def split_words(words: Sequence[str]) -> list[str]:
    """Words of comma lists and repetitions, in order."""
    return [part.strip() for word in words for part in word.split(",") if part.strip()]


def whole_numbers(words: Sequence[str], what: str) -> list[int]:
    """Whole numbers of comma lists and repetitions.

    Raises:
        UsageError: a word is no whole number.
    """
    found = split_words(words)
    for word in found:
        if not word.isascii() or not word.isdigit():
            raise UsageError(f"{what} must be whole numbers such as 20,56, got {word!r}")
    return [int(word) for word in found]


def seeds(listed: Sequence[str], how_many: Sequence[str]) -> list[int]:
    """The seeds meant: those listed by `--seed`, or by `--seeds` a number of them from 0; seed 0 where neither is said.

    Raises:
        UsageError: a word is no whole number, none are asked for, or they are asked for in both ways.
    """
    if listed and how_many:
        raise UsageError("--seed lists seeds and --seeds says how many: give one of them")
    if not how_many:
        return whole_numbers(listed, "seeds") or [0]
    numbers = whole_numbers(how_many, "seeds")
    if len(numbers) > 1:
        return numbers
    if numbers == [0]:
        raise UsageError("seeds must be at least 1, got 0: --seed 0 takes seed 0 alone")
    return list(range(numbers[0]))


def fractions(word: str) -> tuple[float, ...]:
    """Fractions of a comma list.

    Raises:
        UsageError: one of them is no number.
    """
    try:
        return tuple(float(part) for part in split_words([word]))
    except ValueError as error:
        raise UsageError(f"drops must be fractions such as 0.5,0.75, got {word!r}") from error
