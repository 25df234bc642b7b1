"""Charts for a command's output: sized, coloured and spelt for where they go."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Any

from console.charts import Series, line_chart
from console.formatting import supports_colour, supports_unicode
from console.metrics import Axis, Metric, points
from engine.queries import Reader
from engine.run import Run

MAX_LINES = 30
X_LABELS = {Axis.EPOCH: "epoch", Axis.STEP: "step", Axis.TIME: "seconds"}


def chart(
    curves: Sequence[Series],
    metric: Metric,
    axis: Axis,
    *,
    log_y: bool = False,
    width: int | None = None,
    height: int | None = None,
) -> str:
    """A chart for standard output; None takes the terminal's size, and 80x24 where there is none."""
    size = shutil.get_terminal_size()
    return line_chart(
        curves,
        width=width or size.columns,
        height=height or min(size.lines - 2, MAX_LINES),
        title=metric.title + (" (log)" if log_y else ""),
        x_label=X_LABELS[axis],
        log_y=log_y,
        colour=supports_colour(sys.stdout),
        unicode=supports_unicode(sys.stdout),
    )


def curves_document(reader: Reader, runs: Sequence[Run], metric: Metric, axis: Axis) -> dict[str, Any]:
    """The points of a chart for programs."""
    drawn = [(run, *points(reader, run, metric, axis)) for run in runs]
    return {
        "metric": metric.name,
        "x_axis": axis.value,
        "curves": [{"run": run.id, "name": run.name, "x": x, "y": y} for run, x, y in drawn],
    }
