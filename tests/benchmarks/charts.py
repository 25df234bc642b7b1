"""Cost of drawing a chart, as ratios within one run: `uv run python -m tests.benchmarks.charts [--json]`.

Four drawings take turns, so that other load affects all alike: ours with 10,000 and with 200 points per curve,
plotext's own lines of 200 points, and plotext's empty axes, a lower bound for anything drawn with it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import plotext

from console.charts import plot
from console.charts.plot import Series

SIZES = ((40, 10), (80, 24), (120, 36), (200, 50))
NUM_SERIES = 6
MANY, FEW = 10_000, 200


def loss_curves(points: int) -> list[Series]:
    """Generate six noisy falling curves over 164 epochs."""
    random = np.random.default_rng(0)
    epochs = np.linspace(0, 164, points)
    return [
        Series(
            f"network {index}",
            epochs,
            (0.1 * index + 2.2 * np.exp(-epochs / (10 + 5 * index))) * np.exp(0.05 * random.standard_normal(points)),
            "■▲◆●"[index % 4],
            index + 1,
        )
        for index in range(NUM_SERIES)
    ]


def chart_text(series: Sequence[Series], **options: Any) -> str:
    """Draw a chart as a single string."""
    return "\n".join(plot.draw(series, **options).lines)


def plotext_alone(series: list[Series], width: int, height: int) -> str:
    """Draw the same curves with plotext's own braille lines, on axes like ours."""
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.limit_size(False, False)
    plotext.plot_size(width, height)
    for one in series:
        plotext.plot(list(one.x), list(one.y), marker="braille", color=one.colour)
    return str(plotext.build())


def measure(drawings: dict[str, Callable[[], str]], trials: int) -> dict[str, list[float]]:
    """Measure the milliseconds of every drawing, in turns."""
    for draw in drawings.values():
        draw()
    spent: dict[str, list[float]] = {name: [] for name in drawings}
    for _ in range(trials):
        for name, draw in drawings.items():
            begun = time.perf_counter()
            draw()
            spent[name].append(1000 * (time.perf_counter() - begun))
    return spent


def figures(trials: int) -> dict[str, object]:
    """Measure all sizes; include the machine."""
    many, few = loss_curves(MANY), loss_curves(FEW)
    sizes = []
    for width, height in SIZES:
        box = {"width": width, "height": height, "title": "Training loss", "x_label": "epoch"}
        spent = measure(
            {
                "ours_many": lambda box=box: chart_text(many, **box),
                "ours_few": lambda box=box: chart_text(few, **box),
                "plotext_few": lambda width=width, height=height: plotext_alone(few, width, height),
                "plotext_empty": lambda width=width, height=height: plotext_alone([], width, height),
            },
            trials,
        )
        median = {name: statistics.median(times) for name, times in spent.items()}
        sizes.append(
            {
                "width": width,
                "height": height,
                "median_ms": {name: round(value, 2) for name, value in median.items()},
                "least_ms": {name: round(min(times), 2) for name, times in spent.items()},
                "many_over_plotext_few": round(median["ours_many"] / median["plotext_few"], 3),
                "many_over_few": round(median["ours_many"] / median["ours_few"], 3),
                "many_over_empty": round(median["ours_many"] / median["plotext_empty"], 3),
                "bytes_with_colour": len(chart_text(many, **box).encode()),
            }
        )
    return {
        "schema": 1,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_1min": round(os.getloadavg()[0], 2),
        },
        "versions": {
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "plotext": version("plotext"),
            "system": platform.platform(),
        },
        "num_series": NUM_SERIES,
        "points": {"many": MANY, "few": FEW},
        "trials": trials,
        "sizes": sizes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print a document for programs")
    parser.add_argument("--trials", type=int, default=15, help="drawings of each kind and size")
    arguments = parser.parse_args()
    found = figures(arguments.trials)
    if arguments.json:
        json.dump(found, sys.stdout, indent=2)
        print()
        return
    print(f"{found['machine']}  {found['versions']}")
    print(f"{NUM_SERIES} series, {arguments.trials} trials each, in turns; medians (least) in ms")
    columns = " ".join(f"{name:>15}" for name in ("ours 10k", "ours 200", "plotext 200", "axes alone"))
    print(f"{'size':>8} {columns}  10k/plotext 200  10k/200")
    for size in found["sizes"]:  # type: ignore[attr-defined]
        cells = [
            f"{size['median_ms'][name]:.1f} ({size['least_ms'][name]:.1f})"
            for name in ("ours_many", "ours_few", "plotext_few", "plotext_empty")
        ]
        box = f"{size['width']}x{size['height']}"
        ratios = f"{size['many_over_plotext_few']:15.2f}  {size['many_over_few']:7.2f}"
        print(f"{box:>8} " + " ".join(f"{text:>15}" for text in cells) + "  " + ratios)


if __name__ == "__main__":
    main()
