"""Table of curves against every diagnosis: `uv run python -m tests.benchmarks.diagnoses [--draws N]`.

A cell is the epoch after which a diagnosis appears first while the run trains, or after which
`--stop-when not-learning` ends it; `-` if that never happens, and `!` beside what should be otherwise. `waits` is the
first epoch with a word on the rate to come. The curves are in `tests/curves.py`. With `--draws`, the made-up ones are
drawn so many times with other noise, and wrong cells are counted.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from engine.analysis.diagnosis import Symptom
from tests.curves import Curve, Verdicts, judge, made_up_curves, recorded_curves

HEADS = ["curve", "epochs", *map(str, Symptom), "stopped", "waits"]


def mark(epoch: int | None, *, expected: bool) -> str:
    """Cell of the table."""
    return ("-" if epoch is None else str(epoch)) + "!" * ((epoch is not None) is not expected)


def cells(curve: Curve, verdicts: Verdicts) -> list[str]:
    """Row of the table."""
    outlooks = verdicts.outlooks
    return [
        curve.name,
        str(len(curve.rows)),
        *(mark(verdicts.first.get(symptom), expected=symptom in curve.found) for symptom in Symptom),
        mark(verdicts.stopped_at, expected=curve.stopped),
        mark(min(outlooks, default=None), expected=curve.says is not None),
    ]


def count_wrong(draws: int) -> int:
    """Draw the made-up curves with other noise, and print what is wrong how often."""
    wrong: Counter[str] = Counter()
    for draw in range(1, draws + 1):
        for curve in made_up_curves(draw):
            row = cells(curve, judge(curve))
            wrong.update(f"{curve.name}: {head} {cell}" for head, cell in zip(HEADS, row, strict=True) if "!" in cell)
    for what, times in wrong.most_common():
        print(f"{times} of {draws}  {what}")
    num = draws * len(made_up_curves()) * (len(HEADS) - 2)
    print(f"{draws} draws, {num} cells, {wrong.total()} wrong")
    return 1 if wrong else 0


def main() -> int:
    """Print the table; the status is 1 if any cell is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=0, help="draw the made-up curves so many times instead")
    if draws := parser.parse_args().draws:
        return count_wrong(draws)
    curves = [*made_up_curves(), *recorded_curves()]
    rows = [HEADS, *(cells(curve, judge(curve)) for curve in curves)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    wrong = sum("!" in cell for row in rows for cell in row)
    print(f"{len(curves)} curves, {len(curves) * (len(HEADS) - 2)} cells, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
