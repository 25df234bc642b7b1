"""What depth did, and what shortcuts did about it, in numbers; `claim_text` puts them into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from console.comparison.groups import Group, Pair, counterpart, families, measured, pair_groups
from engine.analysis.diagnosis import stem_over_head
from engine.analysis.paired_test import Contrast, Sign, contrast, contrasts_by_epoch
from engine.index.queries import Reader
from engine.runs.journal import Epoch, Gradients
from engine.runs.run import Run, RunOutcome

Epochs = Mapping[str, Sequence[Epoch]]
"""The epochs of each run, by its id; a run that is missing has none yet."""
RunGradients = Mapping[str, Sequence[Gradients]]
"""The layers of each run at initialisation at least, by its id; of a run that is missing nothing was recorded."""


class Claim(StrEnum):
    """What the runs so far allow to be said."""

    DEGRADATION = "degradation"
    NO_DEGRADATION = "no degradation"
    UNDECIDED = "undecided"
    ONE_SEED = "no claim from one seed"


CLAIM_OF_SIGN = {
    Sign.HIGHER: Claim.DEGRADATION,
    Sign.LOWER: Claim.NO_DEGRADATION,
    Sign.UNDECIDED: Claim.UNDECIDED,
    Sign.ONE_SEED: Claim.ONE_SEED,
}
"""By the sign of the training error of the deep plain network minus that of the shallow one."""


class Doubt(StrEnum):
    """Why a difference over several seeds decides nothing."""

    TOO_FEW_SEEDS = "too few seeds"
    """It exceeds their spread, but they are too few for the test."""
    WITHIN_SPREAD = "within the spread"


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much the error of one network exceeds that of a baseline: two labels, and the numbers behind a claim."""

    network: Group
    baseline: Group
    contrast: Contrast
    """Mean, standard deviation, t, number of seeds and the epoch of the comparison."""

    @property
    def doubt(self) -> Doubt | None:
        """Why nothing is decided; None where it is, or where there is one seed."""
        if self.contrast.std is None or self.contrast.sign is not Sign.UNDECIDED:
            return None
        exceeds_spread = abs(self.contrast.mean) > self.contrast.std
        return Doubt.TOO_FEW_SEEDS if exceeds_spread else Doubt.WITHIN_SPREAD

    @property
    def last_epoch(self) -> int:
        """The epoch with which these networks' training ends."""
        return self.network.spec.recipe.epochs


@dataclass(frozen=True, slots=True)
class Verdict:
    """The deepest plain network against the shallowest, and the same two with their shortcuts.

    Source: He et al. 2015, section 1: "adding more layers to a suitably deep model leads to higher training error".
    """

    training: Difference
    """Training error, deep minus shallow: what decides."""
    test: Difference | None
    """The same of the test error, which decides nothing."""
    shortcuts: Difference | None
    """Training error of the two networks with shortcuts, deep minus shallow; None where they were not trained."""
    residual: Group | None
    """The deep network with shortcuts; None where not both depths have such a network."""
    num_updates: int | None
    """Steps of the optimiser after which those two were compared; None where they were not."""
    broken: tuple[Group, ...]
    """Deeper plain networks of which no pair has a training error, because every run diverged or failed."""

    @property
    def deep(self) -> Group:
        return self.training.network

    @property
    def shallow(self) -> Group:
        return self.training.baseline

    @property
    def claim(self) -> Claim:
        return CLAIM_OF_SIGN[self.training.contrast.sign]

    @property
    def is_uncured(self) -> bool:
        """Whether the networks with shortcuts degrade as well, by more than their seeds differ by."""
        return (
            self.claim is Claim.DEGRADATION
            and self.shortcuts is not None
            and self.shortcuts.contrast.sign is Sign.HIGHER
        )


@dataclass(frozen=True, slots=True)
class Conclusion:
    """All that an experiment allows to be claimed so far."""

    verdicts: tuple[Verdict, ...]
    """One for each kind of plain network that was trained at two depths or more, in the order of the groups."""
    shortcut: Difference | None
    """Training error, plain minus residual, of the deepest pair that has one."""


def conclude(groups: Sequence[Group], epochs: Epochs) -> Conclusion:
    """What a set of networks shows.

    Args:
        groups: As `group_runs` makes them.
        epochs: Of their runs.
    """
    found = (verdict_of(family, groups, epochs) for family in families(groups))
    gaps = (gap(pair, epochs, "train_error_percent") for pair in reversed(pair_groups(groups)))
    return Conclusion(
        verdicts=tuple(verdict for verdict in found if verdict is not None),
        shortcut=next((one for one in gaps if one is not None), None),
    )


def verdict_of(family: Sequence[Group], groups: Sequence[Group], epochs: Epochs) -> Verdict | None:
    """The verdict over plain networks that differ in depth alone, shallow before deep."""
    if family[0].model.design.is_residual:
        return None
    started = [group for group in family if any(one.epochs for one in measured(group, epochs).values())]
    if not started:
        return None
    shallow, *deeper = started
    for deep in reversed(deeper):
        training = compare(deep, shallow, epochs, "train_error_percent")
        if training is None:
            continue
        residual, shallow_residual = (counterpart(groups, group) for group in (deep, shallow))
        shortcuts, num_updates = None, None
        if residual is not None and shallow_residual is not None:
            shortcuts = compare(residual, shallow_residual, epochs, "train_error_percent")
            num_updates = None if shortcuts is None else updates(residual, epochs, shortcuts.contrast.epoch)
        return Verdict(
            training=training,
            test=compare(deep, shallow, epochs, "test_error_percent"),
            shortcuts=shortcuts,
            residual=None if shallow_residual is None else residual,
            num_updates=num_updates,
            broken=tuple(group for group in family if group.model.depth > deep.model.depth and is_broken(group)),
        )
    return None


def compare(network: Group, baseline: Group, epochs: Epochs, metric: str) -> Difference | None:
    """By how much an error of a network exceeds that of a baseline; None where no seed of both has shown any."""
    found = contrast(measured(network, epochs), measured(baseline, epochs), metric)
    return None if found is None else Difference(network, baseline, found)


def gap(pair: Pair, epochs: Epochs, metric: str) -> Difference | None:
    """By how much an error of the plain network of a pair exceeds the residual one's."""
    return compare(pair.plain, pair.residual, epochs, metric)


def gap_by_epoch(pair: Pair, epochs: Epochs, metric: str) -> list[Contrast]:
    """The gap after every epoch, over the seeds that both networks of a pair have there."""
    plain, residual = (
        {seed: one.epochs for seed, one in measured(group, epochs).items()} for group in (pair.plain, pair.residual)
    )
    return contrasts_by_epoch(plain, residual, metric)


def updates(group: Group, epochs: Epochs, epoch: int) -> int | None:
    """Steps of the optimiser up to the end of an epoch; None where no seed of the network has come so far."""
    return next((row.step for run in group.runs for row in epochs.get(run.id, ()) if row.epoch == epoch), None)


def is_broken(group: Group) -> bool:
    """Whether no seed of a network came to an end."""
    return all(run.outcome in (RunOutcome.DIVERGED, RunOutcome.FAILED, RunOutcome.LOST) for run in group.runs)


def stem_ratios(group: Group, gradients: RunGradients) -> list[float]:
    """The stem's gradient norm over the head's at initialisation, of every seed for which both were recorded."""
    ratios = (stem_over_head(gradients.get(run.id, ()), 0) for run in group.runs)
    return [ratio for ratio in ratios if ratio is not None]


def read_epochs(reader: Reader, runs: Sequence[Run]) -> dict[str, list[Epoch]]:
    """All epochs of some runs, by id."""
    return {run.id: reader.epochs(run.id) for run in runs}


def read_gradients(reader: Reader, runs: Sequence[Run]) -> dict[str, list[Gradients]]:
    """The gradients of some runs at initialisation and when they were last measured, by id."""
    return {run.id: reader.first_and_newest_gradients(run.id) for run in runs}
