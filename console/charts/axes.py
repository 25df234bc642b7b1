"""Where an axis is labelled: round values that tell apart what is told apart."""

from __future__ import annotations

import math

MULTIPLES = (1, 2, 5, 10)
MOST_EXACT_STEPS = 2**50
"""A range this many times smaller than its values is labelled at its ends alone: nothing between is exact."""


def linear_ticks(low: float, high: float, most: int) -> list[float]:
    """Round values from low to high, at most so many; the ends where no round value can be had."""
    most = max(most, 2)
    raw = high / most - low / most
    if not raw > 1e-300:
        return [low, high]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((multiple * power for multiple in MULTIPLES if multiple * power >= raw), raw)
    if not math.isfinite(step) or max(abs(low), abs(high)) / step > MOST_EXACT_STEPS:
        return [low, high]
    # Half a billionth of a step makes up for the rounding of the division.
    first, last = math.ceil(low / step - 5e-10), math.floor(high / step + 5e-10)
    ticks = [index * step for index in range(first, last + 1)]
    return [tick for tick in ticks if math.isfinite(tick)]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Decimal logarithms of round values: decades, with 2 and 5 between where there are few.

    Args:
        low: Decimal logarithm of the lowest value.
        high: That of the highest.
        most: How many fit.
    """
    most = max(most, 2)
    first, last = math.floor(low), math.floor(high)
    decades = list(range(math.ceil(low), last + 1))
    if len(decades) > most:
        stride = -(-len(decades) // most)
        # Counted from 1, so that 1 itself is among them wherever it is in range.
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
    """Numbers as short as they can be and still differ; exponents where they are very large or small."""
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
    """Labels of values that are given by their decimal logarithms."""
    return [
        f"{10**logarithm:.4g}" if -4 < logarithm < 5 else exponential(power_of_ten(logarithm), 0)
        for logarithm in logarithms
    ]


def power_of_ten(logarithm: float) -> float:
    """Ten to a power, at most the largest float."""
    return 10.0**logarithm if logarithm < 308 else math.ldexp(1 - 2**-53, 1024)


def exponential(value: float, digits: int) -> str:
    """A number such as 1.5e6 or 1e-12."""
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"
