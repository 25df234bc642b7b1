"""Lines and title of the run table: runs under the headings of their experiments."""

from __future__ import annotations

from collections.abc import Sequence

from console.text.columns import ORDERS
from console.text.formatting import clean
from console.text.status import counted, states
from console.tui.view_state import ViewState
from console.widgets.run_table import Line
from engine.runs.run import Run

NO_RUNS = """No runs yet.

n   new experiment: choose architectures
    and depths, and train them
q   quit; `depthscope quickstart` trains
    a first comparison in minutes
?   what each key does"""


def first_of_newest(runs: Sequence[Run]) -> str | None:
    """Id of the first run listed of the newest experiment; None without runs."""
    newest = max(runs, key=lambda run: (run.position, run.id), default=None)
    return next((run.id for run in runs if newest is not None and run.experiment == newest.experiment), None)


def grouped_lines(runs: list[Run]) -> list[Line]:
    """Group the table's lines under experiment headings, ordered by each experiment's first run."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.experiment, []).append(run)
    lines: list[Line] = []
    for experiment, members in groups.items():
        found = states(members)
        lines.append((experiment, f"{counted(len(members), 'run')}: {found}" if "," in found else found))
        lines += [run.id for run in members]
    return lines


def table_title(view: ViewState, num_shown: int, num_runs: int, *, is_valid: bool) -> str:
    """Title with the marks, the order and the filter, which is last because it may be cut off."""
    parts = ["Runs"]
    parts += [f"{len(view.marked)} marked"] if view.marked else []
    parts += [f"by {view.sort}"] if view.sort != ORDERS[0] else []
    if view.filter:
        parts.append(f"{num_shown} of {num_runs} fit{'' if is_valid else ' so far'}: {clean(view.filter)}")
    return " · ".join(parts)
