"""Differences between two networks; which of them are claims, fixed beforehand; and the seeds missing from them.

By default a comparison makes one claim for each family of networks that differ only in depth: the training error of the
deepest against the shallowest. Degradation is about training error (He et al. 2015).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from console.comparison.groups import Group, by_seed, families, is_pending, measured
from engine.analysis.paired_test import Contrast, Interval, Sign, contrast
from engine.analysis.sequential_test import ALPHA, Looks, Share, alpha_of_look, batch_ends, look_at
from engine.base.errors import UsageError
from engine.runs.journal import Epoch
from engine.runs.run import Run, RunOutcome

Epochs = Mapping[str, Sequence[Epoch]]
"""Epochs by run id; missing runs have none yet."""
TRAINING_ERROR, TEST_ERROR = "train_error_percent", "test_error_percent"
METRICS = {"train-error": TRAINING_ERROR, "test-error": TEST_ERROR}
"""Errors that claims can be about, by their name on the command line."""
IMAGES_BY_DEFAULT = {TRAINING_ERROR: 50_000, TEST_ERROR: 10_000}
Subject = tuple[str, str, str]
"""What a claim is about: keys of network and baseline, and the metric."""


class Doubt(StrEnum):
    """Why a difference over several seeds is undecided."""

    TOO_FEW_SEEDS = "too few seeds"
    """The difference exceeds the spread, but the test needs more seeds."""
    WITHIN_SPREAD = "within the spread"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A seed that counts less than planned, and why."""

    network: str
    seed: int
    why: str
    """Such as "diverged", "stopped early at epoch 5", or "only here": the other network does not have it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Error of one network minus that of a baseline, with the numbers behind a claim."""

    network: Group
    baseline: Group
    metric: str
    contrast: Contrast
    """Mean, standard deviation, t, number of seeds, and epoch of the comparison."""
    tested: Looks | None
    """Looks at it so far if it is a claim; None if it is none."""
    left_out: tuple[LeftOut, ...]
    num_pending: int
    """Seeds whose runs have not ended in both networks."""
    runs: tuple[Run, ...] = ()
    """Runs behind the contrast, of both networks."""

    @property
    def sign(self) -> Sign:
        """What is claimed."""
        if self.tested is not None and self.tested.sign is not Sign.UNDECIDED:
            return self.tested.sign
        return Sign.UNDECIDED if self.contrast.num_seeds > 1 else Sign.ONE_SEED

    @property
    def doubt(self) -> Doubt | None:
        """Why the difference is undecided; None if it is decided or there is only one seed."""
        if self.contrast.std is None or self.sign is not Sign.UNDECIDED:
            return None
        exceeds_spread = abs(self.contrast.mean) > self.contrast.std
        return Doubt.TOO_FEW_SEEDS if exceeds_spread else Doubt.WITHIN_SPREAD

    @property
    def last_epoch(self) -> int:
        """Last epoch of these networks' training."""
        return self.network.spec.recipe.epochs

    def interval(self, num_contrasts: int) -> Interval | None:
        """Interval of the mean: of a claim, the one that agrees with it; else 95 % for all other contrasts at once.

        Args:
            num_contrasts: Number of contrasts shown that are no claims.
        """
        if self.tested is not None:
            return self.tested.interval
        return self.contrast.interval(ALPHA / max(1, num_contrasts))


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim of a comparison: what it is about, and what it may spend at each look."""

    network: Group
    baseline: Group
    metric: str
    shares: tuple[Share, ...]
    num_claims: int
    """Claims that share the error of the newest look."""
    next_alpha: float
    is_current: bool
    """Whether it is still asked; not if a deeper or a shallower network was added since."""

    @property
    def subject(self) -> Subject:
        return subject(self.network, self.baseline, self.metric)


Claims = Mapping[Subject, Claimed]


def subject(network: Group, baseline: Group, metric: str) -> Subject:
    """Return the key of a claim."""
    return network.key, baseline.key, metric


def claims_of(groups: Sequence[Group], epochs: Epochs, wanted: Sequence[str] = ()) -> dict[Subject, Claimed]:
    """Find the claims of a comparison, and divide the error of every look among those there were then.

    Args:
        groups: Networks of the experiment.
        epochs: Epochs by run id.
        wanted: Further claims, as for `parse_claim`.

    Raises:
        UsageError: a wanted claim does not name two networks of the experiment.
    """
    asked = [parse_claim(word, groups) for word in wanted]
    by_depth = [family for family in families(groups) if len(family) > 1]
    taking_part = [*(group for family in by_depth for group in family), *(group for one in asked for group in one[:2])]
    runs = {id(one): one for group in taking_part for one in measured(group, epochs).values()}
    shares: dict[Subject, list[Share]] = {}
    found: dict[Subject, tuple[Group, Group, str]] = {}
    current: dict[Subject, tuple[Group, Group, str]] = {}
    num_looks = num_claims = 0
    for until in batch_ends(runs.values()):
        pairs = [extremes(family, until) for family in by_depth]
        current = {subject(*one): one for one in [*(pair for pair in pairs if pair is not None), *asked]}
        num_claims = len(current) + sum(
            pair is None and len(submitted(family, until)) > 1 for family, pair in zip(by_depth, pairs, strict=True)
        )
        found |= current
        # What counts is what was planned: how runs ended must not decide what a look may spend.
        if any(len(common_seeds(*one[:2], until)) > 1 for one in current.values()):
            num_looks += 1
            alpha = alpha_of_look(num_looks) / num_claims
            for key in current:
                shares.setdefault(key, []).append(Share(num_looks, until, alpha))
    return {
        key: Claimed(
            *one,
            shares=tuple(shares.get(key, ())),
            num_claims=num_claims,
            next_alpha=alpha_of_look(num_looks + 1) / max(1, num_claims),
            is_current=key in current,
        )
        for key, one in found.items()
    }


def extremes(family: Sequence[Group], until: float) -> tuple[Group, Group, str] | None:
    """Deepest and shallowest network of a family that were submitted up to a moment and can be compared."""
    whole = [group for group in submitted(family, until) if not is_broken(group)]
    return (whole[-1], whole[0], TRAINING_ERROR) if len(whole) > 1 else None


def submitted(family: Sequence[Group], until: float) -> list[Group]:
    """Networks of a family of which runs were submitted up to a moment."""
    return [group for group in family if any(run.created_at <= until for run in group.runs)]


def common_seeds(network: Group, baseline: Group, until: float) -> set[int]:
    """Seeds of both networks that were submitted up to a moment."""
    first, second = ({run.spec.seed for run in group.runs if run.created_at <= until} for group in (network, baseline))
    return first & second


def is_broken(group: Group) -> bool:
    """Whether all runs of a network diverged, failed or were lost."""
    return all(run.outcome in (RunOutcome.DIVERGED, RunOutcome.FAILED, RunOutcome.LOST) for run in group.runs)


def parse_claim(word: str, groups: Sequence[Group]) -> tuple[Group, Group, str]:
    """Parse a claim, NETWORK:BASELINE[:METRIC], with names as in the tables: he-plain56:he-plain20:test-error.

    Raises:
        UsageError: it has another form, or an unknown or ambiguous name.
    """
    first, *rest = word.split(":")
    if len(rest) not in (1, 2) or (metric := METRICS.get(rest[1] if len(rest) > 1 else "train-error")) is None:
        metrics = " or ".join(METRICS)
        raise UsageError(f"a claim is NETWORK:BASELINE or NETWORK:BASELINE:METRIC, metric {metrics}; got {word!r}")
    network, baseline = (find_network(name, groups) for name in (first, rest[0]))
    if network is baseline:
        raise UsageError(f"a claim compares two networks, got {word!r}")
    return network, baseline, metric


def find_network(name: str, groups: Sequence[Group]) -> Group:
    """Find the network of a name.

    Raises:
        UsageError: there is none, or several that were trained differently.
    """
    named = [group for group in groups if group.label == name]
    if len(named) == 1:
        return named[0]
    if named:
        raise UsageError(f"{name} was trained in {len(named)} ways here: a claim cannot tell them apart")
    raise UsageError(f"no network is called {name!r} here; there are {', '.join(group.label for group in groups)}")


def compare(
    network: Group, baseline: Group, epochs: Epochs, metric: str, claims: Claims | None = None
) -> Difference | None:
    """Error of a network minus that of a baseline; None without a seed measured in both.

    Args:
        network: Network whose error is the minuend.
        baseline: Network whose error is subtracted.
        epochs: Epochs by run id.
        metric: Field of Epoch, in percent.
        claims: Claims of the comparison; without them nothing is claimed.
    """
    higher, lower = measured(network, epochs), measured(baseline, epochs)
    unit = smallest_difference(network, metric)
    newest = contrast(higher, lower, metric, unit=unit)
    if newest is None:
        return None
    shown, tested = newest, None
    if (claim := (claims or {}).get(subject(network, baseline, metric))) is not None:
        tested = look_at(
            higher,
            lower,
            metric,
            claim.shares,
            num_claims=claim.num_claims,
            next_alpha=claim.next_alpha,
            unit=unit,
        )
        if tested.shown is not None and (tested.sign is not Sign.UNDECIDED or not tested.num_pending):
            shown = replace(tested.shown.contrast, is_final=newest.is_final)
    num_pending = len({seed for runs in (higher, lower) for seed, one in runs.items() if one.is_pending})
    runs = tuple(run for group in (network, baseline) for seed, run in by_seed(group).items() if seed in shown.seeds)
    return Difference(network, baseline, metric, shown, tested, left_out(network, baseline, shown), num_pending, runs)


def smallest_difference(group: Group, metric: str) -> float:
    """Error of one image, in percentage points."""
    data = group.spec.data
    images = {TRAINING_ERROR: data.train_images, TEST_ERROR: data.test_images}.get(metric, data.validation_images)
    return 100 / (images or IMAGES_BY_DEFAULT.get(metric, IMAGES_BY_DEFAULT[TEST_ERROR]))


def left_out(network: Group, baseline: Group, shown: Contrast) -> tuple[LeftOut, ...]:
    """Seeds without a result, with one from an earlier epoch, or of one network only."""
    found = []
    chosen = {id(group): by_seed(group) for group in (network, baseline)}
    for group, other in ((network, baseline), (baseline, network)):
        for seed, run in chosen[id(group)].items():
            if run.stopped_early:
                found.append(LeftOut(group.label, seed, f"stopped early at epoch {run.epoch}"))
            elif not run.succeeded and not is_pending(run):
                found.append(LeftOut(group.label, seed, str(run.outcome or "unreadable")))
            elif run.succeeded and seed not in chosen[id(other)]:
                found.append(LeftOut(group.label, seed, f"not in {other.label}"))
            elif run.succeeded and seed not in shown.seeds and chosen[id(other)][seed].succeeded:
                found.append(LeftOut(group.label, seed, "without a finite error"))
    return tuple(found)
