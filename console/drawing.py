"""Charts for a command's output: sized, coloured and spelt for where they go."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Any

from console.looks import COLOURS_OF_A_COMMAND, Options
from console.metrics import Axis, Metric, points, read_history
from console.overlay import draw_overlay, overlay
from console.text.formatting import supports_colour, supports_unicode
from engine.index.queries import Reader
from engine.runs.run import Run

MAX_LINES = 30


def chart(
    reader: Reader,
    runs: Sequence[Run],
    metric: Metric,
    axis: Axis = Axis.EPOCH,
    *,
    log_y: bool = False,
    width: int | None = None,
    height: int | None = None,
) -> str:
    """A chart for standard output; None takes the terminal's size, and 80x24 where there is none."""
    size = shutil.get_terminal_size()
    options = Options(axis=axis, log_y=log_y)
    histories = {run.id: read_history(reader, run) for run in runs}
    drawing = draw_overlay(
        overlay(runs, histories, metric, options, COLOURS_OF_A_COMMAND),
        options,
        width=width or size.columns,
        height=height or min(size.lines - 2, MAX_LINES),
        title=metric.title + (" (log)" if log_y else ""),
        colour=supports_colour(sys.stdout),
        unicode=supports_unicode(sys.stdout),
    )
    return "\n".join(drawing.lines)


def curves_document(reader: Reader, runs: Sequence[Run], metric: Metric, axis: Axis) -> dict[str, Any]:
    """The points of a chart for programs."""
    drawn = [(run, *points(run, read_history(reader, run), metric, axis)) for run in runs]
    return {
        "metric": metric.name,
        "x_axis": axis.value,
        "curves": [{"run": run.id, "name": run.name, "x": x, "y": y} for run, x, y in drawn],
    }
