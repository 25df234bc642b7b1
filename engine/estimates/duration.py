"""Estimates of a run's duration, from past runs on this machine and short probes. Does not import torch.

An epoch consists of updates, one evaluation and checkpoints, each timed separately. The stated error of an estimate is
the 80th percentile of past errors, or a cautious default until enough are known.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import msgspec

from engine.base.decoding import Amount, Count, Moment
from engine.runs.journal import SECONDS_BETWEEN_CHECKPOINTS
from engine.spec.estimate import Estimate, Source
from engine.spec.precision import Precision
from engine.spec.run import RunSpec
from models.catalog import ModelSpec, label
from models.cost import forward_macs

MAX_FACTOR_APART = 30.0
"""Limit on the ratio of work per image between a past run and the run it is scaled to."""
FEWEST_TRUTHS = 3
"""Number of known outcomes needed before past errors are used."""

ANOTHER_SIZE = 1.5
"""Minimum ratio of work between networks for testing how well durations scale with work; a plain network and its
residual counterpart are too close."""


ERROR_BEFORE_ANY_TRUTH = {Source.HISTORY: 0.10, Source.PROBE: 0.15, Source.SCALED: 0.50}
LEAST_ERROR = 0.02


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that determines the time per step on a device."""

    model: ModelSpec
    batch_size: Count
    precision: Precision
    """Resolved precision, never AUTO."""
    augment: bool
    deterministic: bool
    checkpoint_activations: bool

    @classmethod
    def of(cls, spec: RunSpec, precision: Precision) -> Self:
        """Build the workload of a run in a resolved precision."""
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
    """Measured speed of a workload on a device, from one past run or one probe."""

    workload: Workload
    device_name: str
    """Model name of the device."""
    torch: str
    """Version of torch in use."""
    num_threads: Count
    seconds_per_step: Amount
    """Time of an update with a full batch."""
    seconds_per_evaluated_image: Amount
    seconds_per_checkpoint: Amount
    seconds_to_begin: Amount
    """Extra time of the first update."""
    spread: Amount
    """Relative spread of repeated measurements; 0 if there was only one."""
    at: Moment = 0.0
    """Time of the measurement, seconds since 1970."""


def factor_apart(one: ModelSpec, other: ModelSpec) -> float:
    """Return the ratio of two networks' work, at least 1."""
    ratio = forward_macs(one) / forward_macs(other)
    return max(ratio, 1 / ratio)


def upper(errors: Iterable[float]) -> float:
    """Return the bound that four of five errors meet; the largest if there are fewer than five.

    Raises:
        ValueError: there are none.
    """
    ordered = sorted(errors)
    if not ordered:
        raise ValueError("errors must not be empty")
    return ordered[math.ceil(0.8 * len(ordered)) - 1]


@dataclass(frozen=True)
class Paces:
    """All measurements on one kind of device."""

    past: Sequence[Pace] = ()
    """Measurements from past runs, one each."""
    probes: Sequence[Pace] = ()
    """Probes with the current torch and number of threads."""
    torch: str = ""
    """Version of torch that new runs will use."""
    errors: Mapping[Source, Sequence[float]] = field(default_factory=dict)
    """Relative errors of past estimates with a known outcome."""
    _with_threads: dict[range, Paces] = field(default_factory=dict, repr=False, compare=False)
    """Cache of `with_threads`."""

    def with_threads(self, allowed: range) -> Paces:
        """Select the measurements made with an allowed number of threads."""
        if allowed not in self._with_threads:
            past, probes = (
                [pace for pace in paces if pace.num_threads in allowed] for paces in (self.past, self.probes)
            )
            self._with_threads[allowed] = Paces(past=past, probes=probes, torch=self.torch, errors=self.errors)
        return self._with_threads[allowed]

    def estimate(self, spec: RunSpec, precision: Precision, *, num_train: int, num_test: int) -> Estimate | None:
        """Estimate a run's duration; None without a comparable measurement.

        Prefers past runs of the same workload, which timed whole epochs; then a probe; then past runs of the network
        closest in multiply-accumulates.

        Args:
            precision: Resolved precision, never AUTO.
            num_train: Training images in the dataset.
            num_test: Test images in the dataset.
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
        sizes = spec.data.sizes(num_train=num_train, num_test=num_test)
        per_epoch = statistics.median(epoch_seconds(pace, sizes.train, sizes.each_epoch) for pace in paces)
        at_the_end = sizes.once * statistics.median(pace.seconds_per_evaluated_image for pace in paces)
        to_begin = statistics.median(pace.seconds_to_begin for pace in paces)
        return Estimate(
            seconds_per_epoch=per_epoch,
            total_seconds=to_begin + spec.recipe.epochs * per_epoch + at_the_end,
            error_percent=100 * self.error(source, paces),
            source=source,
            num_runs=0 if source is Source.PROBE else len(paces),
            network=network,
        )

    def past_of(self, workload: Workload) -> list[Pace]:
        """Select past runs of a workload, with the current torch if there are any."""
        found = [pace for pace in self.past if pace.workload == workload]
        return [pace for pace in found if pace.torch == self.torch] or found

    def error(self, source: Source, paces: Sequence[Pace]) -> float:
        """Return the expected relative error of an estimate from some measurements."""
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
        """Relative error of scaling to each known network from the closest one of another size."""
        found = []
        for workload in {pace.workload for pace in self.past}:
            others = [pace for pace in self.past if factor_apart(pace.workload.model, workload.model) >= ANOTHER_SIZE]
            if near := nearest(workload, others):
                truth = statistics.median(pace.seconds_per_step for pace in self.past if pace.workload == workload)
                guess = statistics.median(scaled(pace, workload).seconds_per_step for pace in near)
                found.append(abs(guess / truth - 1))
        return found


def nearest(workload: Workload, past: Sequence[Pace]) -> list[Pace]:
    """Select past runs, in the same precision, of the network closest in work, then in batch size."""
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
    """Scale a measurement to another workload in proportion to multiply-accumulates."""
    factor = forward_macs(workload.model) / forward_macs(pace.workload.model)
    return msgspec.structs.replace(
        pace,
        workload=workload,
        seconds_per_step=factor * pace.seconds_per_step * workload.batch_size / pace.workload.batch_size,
        seconds_per_evaluated_image=factor * pace.seconds_per_evaluated_image,
    )


def epoch_seconds(pace: Pace, num_train: int, num_evaluated: int) -> float:
    """Compute the duration of an epoch: updates, evaluation and checkpoints.

    Args:
        pace: Measurement of the run's workload.
        num_train: Training images; a smaller last batch counts proportionally.
        num_evaluated: Images evaluated after the epoch.
    """
    training = num_train / pace.workload.batch_size * pace.seconds_per_step
    num_checkpoints = 1 + int(training / SECONDS_BETWEEN_CHECKPOINTS)
    return training + num_evaluated * pace.seconds_per_evaluated_image + num_checkpoints * pace.seconds_per_checkpoint


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """Estimated and actual duration of a finished run."""

    run: str
    estimate: Estimate
    seconds: float

    @property
    def error(self) -> float:
        """Relative error of the estimate."""
        return abs(self.estimate.total_seconds / self.seconds - 1)


def errors_by_source(truths: Iterable[Truth]) -> dict[Source, list[float]]:
    """Group relative errors of estimates by their source."""
    found: dict[Source, list[float]] = {}
    for truth in truths:
        found.setdefault(truth.estimate.source, []).append(truth.error)
    return found
