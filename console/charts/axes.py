"""Ticks and labels of axes, at round values."""

from __future__ import annotations

import math

MULTIPLES = (1, 2, 5, 10)
MOST_EXACT_STEPS = 2**50
"""A range this many times smaller than its values is labelled only at its ends: floats between are inexact."""


def linear_ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round values from low to high; the two ends if no round value is representable."""
    most = max(most, 2)
    raw = high / most - low / most
    if not raw > 1e-300:
        return [low, high]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((multiple * power for multiple in MULTIPLES if multiple * power >= raw), raw)
    if not math.isfinite(step) or max(abs(low), abs(high)) / step > MOST_EXACT_STEPS:
        return [low, high]
    # Half a billionth of a step absorbs the rounding of the division.
    first, last = math.ceil(low / step - 5e-10), math.floor(high / step + 5e-10)
    ticks = [index * step for index in range(first, last + 1)]
    return [tick for tick in ticks if math.isfinite(tick)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` ticks from low to high, all as decimal logarithms: decades, subdivided when there are few."""
    most = max(most, 2)
    first, last = math.floor(low), math.floor(high)
    decades = list(range(math.ceil(low), last + 1))
    if len(decades) > most:
        stride = -(-len(decades) // most)
        # Anchored at decade 0, so that 1 gets a tick whenever it is in range.
        decades = [decade for decade in decades if decade % stride == 0]
    if len(decades) * 2 <= most:
        for parts in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 5), (1, 3)):
            fine = [decade + math.log10(part) for decade in range(first, last + 1) for part in parts]
            fine = [tick for tick in fine if low <= tick <= high]
            if 3 <= len(fine) <= most:
                return fine
    if len(decades) >= 2:
        return [float(decade) for decade in decades]
    if high < 300 and (lowest := 10.0**low) > 1e-300:
        values = [value for value in linear_ticks(lowest, 10.0**high, most) if value > 0]
        return [math.log10(value) for value in values]
    return [low, high]


def labels(values: list[float]) -> list[str]:
    """Shortest labels that still differ, with exponents for very large or small values."""
    finite = [abs(value) for value in values if value]
    if not finite or (max(finite) < 1e6 and min(finite) >= 1e-4):
        for digits in range(6):
            texts = [f"{value:.{digits}f}" for value in values]
            exact = all(
                math.isclose(float(text), value, rel_tol=1e-3) for text, value in zip(texts, values, strict=True)
            )
            if exact and len(set(texts)) == len(texts):
                return [text.replace("-0", "0") if float(text) == 0 else text for text in texts]
    texts = []
    for digits in range(8):
        texts = [exponential(value, digits) for value in values]
        if len(set(texts)) == len(texts):
            break
    return texts


def log_labels(logarithms: list[float]) -> list[str]:
    """Labels of values given as decimal logarithms."""
    return [
        f"{10**logarithm:.4g}" if -4 < logarithm < 5 else exponential(power_of_ten(logarithm), 0)
        for logarithm in logarithms
    ]


def power_of_ten(logarithm: float) -> float:
    """Power of ten, clipped to the largest float."""
    return 10.0**logarithm if logarithm < 308 else math.ldexp(1 - 2**-53, 1024)


def exponential(value: float, digits: int) -> str:
    """Format a number as 1.5e6 or 1e-12."""
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"
