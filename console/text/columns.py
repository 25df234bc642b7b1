"""Columns of the run table: contents, sort order, and which to drop when space is short."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from console.text.formatting import cut, percent, progress_bar
from console.text.listing import fitted_name_and_labels, name_and_labels
from console.text.status import SIGNS, SIGNS_IN_ASCII, left, loss, rate, seconds_left, state, state_and_place
from engine.runs.run import Run

BAR_CELLS = 8
NAME_CELLS = 17
"""Minimum width of the name, which also takes whatever the other columns leave."""
LONGEST_NAME_CELLS = 28
"""Width up to which a long name displaces other columns."""
SPARED_FOR_NAMES = 4
"""Columns with `keep` up to this stay even when names are long."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a row depends on beside its run."""

    now: float
    """Monotonic time."""
    unicode: bool
    """Whether the terminal can show Unicode."""
    queue: Mapping[str, int]
    """Places in the queue, by run id."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the run table."""

    key: str
    title: str
    width: int
    right: bool
    keep: int
    """Drop order: columns with higher numbers go first when space is short."""
    text: Callable[[Run, Scene], str]
    """Contents for a run."""
    order: Callable[[Run, float], float | str]
    """Sort key."""
    shorten: Callable[[Run, int, bool], str] | None = None
    """Shortens the text to a width if cutting its end would lose what matters; None cuts the end."""

    def fitted(self, run: Run, scene: Scene, width: int) -> str:
        """Contents for a run, shortened to `width` cells."""
        if self.shorten is not None:
            return self.shorten(run, width, scene.unicode)
        return cut(self.text(run, scene), width, unicode=scene.unicode)


def status_text(run: Run, scene: Scene) -> str:
    word = state(run, scene.now)
    # "stopped-early" is wider than the column.
    shown = "early" if run.stopped_early else state_and_place(run, scene.now, scene.queue)
    return f"{(SIGNS if scene.unicode else SIGNS_IN_ASCII)[word]} {shown}"


def known(value: float | None) -> float:
    """Sort key that puts missing values last."""
    return math.inf if value is None else value


COLUMNS = (
    Column("name", "run", NAME_CELLS, False, 0,
           lambda run, scene: name_and_labels(run, unicode=scene.unicode),
           lambda run, _now: run.name,
           lambda run, width, unicode: fitted_name_and_labels(run, width, unicode=unicode)),
    Column("status", "status", 11, False, 1, status_text, lambda run, now: state(run, now)),
    Column("progress", "", BAR_CELLS, False, 6,
           lambda run, scene: progress_bar(run.fraction_done, BAR_CELLS, scene.unicode),
           lambda run, _now: -run.fraction_done),
    Column("epoch", "epoch", 7, True, 3,
           lambda run, _scene: f"{run.epoch}/{run.spec.recipe.epochs}",
           lambda run, _now: -run.epoch),
    Column("loss", "loss", 8, True, 4,
           lambda run, _scene: "" if run.train_loss is None and not run.epoch else loss(run.train_loss),
           lambda run, _now: known(run.train_loss)),
    Column("error", "test err", 8, True, 2,
           lambda run, _scene: short_error(run),
           lambda run, _now: known(run.test_error_percent)),
    Column("rate", "img/s", 7, True, 7,
           lambda run, _scene: rate(run),
           lambda run, _now: -(run.images_per_second or 0.0) if rate(run) else 1.0),
    Column("left", "left", 7, True, 5,
           lambda run, _scene: left(run),
           lambda run, _now: known(seconds_left(run))),
)  # fmt: skip


def short_error(run: Run) -> str:
    """Test error; until it is known in a run with a validation set, the validation error, marked "val"."""
    if run.test_error_percent is not None:
        return percent(run.test_error_percent)
    held_out = run.validation_error_percent
    return "" if held_out is None else f"{held_out:.{1 if held_out < 99.95 else 0}f} val"


ORDERS = ("submitted", *(column.key for column in COLUMNS))
"""Sort orders of the table; `submitted` is oldest first, as in `ls` and in the queue."""


def fitting(width: int, longest_name: int = NAME_CELLS) -> list[tuple[Column, int]]:
    """Choose columns that fit, with their widths in cells; bar, rate and time left give way to a long name.

    One cell separates columns, and the name takes what is left.
    """
    chosen = list(COLUMNS)

    def taken() -> int:
        return sum(column.width + 1 for column in chosen) - 1

    while len(chosen) > 1 and taken() > width:
        chosen.remove(max(chosen, key=lambda column: column.keep))
    wanted = min(longest_name, LONGEST_NAME_CELLS) - NAME_CELLS
    while taken() + wanted > width and (last := max(chosen, key=lambda column: column.keep)).keep > SPARED_FOR_NAMES:
        chosen.remove(last)
    spare = width - taken()
    return [(column, column.width + spare * (column.key == "name")) for column in chosen]


def in_order(runs: list[Run], key: str, now: float, *, backwards: bool) -> list[Run]:
    """Sort runs by a column's key; ties are in order of submission."""
    ordered = sorted(runs, key=lambda run: (run.position, run.id))
    if key == "submitted":
        return ordered[::-1] if backwards else ordered
    order = next(column.order for column in COLUMNS if column.key == key)
    return sorted(ordered, key=lambda run: order(run, now), reverse=backwards)
