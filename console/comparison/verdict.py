"""Verdicts on the effect of depth and shortcuts, in numbers; `claim_text` turns them into sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from console.comparison.claims import (
    TEST_ERROR,
    TRAINING_ERROR,
    Claims,
    Difference,
    Epochs,
    claims_of,
    compare,
    is_broken,
    subject,
)
from console.comparison.groups import Group, Pair, counterpart, families, measured, pair_groups
from engine.analysis.diagnosis import stem_over_head
from engine.analysis.paired_test import Contrast, Sign, contrasts_by_epoch
from engine.index.queries import Reader
from engine.runs.journal import Epoch, Gradients
from engine.runs.run import Run

RunGradients = Mapping[str, Sequence[Gradients]]
"""Layer measurements by run id, at least those at initialisation; missing runs have none."""


class Claim(StrEnum):
    """Claim that the runs so far support."""

    DEGRADATION = "degradation"
    NO_DEGRADATION = "no degradation"
    UNDECIDED = "undecided"
    ONE_SEED = "no claim from one seed"
    SO_FAR = "so far"
    """Nothing yet: seeds are pending."""


CLAIM_OF_SIGN = {
    Sign.HIGHER: Claim.DEGRADATION,
    Sign.LOWER: Claim.NO_DEGRADATION,
    Sign.UNDECIDED: Claim.UNDECIDED,
    Sign.ONE_SEED: Claim.ONE_SEED,
}
"""By the sign of the deep plain network's training error minus the shallow one's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Comparison of the deepest plain network with the shallowest, and of the same two with shortcuts.

    Source: He et al. 2015, section 1: "adding more layers to a suitably deep model leads to higher training error".
    """

    training: Difference
    """Training error, deep minus shallow, which decides the claim."""
    test: Difference | None
    """The same for test error, which does not affect the claim."""
    shortcuts: Difference | None
    """Training error of the two networks with shortcuts, deep minus shallow; None if they were not trained."""
    residual: Group | None
    """The deep network with shortcuts; None unless both depths have one."""
    num_updates: int | None
    """Optimizer steps after which those two were compared; None if they were not."""
    broken: tuple[Group, ...]
    """Deeper plain networks whose runs all diverged or failed, so that they cannot be compared."""

    @property
    def deep(self) -> Group:
        return self.training.network

    @property
    def shallow(self) -> Group:
        return self.training.baseline

    @property
    def claim(self) -> Claim:
        training = self.training
        if training.sign in (Sign.UNDECIDED, Sign.ONE_SEED) and (training.tested is None or training.num_pending):
            return Claim.SO_FAR
        return CLAIM_OF_SIGN[training.sign]

    @property
    def is_uncured(self) -> bool:
        """Whether the networks with shortcuts degrade significantly, too."""
        return self.claim is Claim.DEGRADATION and self.shortcuts is not None and self.shortcuts.sign is Sign.HIGHER


@dataclass(frozen=True, slots=True)
class Conclusion:
    """All claims an experiment supports so far."""

    verdicts: tuple[Verdict, ...]
    """One for each family of plain networks trained at two or more depths, in the order of the groups."""
    shortcut: Difference | None
    """Training error, plain minus residual, of the deepest comparable pair."""
    others: tuple[Difference, ...]
    """Claims that are part of no verdict: of residual networks alone, and those asked for."""
    num_contrasts: int
    """Contrasts shown that are no claims; their intervals hold together."""
    claims: Claims
    """Claims of the comparison, for gaps that are among them."""

    @property
    def claimed(self) -> tuple[Difference, ...]:
        """All claims, decided or not."""
        of_verdicts = (one for verdict in self.verdicts for one in (verdict.training, verdict.shortcuts))
        return tuple(one for one in (*of_verdicts, *self.others) if one is not None and one.tested is not None)


def conclude(groups: Sequence[Group], epochs: Epochs, wanted: Sequence[str] = ()) -> Conclusion:
    """Draw conclusions from a set of networks.

    Args:
        groups: Networks of an experiment.
        epochs: Epochs by run id.
        wanted: Claims beside the default ones, as for `parse_claim`.

    Raises:
        UsageError: a wanted claim does not name two of the networks.
    """
    claims = claims_of(groups, epochs, wanted)
    found = (verdict_of(family, groups, epochs, claims) for family in families(groups))
    verdicts = tuple(verdict for verdict in found if verdict is not None)
    pairs = pair_groups(groups)
    gaps = (compare(pair.plain, pair.residual, epochs, TRAINING_ERROR, claims) for pair in reversed(pairs))
    shown = [one for verdict in verdicts for one in (verdict.training, verdict.shortcuts, verdict.test) if one]
    told = {subject(one.network, one.baseline, one.metric) for one in shown if one.metric == TRAINING_ERROR}
    others = (
        compare(claim.network, claim.baseline, epochs, claim.metric, claims)
        for key, claim in claims.items()
        if key not in told
    )
    return Conclusion(
        verdicts=verdicts,
        shortcut=next((one for one in gaps if one is not None), None),
        others=tuple(one for one in others if one is not None and is_told(one, claims)),
        num_contrasts=2 * len(pairs) + sum(one.tested is None for one in shown),
        claims=claims,
    )


def is_told(difference: Difference, claims: Claims) -> bool:
    """Whether a claim is shown; one that is no longer asked is shown only if it was decided."""
    claim = claims[subject(difference.network, difference.baseline, difference.metric)]
    return claim.is_current or difference.sign in (Sign.HIGHER, Sign.LOWER)


def verdict_of(family: Sequence[Group], groups: Sequence[Group], epochs: Epochs, claims: Claims) -> Verdict | None:
    """Verdict on plain networks that differ only in depth, shallow before deep; None if they cannot be compared."""
    if family[0].model.design.is_residual:
        return None
    started = [group for group in family if any(one.epochs for one in measured(group, epochs).values())]
    whole = [group for group in started if not is_broken(group)]
    started = whole if len(whole) > 1 else started
    if not started:
        return None
    shallow, *deeper = started
    for deep in reversed(deeper):
        training = compare(deep, shallow, epochs, TRAINING_ERROR, claims)
        if training is None:
            continue
        residual, shallow_residual = (counterpart(groups, group) for group in (deep, shallow))
        shortcuts, num_updates = None, None
        if residual is not None and shallow_residual is not None:
            shortcuts = compare(residual, shallow_residual, epochs, TRAINING_ERROR, claims)
            num_updates = None if shortcuts is None else updates(residual, epochs, shortcuts.contrast.epoch)
        return Verdict(
            training=training,
            test=compare(deep, shallow, epochs, TEST_ERROR, claims),
            shortcuts=shortcuts,
            residual=None if shallow_residual is None else residual,
            num_updates=num_updates,
            broken=tuple(group for group in family if group.model.depth > deep.model.depth and is_broken(group)),
        )
    return None


def gap(pair: Pair, epochs: Epochs, metric: str, claims: Claims | None = None) -> Difference | None:
    """Error of a pair's plain network minus the residual one's.

    Args:
        pair: Plain and residual network.
        epochs: Epochs by run id.
        metric: Field of Epoch, in percent.
        claims: Claims of the comparison; a gap that is one, in either direction, has the claim's interval.
    """
    known = dict(claims or {})
    if (turned := known.get(subject(pair.residual, pair.plain, metric))) is not None:
        known[subject(pair.plain, pair.residual, metric)] = replace(turned, network=pair.plain, baseline=pair.residual)
    return compare(pair.plain, pair.residual, epochs, metric, known)


def gap_by_epoch(pair: Pair, epochs: Epochs, metric: str, seeds: Sequence[int] | None = None) -> list[Contrast]:
    """Gaps of a pair after every epoch.

    Args:
        pair: Plain and residual network.
        epochs: Epochs by run id.
        metric: Field of Epoch, in percent.
        seeds: Seeds to pair, at the epochs that all of them have in both networks; None takes those that both have at
            each epoch.
    """
    plain, residual = (
        {seed: one.epochs for seed, one in measured(group, epochs).items() if seeds is None or seed in seeds}
        for group in (pair.plain, pair.residual)
    )
    found = contrasts_by_epoch(plain, residual, metric)
    return found if seeds is None else [one for one in found if one.num_seeds == len(seeds)]


def updates(group: Group, epochs: Epochs, epoch: int) -> int | None:
    """Optimizer steps up to the end of an epoch; None if no seed of the network has reached it."""
    return next((row.step for run in group.runs for row in epochs.get(run.id, ()) if row.epoch == epoch), None)


def stem_ratios(group: Group, gradients: RunGradients) -> list[float]:
    """Ratios of the stem's gradient norm to the head's at initialisation, one for each seed with both recorded."""
    ratios = (stem_over_head(gradients.get(run.id, ()), 0) for run in group.runs)
    return [ratio for ratio in ratios if ratio is not None]


def read_epochs(reader: Reader, runs: Sequence[Run]) -> dict[str, list[Epoch]]:
    """Read all epochs of runs, by run id."""
    return {run.id: reader.epochs(run.id) for run in runs}


def read_gradients(reader: Reader, runs: Sequence[Run]) -> dict[str, list[Gradients]]:
    """Read the gradients of runs at initialisation and at their last measurement, by run id."""
    return {run.id: reader.first_and_newest_gradients(run.id) for run in runs}
