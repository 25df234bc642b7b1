"""What depth did, and what shortcuts did about it: one line with its evidence, which claims nothing from one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from console.groups import Group, counterpart, families, measured, pair_groups
from engine.analysis.diagnosis import degradation
from engine.analysis.paired_test import Contrast, Sign, contrast
from engine.index.queries import Reader
from engine.runs.run import EpochRow, GradientRow, Run, RunOutcome
from models import catalog

Epochs = Mapping[str, Sequence[EpochRow]]
"""What was measured of each run, by its id."""


class Claim(StrEnum):
    """What the runs so far allow to be said."""

    DEGRADATION = "degradation"
    NO_DEGRADATION = "no degradation"
    UNDECIDED = "undecided"
    ONE_SEED = "no claim from one seed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The deepest plain network against the shallowest, and the same two with their shortcuts."""

    shallow: Group
    deep: Group
    training: Contrast
    """Training error, deep minus shallow: what decides."""
    test: Contrast | None
    """The same of the test error, which is only told."""
    shortcuts: Contrast | None
    """Training error of the two networks with shortcuts, deep minus shallow; None where they were not trained."""
    counterparts: tuple[Group, Group] | None
    """These two, the deep one first; None where they were not trained."""
    num_updates: int | None
    """Steps of the optimiser after which those two were compared; None where they were not."""
    broken: tuple[Group, ...]
    """Deeper plain networks of which no pair has a training error, because every run diverged or failed."""

    @property
    def claim(self) -> Claim:
        match self.training.sign:
            case Sign.HIGHER:
                return Claim.DEGRADATION
            case Sign.LOWER:
                return Claim.NO_DEGRADATION
            case Sign.UNDECIDED:
                return Claim.UNDECIDED
            case Sign.ONE_SEED:
                return Claim.ONE_SEED
            case _:
                assert_never(self.training.sign)

    @property
    def is_uncured(self) -> bool:
        """Whether the networks with shortcuts degrade as well, by more than their seeds differ by."""
        return self.claim is Claim.DEGRADATION and self.shortcuts is not None and self.shortcuts.sign is Sign.HIGHER

    @property
    def line(self) -> str:
        """The claim with its evidence, in one line."""
        words = f"{self.claim}: {self.deep.label} trains {compared(self.training)} than {self.shallow.label}"
        if self.training.num_seeds > 1:
            words += f", n={self.training.num_seeds}"
        if self.claim is Claim.UNDECIDED:
            words += f" ({undecided_words(self.training)})"
        if self.shortcuts is not None and self.counterparts is not None:
            deep, shallow = self.counterparts
            words += f"; with shortcuts {deep.label} against {shallow.label}: {compared(self.shortcuts)}"
            if self.shortcuts.num_seeds != self.training.num_seeds:
                words += f", n={self.shortcuts.num_seeds}"
            if self.shortcuts.epoch != self.training.epoch:
                words += f" at epoch {self.shortcuts.epoch}"
            if self.is_uncured:
                after = "" if self.num_updates is None else f" after {self.num_updates:,} updates"
                words += f": the shortcut has not cured it here{after}"
        for group in self.broken:
            words += f"; {group.label} {', '.join(sorted({str(run.outcome) for run in group.runs}))}"
        return words + so_far(self.training, self.deep)


def read_epochs(reader: Reader, runs: Sequence[Run]) -> dict[str, list[EpochRow]]:
    """All epochs of some runs, by id."""
    return {run.id: reader.epochs(run.id) for run in runs}


def read_gradients(reader: Reader, runs: Sequence[Run]) -> dict[str, list[GradientRow]]:
    """The gradients of some runs at initialisation and when they were last measured, by id."""
    return {run.id: reader.first_and_newest_gradients(run.id) for run in runs}


def verdicts(groups: Sequence[Group], epochs: Epochs) -> list[Verdict]:
    """One for each kind of plain network that was trained at two depths and more, in the order of the groups.

    Args:
        groups: As `group_runs` makes them.
        epochs: Of their runs; one that is missing has none yet.
    """
    found = (verdict_of(family, groups, epochs) for family in families(groups))
    return [one for one in found if one is not None]


def verdict_line(groups: Sequence[Group], epochs: Epochs) -> str | None:
    """All verdicts in a line, or of a single depth what the shortcut does there; None where nothing can be compared."""
    return "; ".join(one.line for one in verdicts(groups, epochs)) or shortcut_line(groups, epochs)


def shortcut_line(groups: Sequence[Group], epochs: Epochs) -> str | None:
    """What a plain network of the deepest pair loses against the residual one, in a line; None where there is none."""
    for pair in reversed(pair_groups(groups)):
        found = contrast(measured(pair.plain, epochs), measured(pair.residual, epochs), "train_error_percent")
        if found is not None:
            claims = {Sign.ONE_SEED: f"{Claim.ONE_SEED}: ", Sign.UNDECIDED: f"{Claim.UNDECIDED}: "}
            num = f", n={found.num_seeds}" if found.num_seeds > 1 else ""
            words = f"{pair.plain.label} trains {compared(found)} than {pair.residual.label}{num}"
            return claims.get(found.sign, "") + words + so_far(found, pair.plain)
    return None


def so_far(contrast: Contrast, group: Group) -> str:
    """Says at which epoch networks were compared, and why then, where that is not the last; else empty."""
    last = group.spec.recipe.epochs
    if contrast.epoch == last:
        return ""
    why = ", where a run was stopped early" if contrast.is_final else ""
    return f" (at epoch {contrast.epoch} of {last}{why})"


def verdict_of(family: Sequence[Group], groups: Sequence[Group], epochs: Epochs) -> Verdict | None:
    """The verdict over plain networks that differ in depth alone, shallow before deep."""
    if catalog.is_residual(family[0].model.architecture):
        return None
    started = [group for group in family if any(one.epochs for one in measured(group, epochs).values())]
    if not started:
        return None
    shallow, *deeper = started
    for index in reversed(range(len(deeper))):
        deep = deeper[index]
        training = degradation(measured(deep, epochs), measured(shallow, epochs))
        if training is None:
            continue
        first, second = (counterpart(groups, group) for group in (deep, shallow))
        shortcuts, counterparts, num_updates = None, None, None
        if first is not None and second is not None:
            counterparts = (first, second)
            shortcuts = degradation(measured(first, epochs), measured(second, epochs))
        if first is not None and shortcuts is not None:
            num_updates = updates(first, epochs, shortcuts.epoch)
        broken = tuple(group for group in family if group.model.depth > deep.model.depth and is_broken(group))
        test = contrast(measured(deep, epochs), measured(shallow, epochs), "test_error_percent")
        return Verdict(shallow, deep, training, test, shortcuts, counterparts, num_updates, broken)
    return None


def undecided_words(contrast: Contrast) -> str:
    """Why a difference over seeds decides nothing: it is within their spread, or they are too few for a test of it."""
    if contrast.std is not None and abs(contrast.mean) > contrast.std:
        return "too few seeds to tell"
    return "within the spread of the seeds"


def updates(group: Group, epochs: Epochs, epoch: int) -> int | None:
    """Steps of the optimiser that a network had behind it after an epoch; None where no seed has come so far."""
    return next((row.step for run in group.runs for row in epochs.get(run.id, ()) if row.epoch == epoch), None)


def is_broken(group: Group) -> bool:
    """Whether no seed of a network came to an end."""
    return all(run.outcome in (RunOutcome.DIVERGED, RunOutcome.FAILED, RunOutcome.LOST) for run in group.runs)


def compared(contrast: Contrast) -> str:
    """A difference of errors in words: 12.1 ± 0.8 points worse."""
    spread = "" if contrast.std is None else f" ± {contrast.std:.1f}"
    return f"{abs(contrast.mean):.1f}{spread} points {'worse' if contrast.mean > 0 else 'better'}"
