"""Plan the runs of an experiment from options. Everything is checked before anything is queued, without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from console.planning.options import RunOptions
from console.text.formatting import clean, count, table
from console.text.listing import data_label
from engine.base.errors import DatasetError, UsageError
from engine.base.paths import Home
from engine.base.units import byte_size
from engine.control.protocol import NewRun
from engine.data import datasets
from engine.estimates.fitting import Verdict, check_memory, judge, made_to_fit
from engine.spec.devices import check_device, find_devices
from engine.spec.errors import InvalidField
from engine.spec.recipes import recipe, recipe_label
from engine.spec.run import DataSpec, RunSpec, check_fits_data
from models import catalog, cost

QUICK_FETCH_SECONDS = 8.0


def plan_runs(home: Home, options: RunOptions, report: Callable[[str], None] = lambda _text: None) -> list[NewRun]:
    """Make a run for every combination of the crossed options, and check each against its data.

    Memory is checked separately by `check_all_fit`, so that the plan can be shown first.

    Args:
        home: Where datasets are cached.
        options: Values of the options.
        report: Called with each change made so that a run fits, if `--fit` or `--fit-batch` allow any.

    Raises:
        InvalidField: one option has an invalid value.
        UsageError: the options are invalid in another way.
    """
    if not options["depths"] and options["blocks"] is None:
        raise InvalidField("depths", text="a depth is needed, such as -d 20,56,110 or --blocks 3,4,6,3")
    num_train, num_test, num_classes = datasets.describe(home, options["dataset"])
    here = find_devices()
    planned: list[NewRun] = []
    try:
        for one in options.combinations():
            model = catalog.model_spec(**{"depth": None} | one.part("model"), num_classes=num_classes)
            chosen, data = recipe(**one.part("recipe")), DataSpec(**one.part("data"))
            run = RunSpec(model=model, data=data, recipe=chosen, **one.part("run"))
            check_fits_data(run, num_train=num_train, num_test=num_test, num_classes=num_classes)
            check_device(run, here)
            name = f"{catalog.label(model)}{options.suffix(one)}-s{run.seed}"
            if options["fit"] or options["fit_batch"]:
                run, remedy = made_to_fit(
                    run, here, may_change_batch=options["fit_batch"], num_train=num_train, num_test=num_test
                )
                if remedy is not None:
                    report(f"{name}: using {remedy.options} to fit in memory")
            planned.append(NewRun(name=name, spec=run))
    except catalog.FieldError as error:
        raise InvalidField(error.field, text=str(error)) from error
    except ValueError as error:
        raise UsageError(str(error)) from error
    if len({run.name for run in planned}) < len(planned):
        raise UsageError("the same run is listed twice: remove repeated values")
    return planned


def judge_all(home: Home, planned: Sequence[NewRun]) -> list[Verdict]:
    """Estimate each run's memory and judge whether it fits on a device of this machine."""
    here = find_devices()
    known: dict[RunSpec, Verdict] = {}
    verdicts = []
    for run, (num_train, num_test) in zip(planned, data_sizes(home, planned), strict=True):
        # Memory does not depend on the seed.
        key = msgspec.structs.replace(run.spec, seed=0)
        if key not in known:
            known[key] = judge(key, here, num_train=num_train, num_test=num_test)
        verdicts.append(known[key])
    return verdicts


def check_all_fit(home: Home, planned: Sequence[NewRun]) -> None:
    """Check that every run fits in memory.

    Raises:
        UsageError: a run does not fit; the text says what it needs, what is available and what would fit.
    """
    here = find_devices()
    for run, (num_train, num_test) in zip(planned, data_sizes(home, planned), strict=True):
        check_memory(run.name, run.spec, here, num_train=num_train, num_test=num_test)


def data_sizes(home: Home, planned: Sequence[NewRun]) -> list[tuple[int, int]]:
    """Numbers of training and test images of each run's dataset."""
    sizes = {name: datasets.describe(home, name)[:2] for name in {run.spec.data.name for run in planned}}
    return [sizes[run.spec.data.name] for run in planned]


def is_missing(home: Home, dataset: str) -> bool:
    """Whether a dataset still has to be downloaded."""
    entry = next((one for one in datasets.list_datasets(home) if one.name == dataset), None)
    return entry is not None and not entry.cached and not entry.synthetic


def missing_dataset_notice(home: Home, dataset: str) -> str | None:
    """Notice that a dataset still has to be downloaded; None if it is available."""
    if not is_missing(home, dataset):
        return None
    return f"{dataset} is not downloaded yet: the first run fetches it (`depthscope data fetch {dataset}` does it now)"


def quick_dataset(home: Home, report: Callable[[str], None]) -> str:
    """Choose CIFAR-10 if it is cached or downloads within seconds, else synthetic images; report the choice and why."""
    cached = {entry.name for entry in datasets.list_datasets(home) if entry.cached}
    if "cifar10" in cached:
        return "cifar10"
    if copies := sorted(name for name in cached if name.startswith("cifar10-")):
        report(f"data: {copies[0]}, an imported copy of CIFAR-10")
        return copies[0]
    try:
        datasets.prepare(home, "cifar10", limit_seconds=QUICK_FETCH_SECONDS)
    except DatasetError:
        report(f"data: synthetic images, because CIFAR-10 could not be downloaded in {QUICK_FETCH_SECONDS:g} s")
        return "synthetic"
    report("data: CIFAR-10, just downloaded")
    return "cifar10"


def plan_table(planned: Sequence[NewRun], verdicts: Sequence[Verdict]) -> str:
    """Table of planned runs, one row each, with their verdicts from `judge_all`."""
    rows = [
        [
            run.name,
            count(cost.num_parameters(run.spec.model)),
            count(cost.forward_macs(run.spec.model)),
            clean(run.spec.data.name) + data_label(run.spec.data, brief=True),
            clean(recipe_label(run.spec.recipe)),
            str(run.spec.recipe.epochs),
            f"~{byte_size(verdict.estimate.total_bytes)}",
            byte_size(verdict.limit_bytes),
            "yes" if verdict.fits else "no",
        ]
        for run, verdict in zip(planned, verdicts, strict=True)
    ]
    header = ["run", "parameters", "MACs", "data", "recipe", "epochs", "memory", "limit", "fits"]
    return table(header, rows, align="<>><<>>><")
