"""Runs of one number that were not trained alike: on other images, by another version, precision or device.

Specifications are equal within a network, so its runs have the same recipe and number of epochs; these differ by where
and when they were trained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from console.comparison.groups import Group
from engine.runs.run import Run
from models import catalog

DIGITS_OF_A_DIGEST = 8
ASPECTS: Mapping[str, Callable[[Run], str | None]] = {
    "images": lambda run: None if run.data_sha256 is None else f"images {run.data_sha256[:DIGITS_OF_A_DIGEST]}",
    "version": lambda run: None if run.version is None else f"version {run.version}",
    "precision": lambda run: None if run.precision is None else run.precision.value,
    "device": lambda run: run.device_name,
}
"""What may differ, and a run's value of it; None if it is not recorded."""
Mixture = Mapping[str, Mapping[str, Sequence[Run]]]
"""Runs by value, for every aspect with several values."""


def mixture(runs: Sequence[Run]) -> Mixture:
    """Find the aspects in which runs differ."""
    found: dict[str, dict[str, list[Run]]] = {}
    for name, value_of in ASPECTS.items():
        by_value: dict[str, list[Run]] = {}
        for run in runs:
            if (value := value_of(run)) is not None:
                by_value.setdefault(value, []).append(run)
        if len(by_value) > 1:
            found[name] = by_value
    return found


def mixture_mark(runs: Sequence[Run]) -> str:
    """Mark beside a number whose runs differ: "mixed precision, device"; empty if they do not."""
    return f"mixed {', '.join(found)}" if (found := mixture(runs)) else ""


def mean_mark(runs: Sequence[Run]) -> str:
    """Mark beside a mean over the runs of one network: aspects in which they differ, and repeated seeds."""
    parts = [mark] if (mark := mixture_mark(runs)) else []
    if repeated := repeated_seeds(runs):
        parts.append(f"seed{'s' * (len(repeated) > 1)} {', '.join(map(str, repeated))} repeated")
    return "; ".join(parts)


def mixture_text(runs: Sequence[Run]) -> str:
    """Values in which runs differ, and whose they are: "fp32 (he-plain20 s0, s1), bf16 (he-plain20 s2)"."""
    return "; ".join(
        ", ".join(f"{value} ({owners(having, runs)})" for value, having in by_value.items())
        for by_value in mixture(runs).values()
    )


def owners(having: Sequence[Run], runs: Sequence[Run]) -> str:
    """Name runs by network, and by seed where the network has others, too."""
    parts = []
    for label in dict.fromkeys(catalog.label(run.spec.model) for run in having):
        mine, everyone = (
            [run.spec.seed for run in some if catalog.label(run.spec.model) == label] for some in (having, runs)
        )
        parts.append(label if len(mine) == len(everyone) else f"{label} {', '.join(f's{seed}' for seed in mine)}")
    return ", ".join(parts)


def repeated_seeds(runs: Sequence[Run]) -> list[int]:
    """Seeds that a mean counts more than once, since their runs are different measurements."""
    return sorted(seed for seed, number in Counter(run.spec.seed for run in runs).items() if number > 1)


def mixture_lines(groups: Sequence[Group]) -> list[str]:
    """Lines that say which runs of each mean differ in what: "mixed in he-plain20: fp32 (s0, s1), bf16 (s2)"."""
    return [f"mixed in {group.label}: {text}" for group in groups if (text := mixture_text(group.succeeded))]


def mixture_document(runs: Sequence[Run]) -> dict[str, dict[str, list[str]]]:
    """JSON document of a mixture: run ids by value, for every aspect with several values."""
    return {
        name: {value: [run.id for run in having] for value, having in by_value.items()}
        for name, by_value in mixture(runs).items()
    }
