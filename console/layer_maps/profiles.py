"""Layer charts for stdout: a map of one run by epoch, or a profile of several runs at initialisation."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from console.charts.layer_grid import OF_ALL_RUNS, LayerGrid, Quantity, figure, layer_grid
from console.charts.overlay import MAX_LINES
from console.layer_maps.heat_map import TERMINAL_HEAT, Scale, columns_of, draw_heat_map, key, painted
from console.text.formatting import BARS, BARS_IN_ASCII, UNKNOWN, clean, supports_colour, supports_unicode, table
from engine.base.errors import UsageError
from engine.index.queries import Reader
from engine.runs.journal import Gradients
from engine.runs.run import Run

LEAST_PROFILE = 10


def layers_text(
    reader: Reader, runs: Sequence[Run], quantity: Quantity, *, width: int | None = None, height: int | None = None
) -> str:
    """Layer chart for stdout; None takes the terminal's size, or 80x24 without a terminal.

    Raises:
        UsageError: none of the runs has recorded gradients.
    """
    size = shutil.get_terminal_size()
    width, lines = width or size.columns, height or min(size.lines - 2, MAX_LINES)
    rows = {run.id: reader.gradients(run.id) for run in runs}
    if not any(rows.values()):
        raise UsageError(f"no gradients recorded for {names(runs)} yet; a run records them from its first step")
    unicode, colour = supports_unicode(sys.stdout), supports_colour(sys.stdout)
    if len(runs) > 1:
        return profiles(runs, rows, quantity, width=width, colours=TERMINAL_HEAT if colour else None, unicode=unicode)
    (run,) = runs
    title = f"{clean(run.name)}: {quantity.title.lower()} by layer and epoch"
    return "\n".join(
        draw_heat_map(
            layer_grid(rows[run.id], quantity),
            width=width,
            height=lines,
            title=title if unicode else title.encode("ascii", "replace").decode(),
            colours=TERMINAL_HEAT if colour else None,
            unicode=unicode,
            limits=reader.layer_ranges(run.experiment).get(quantity.field),
            whose=OF_ALL_RUNS,
        ).lines
    )


def profiles(
    runs: Sequence[Run],
    rows: dict[str, list[Gradients]],
    quantity: Quantity,
    *,
    width: int,
    colours: Sequence[int] | None,
    unicode: bool,
) -> str:
    """Draw the layers of each run at initialisation, one line for each run, on a common scale; `rows` are by run id."""
    bars = BARS if unicode else BARS_IN_ASCII
    grids = {run.id: layer_grid([row for row in rows[run.id] if row.epoch == 0], quantity) for run in runs}
    shown = [grid.values[0] if grid.epochs else [] for grid in grids.values()]
    scale = Scale.of([value for values in shown for value in values])
    facts = [
        [clean(run.name), str(len(values)) if values else UNKNOWN, *ends(values)]
        for run, values in zip(runs, shown, strict=True)
    ]
    header = ["run", "layers", "stem", "head", "stem/head"]
    left = table(header, facts, align="<>>>>", unicode=unicode).split("\n")
    beside = max(map(len, left)) + 2
    room = max(width - beside, LEAST_PROFILE)
    everything = LayerGrid([0] * len(shown), [], shown)
    title = f"{quantity.title} of every layer at initialisation"
    lines = [title, key(everything, scale, bars), f"{left[0].ljust(beside)}from the stem to the head"]
    for text, values in zip(left[1:], shown, strict=True):
        line = "not recorded"
        if values and scale is not None:
            cells = [scale.outstanding([values[layer] for layer in part]) for part in columns_of(len(values), room)]
            line = painted(cells, scale, bars, colours)
        lines.append(f"{text.ljust(beside)}{line}".rstrip())
    most = max((len(part) for values in shown if values for part in columns_of(len(values), room)), default=1)
    if most > 1:
        lines.append(f"a cell covers up to {most} layers and shows the one furthest from the median")
    return "\n".join(lines)


def ends(values: Sequence[float | None]) -> list[str]:
    """Format the stem's value, the head's, and their ratio."""
    if not values:
        return [UNKNOWN] * 3
    stem, head = values[0], values[-1]
    ratio = stem / head if stem is not None and head and math.isfinite(stem) and math.isfinite(head) else None
    return [figure(stem), figure(head), UNKNOWN if ratio is None else figure(ratio)]


def names(runs: Sequence[Run]) -> str:
    """Names of the first three runs and how many more there are."""
    shown = ", ".join(clean(run.name) for run in runs[:3])
    return f"{shown} and {len(runs) - 3} more" if len(runs) > 3 else shown


def layers_document(reader: Reader, runs: Sequence[Run], quantity: Quantity) -> dict[str, Any]:
    """JSON document of layer metrics; non-finite values are null."""
    return {"metric": quantity.metric, "runs": [layers_of_run(run, reader.gradients(run.id)) for run in runs]}


def layers_of_run(run: Run, rows: Sequence[Gradients]) -> dict[str, Any]:
    """Layer names of a run, and every quantity by epoch."""
    return {
        "run": run.id,
        "name": run.name,
        "layers": [layer.name for layer in rows[0].layers] if rows else [],
        "epochs": [
            {
                "epoch": row.epoch,
                "step": row.step,
                **{one.field: [getattr(layer, one.field) for layer in row.layers] for one in Quantity},
            }
            for row in rows
        ],
    }
