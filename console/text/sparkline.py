"""Curves as a row of bars, one cell each."""

from __future__ import annotations

import math
from collections.abc import Mapping

from console.text.formatting import BARS, BARS_IN_ASCII


def sparkline(
    values: Mapping[int, float], width: int, *, planned: int, limits: tuple[float, float], unicode: bool = True
) -> str:
    """Draw values by epoch in cells that span all planned epochs, so that those still to come stay empty.

    Args:
        values: Value after each epoch from 1; a cell shows the mean of its finite ones, or the next if it has no epoch.
        width: Number of cells.
        planned: Epochs of the whole run.
        limits: Values of the lowest and the highest bar.
    """
    bars = BARS if unicode else BARS_IN_ASCII
    low, high = limits
    epochs, last = sorted(values), max(values, default=0)
    cells = []
    for cell in range(width):
        begin, end = cell * planned / width, (cell + 1) * planned / width
        if begin >= last:
            break
        within = [epoch for epoch in epochs if begin < epoch <= end] or [epoch for epoch in epochs if epoch > end][:1]
        finite = [values[epoch] for epoch in within if math.isfinite(values[epoch])]
        if not finite:
            cells.append(" ")
            continue
        share = (math.fsum(finite) / len(finite) - low) / (high - low) if high > low else 0.0
        cells.append(bars[round(min(max(share, 0.0), 1.0) * (len(bars) - 1))])
    return "".join(cells).ljust(width)
