"""What depth did, and what shortcuts did about it: one line with its evidence, which claims nothing from one seed."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from console.comparison.groups import Group, counterpart, families, measured, pair_groups
from engine.analysis.diagnosis import Symptom, degradation, diagnose, power, stem_over_head
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


Gradients = Mapping[str, Sequence[GradientRow]]
"""Of the layers of each run at initialisation at least, by its id; of one that is missing nothing was recorded."""


def degradation_words(found: Sequence[Verdict], gradients: Gradients) -> list[str]:
    """A finding for every verdict that claims degradation, and behind it the gradients as they were, in numbers.

    The numbers stand there whether or not they reach the threshold of a finding of their own: that is for runs.

    Args:
        found: Verdicts of any claim.
        gradients: Of the runs of their networks.
    """
    lines = []
    for verdict in found:
        if verdict.claim is Claim.DEGRADATION:
            words = f"trains {compared(verdict.training)} than {verdict.shallow.label}, n={verdict.training.num_seeds}"
            lines.append(f"{verdict.deep.label}: {verdict.claim}: {words}")
            lines += beginning_words(verdict, gradients)
    return lines


def diagnosis_lines(groups: Sequence[Group], epochs: Epochs, gradients: Gradients) -> list[str]:
    """A line for every network with diagnoses, and of how many of its runs each: also of those that succeeded.

    Args:
        groups: As `group_runs` makes them.
        epochs: Of their runs, by id.
        gradients: Of their layers, by id; where they are missing, nothing is said of them.
    """
    lines = []
    for group in groups:
        counts = Counter(
            finding.symptom
            for run in group.runs
            for finding in diagnose(run, epochs.get(run.id, ()), gradients.get(run.id, ()))
        )
        total = len(group.runs)
        of = f"of {total} {'run' if total == 1 else 'runs'}"
        if words := [f"{counts[symptom]} {of} {symptom}" for symptom in Symptom if counts[symptom]]:
            lines.append(f"{group.label}: {', '.join(words)}")
    return lines


def beginning_words(verdict: Verdict, gradients: Gradients) -> list[str]:
    """The gradient of the deeper plain network at initialisation, against that of the residual one; else empty."""
    if not (plain := beginnings(verdict.deep, gradients)):
        return []
    words = f"{verdict.deep.label}: stem gradient {ratio_words(plain)} the head's at initialisation{num_words(plain)}"
    if verdict.counterparts is not None:
        residual = verdict.counterparts[0]
        if ratios := beginnings(residual, gradients):
            words += f", against {ratio_words(ratios)} in {residual.label}{num_words(ratios)}"
    return [words]


def beginnings(group: Group, gradients: Gradients) -> list[float]:
    """The stem's gradient norm over the head's at initialisation, of every seed of which both were recorded."""
    ratios = (stem_over_head(gradients.get(run.id, ()), 0) for run in group.runs)
    return [ratio for ratio in ratios if ratio is not None]


def ratio_words(ratios: Sequence[float]) -> str:
    """The median of some ratios: 0.25 times, 2.0 times, 37 times, 2e4 times."""
    ratio = statistics.median(ratios)
    if ratio and not 1e-2 <= ratio < 1e3:
        return f"{power(ratio)} times"
    return f"{ratio:.{2 if ratio < 1 else 1 if ratio < 10 else 0}f} times"


def num_words(ratios: Sequence[float]) -> str:
    return f" (n={len(ratios)})" if len(ratios) == 1 else f" (median, n={len(ratios)})"
