"""Charts as text, and the floats that tests draw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from console.charts import plot
from console.charts.plot import Series

ANSI = re.compile(r"\x1b\[[\d;]*m")


DOTS = re.compile(r"[⠁-⣿●■▲◆]")


floats = st.floats(allow_nan=True, allow_infinity=True)


def chart_text(series: Sequence[Series], **options: Any) -> str:
    """Draw a chart as a single string."""
    return "\n".join(plot.draw(series, **options).lines)


def canvas_of(chart: str) -> list[str]:
    """Return the lines right of the y axis, without those below the canvas."""
    lines = [ANSI.sub("", line) for line in chart.split("\n")[:-2]]
    return [re.split("[│┤|+]", line, maxsplit=1)[1] for line in lines if re.match(r"[ \d.e-]*[│┤|+]", line)]
