"""How long a run will take, from what was measured: past runs of this machine, and short probes. Imports no torch.

An epoch is its updates, one evaluation and its checkpoints; each has a pace of its own. The uncertainty of an estimate
is what four of five such estimates stay within, as far as that is known, and a cautious guess before.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import msgspec

from engine.runs.journal import SECONDS_BETWEEN_CHECKPOINTS
from engine.spec.estimate import Estimate, Source
from engine.spec.precision import Precision
from engine.spec.run import RunSpec
from models.catalog import ModelSpec, label
from models.cost import forward_macs

MAX_FACTOR_APART = 30.0
"""A past run with so many times the work an image, or so little, says nothing of the pace of another."""
FEWEST_TRUTHS = 3
"""Estimates whose truth must be known before their errors tell how far off the next one is."""

ANOTHER_SIZE = 1.5
"""Networks nearer in work, such as one with and without its shortcuts, tell nothing of how pace follows work."""


ERROR_BEFORE_ANY_TRUTH = {Source.HISTORY: 0.10, Source.PROBE: 0.15, Source.SCALED: 0.50}
LEAST_ERROR = 0.02


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the pace on a device: equal workloads take equally long a step."""

    model: ModelSpec
    batch_size: int
    precision: Precision
    """What it is computed in: never AUTO."""
    augment: bool
    deterministic: bool
    checkpoint_activations: bool

    @classmethod
    def of(cls, spec: RunSpec, precision: Precision) -> Self:
        """The workload of a run that is computed in a precision."""
        recipe = spec.recipe
        return cls(
            model=spec.model,
            batch_size=recipe.batch_size,
            precision=precision,
            augment=recipe.augment,
            deterministic=recipe.deterministic,
            checkpoint_activations=recipe.checkpoint_activations,
        )


class Pace(msgspec.Struct, frozen=True, kw_only=True, tag_field="found", tag="pace"):
    """How fast a workload went on a device: by one past run, or by one probe."""

    workload: Workload
    device_name: str
    """What the device calls itself."""
    torch: str
    """Version of the torch that it was measured with."""
    num_threads: int
    seconds_per_step: float
    """Of one update by a whole batch."""
    seconds_per_evaluated_image: float
    seconds_per_checkpoint: float
    seconds_to_begin: float
    """What the first update takes longer than the others."""
    spread: float
    """How much single measurements differed, as a fraction of the whole; 0 where there was only one."""
    at: float = 0.0
    """When it was measured, seconds since 1970."""


@functools.lru_cache(maxsize=4096)
def macs(model: ModelSpec) -> int:
    """Multiply-accumulates of a forward pass, counted once for each network."""
    return forward_macs(model)


def factor_apart(one: ModelSpec, other: ModelSpec) -> float:
    """How many times the work of the one the other is, or the other way round; at least 1."""
    ratio = macs(one) / macs(other)
    return max(ratio, 1 / ratio)


def upper(errors: Iterable[float]) -> float:
    """What four of five errors stay within; the largest of fewer than five.

    Raises:
        ValueError: there are none.
    """
    ordered = sorted(errors)
    if not ordered:
        raise ValueError("errors must not be empty")
    return ordered[math.ceil(0.8 * len(ordered)) - 1]


@dataclass(frozen=True)
class Paces:
    """What was measured on one kind of device, ready to estimate from."""

    past: Sequence[Pace] = ()
    """Of past runs, a run each."""
    probes: Sequence[Pace] = ()
    """Of probes with the torch and the threads of now."""
    torch: str = ""
    """The version that runs will be trained with."""
    errors: Mapping[Source, Sequence[float]] = field(default_factory=dict)
    """Of estimates whose truth is known: how far off each was, as a fraction of the truth."""
    _with_threads: dict[range, Paces] = field(default_factory=dict, repr=False, compare=False)
    """What `with_threads` has found so far."""

    def with_threads(self, allowed: range) -> Paces:
        """Those that were measured on one of these numbers of threads."""
        if allowed not in self._with_threads:
            past, probes = (
                [pace for pace in paces if pace.num_threads in allowed] for paces in (self.past, self.probes)
            )
            self._with_threads[allowed] = Paces(past=past, probes=probes, torch=self.torch, errors=self.errors)
        return self._with_threads[allowed]

    def estimate(self, spec: RunSpec, precision: Precision, *, num_train: int, num_test: int) -> Estimate | None:
        """What a run will take; None where nothing that was measured is like it.

        Past runs of the very same workload come first, for they measured whole epochs; then a probe; then past runs
        of the network nearest in multiply-accumulates.

        Args:
            spec: What is to be trained.
            precision: What it is computed in: never AUTO.
            num_train: Training images that its dataset holds.
            num_test: Test images that it holds.
        """
        workload = Workload.of(spec, precision)
        network: str | None = None
        if paces := self.past_of(workload):
            source = Source.HISTORY
        elif paces := [pace for pace in self.probes if pace.workload == workload][-1:]:
            source = Source.PROBE
        elif near := nearest(workload, self.past):
            source, network = Source.SCALED, label(near[0].workload.model)
            paces = [scaled(pace, workload) for pace in near]
        else:
            return None
        images = spec.data.train_images or num_train, spec.data.test_images or num_test
        per_epoch = statistics.median(epoch_seconds(pace, *images) for pace in paces)
        to_begin = statistics.median(pace.seconds_to_begin for pace in paces)
        return Estimate(
            seconds_per_epoch=per_epoch,
            total_seconds=to_begin + spec.recipe.epochs * per_epoch,
            error_percent=100 * self.error(source, paces),
            source=source,
            num_runs=0 if source is Source.PROBE else len(paces),
            network=network,
        )

    def past_of(self, workload: Workload) -> list[Pace]:
        """Past runs of a workload: with the torch of now, or with any where there are none such."""
        found = [pace for pace in self.past if pace.workload == workload]
        return [pace for pace in found if pace.torch == self.torch] or found

    def error(self, source: Source, paces: Sequence[Pace]) -> float:
        """How far off an estimate from some paces may be, as a fraction of the truth."""
        known = self.errors.get(source, ())
        if len(known) >= FEWEST_TRUTHS:
            expected = upper(known)
        elif source is Source.SCALED and self.scaling_errors:
            expected = upper(self.scaling_errors)
        else:
            expected = ERROR_BEFORE_ANY_TRUTH[source]
        spreads = [pace.spread for pace in paces]
        if len(paces) > 1:
            steps = [pace.seconds_per_step for pace in paces]
            spreads.append(statistics.stdev(steps) / statistics.mean(steps))
        return max(expected, max(spreads), LEAST_ERROR)

    @functools.cached_property
    def scaling_errors(self) -> list[float]:
        """How far off each network's pace would have been, had it been scaled from the nearest one of another size."""
        found = []
        for workload in {pace.workload for pace in self.past}:
            others = [pace for pace in self.past if factor_apart(pace.workload.model, workload.model) >= ANOTHER_SIZE]
            if near := nearest(workload, others):
                truth = statistics.median(pace.seconds_per_step for pace in self.past if pace.workload == workload)
                guess = statistics.median(scaled(pace, workload).seconds_per_step for pace in near)
                found.append(abs(guess / truth - 1))
        return found


def nearest(workload: Workload, past: Sequence[Pace]) -> list[Pace]:
    """Past runs in the same precision of the network that is nearest in work; of several batch sizes the nearest."""
    comparable = [
        pace
        for pace in past
        if pace.workload.precision == workload.precision
        and factor_apart(pace.workload.model, workload.model) <= MAX_FACTOR_APART
    ]
    if not comparable:
        return []

    def distance(pace: Pace) -> tuple[bool, float, bool, float]:
        other = pace.workload
        return (
            other.checkpoint_activations != workload.checkpoint_activations,
            factor_apart(other.model, workload.model),
            other.model.architecture != workload.model.architecture,
            abs(math.log(other.batch_size / workload.batch_size)),
        )

    best = min(comparable, key=distance).workload
    return [pace for pace in comparable if pace.workload == best]


def scaled(pace: Pace, workload: Workload) -> Pace:
    """A pace as another workload would have it, if every multiply-accumulate took equally long."""
    factor = macs(workload.model) / macs(pace.workload.model)
    return msgspec.structs.replace(
        pace,
        workload=workload,
        seconds_per_step=factor * pace.seconds_per_step * workload.batch_size / pace.workload.batch_size,
        seconds_per_evaluated_image=factor * pace.seconds_per_evaluated_image,
    )


def epoch_seconds(pace: Pace, num_train: int, num_test: int) -> float:
    """Seconds of an epoch at a pace: its updates, its evaluation, and the checkpoints that fall into it.

    Args:
        pace: Of the run's own workload.
        num_train: Images trained on; the last, smaller batch takes its share of a step.
        num_test: Images evaluated.
    """
    training = num_train / pace.workload.batch_size * pace.seconds_per_step
    num_checkpoints = 1 + int(training / SECONDS_BETWEEN_CHECKPOINTS)
    return training + num_test * pace.seconds_per_evaluated_image + num_checkpoints * pace.seconds_per_checkpoint


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has ended, what had been expected of it, and what it took."""

    run: str
    estimate: Estimate
    seconds: float

    @property
    def error(self) -> float:
        """How far off the estimate was, as a fraction of the truth."""
        return abs(self.estimate.total_seconds / self.seconds - 1)


def errors_by_source(truths: Iterable[Truth]) -> dict[Source, list[float]]:
    """How far off the estimates of each source were."""
    found: dict[Source, list[float]] = {}
    for truth in truths:
        found.setdefault(truth.estimate.source, []).append(truth.error)
    return found
