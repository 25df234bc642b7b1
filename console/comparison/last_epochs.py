"""Means over a run's last epochs, shown beside the errors of its last epoch and never instead of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from console.comparison.claims import Epochs
from console.comparison.groups import Group
from console.text.formatting import UNKNOWN, mean_std, table
from engine.runs.run import Run

METRICS = {
    "test_error_percent": "test error %",
    "validation_error_percent": "validation error %",
    "train_error_percent": "train error %",
}


def metrics_of(groups: Sequence[Group]) -> dict[str, str]:
    """Metrics to show: those that one of the networks has after every epoch."""
    validates = {group.spec.data.validation_images is not None for group in groups}
    shown = {"train_error_percent"}
    shown |= {"test_error_percent"} if False in validates else set()
    shown |= {"validation_error_percent"} if True in validates else set()
    return {name: title for name, title in METRICS.items() if name in shown}


def name_of(last: int) -> str:
    """Name of the mean: "mean of the last 5 epochs"."""
    return f"mean of the last {last} epochs"


def run_mean(run: Run, epochs: Epochs, metric: str, last: int) -> float | None:
    """Mean of a metric over the last epochs of a run that succeeded; None if one of them lacks it."""
    final = run.spec.recipe.epochs
    found = [getattr(row, metric) for row in epochs.get(run.id, ()) if final - last < row.epoch <= final]
    if not run.succeeded or len(found) != last or not all(one is not None and math.isfinite(one) for one in found):
        return None
    return statistics.fmean(found)


def last_means(group: Group, epochs: Epochs, metric: str, last: int) -> list[float]:
    """`run_mean` of every seed that has one."""
    means = (run_mean(run, epochs, metric, last) for run in group.runs)
    return [mean for mean in means if mean is not None]


def last_table(groups: Sequence[Group], epochs: Epochs, last: int) -> str:
    """Table with errors of the last epoch beside means of the last epochs, one row for each network."""
    header = last_header(groups, last)
    return table(header, last_rows(groups, epochs, last), align="<" + ">" * (len(header) - 1))


def last_header(groups: Sequence[Group], last: int) -> list[str]:
    """Titles of the columns of `last_rows`."""
    columns = [title for name in metrics_of(groups).values() for title in (name, f"{name}, {name_of(last)}")]
    return ["network", *columns]


def last_rows(groups: Sequence[Group], epochs: Epochs, last: int) -> list[list[str]]:
    """Rows of the table; each number of seeds is its own."""
    return [
        [
            group.label,
            *(
                mean_std(values) if values else UNKNOWN
                for metric in metrics_of(groups)
                for values in (group.finals(metric), last_means(group, epochs, metric, last))
            ),
        ]
        for group in groups
    ]


def last_sentence(group: Group, epochs: Epochs, last: int) -> str:
    """Means of a network in a sentence; empty if no seed has one."""
    parts = [
        f"{title.removesuffix(' %')} {mean_std(values, unit=' %')}"
        for metric, title in METRICS.items()
        if (values := last_means(group, epochs, metric, last))
    ]
    return f"{group.label}, {name_of(last)}: {', '.join(parts)}." if parts else ""


def last_document(group: Group, epochs: Epochs, last: int) -> dict[str, Any]:
    """JSON document of a network's means, by seed too."""
    return {
        "epochs": last,
        "name": name_of(last),
        **{
            metric: {
                "values": (values := last_means(group, epochs, metric, last)),
                "mean": statistics.fmean(values) if values else None,
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "n": len(values),
            }
            for metric in METRICS
        },
    }
