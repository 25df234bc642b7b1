"""What the numbers of a run say about it: each rule with its source and its threshold; torch-free, pure functions.

A rule speaks of what was measured alone, so that a run reads the same while it is trained, when it is done, and from a
copied run directory. `console/comparison/verdict.py` says what several networks show together.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from engine.runs.run import EpochRow, GradientRow, Run, RunOutcome

GUESSING_SHARE = 0.01
"""A training loss less than this share below ln(classes) is what guessing costs: the network knows no class."""
NOT_LEARNING_EPOCHS = 5
"""In a row. Deep networks need some before they start: He et al. 2015, section 4.2, footnote 5, saw their 110 layers
"start converging (<90 % error) after several epochs" at a rate of 0.1."""
STOPPING_EPOCHS = 2 * NOT_LEARNING_EPOCHS
"""In a row, before a run is ended for it: what is stopped wrongly costs more than what is stopped late."""
VANISHING_RATIO = 1e-3
"""Of the gradient norms of the first layer and the head. With batch normalisation and shortcuts they stay within a
factor of about ten of each other; three powers of ten leave the layers learning at rates of different worlds."""
EXPLODING_RATIO = 1e3
PLATEAU_EPOCHS = 10
"""The patience of PyTorch's and of Keras's ReduceLROnPlateau."""
PLATEAU_SHARE = 0.01
"""By which the training loss has to fall within that time; theirs is 1e-4, which noise alone exceeds."""
PLATEAU_ERROR_PERCENT = 5.0
"""Training error below which a standstill is the end of the work, not an obstacle."""
OVERFITTING_STRIP = 5
"""Epochs that are looked at together; Prechelt's k."""
OVERFITTING_RISE = 0.2
"""Of the test loss above its lowest: Prechelt's GL, of which he tries 1 to 5 %. More here, since the test loss of a
batch-normalised network at a high rate jumps by more from epoch to epoch."""


class Symptom(StrEnum):
    """What can be wrong with a run, the gravest first."""

    DIVERGED = "diverged"
    NOT_LEARNING = "not learning"
    VANISHING_GRADIENT = "vanishing gradient"
    EXPLODING_GRADIENT = "exploding gradient"
    PLATEAU = "plateau"
    OVERFITTING = "overfitting"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that applies to a run, with what it goes by."""

    symptom: Symptom
    evidence: str
    """In words, with the numbers."""
    epoch: int
    """At which it was seen; 0 is the initialisation."""


def diagnose(run: Run, epochs: Sequence[EpochRow], gradients: Sequence[GradientRow] = ()) -> list[Finding]:
    """All that is wrong with a run, the gravest first; empty where nothing is.

    Args:
        run: For its classes, and for how it ended.
        epochs: Its epochs, oldest first.
        gradients: Of its layers, of any epochs; where none were recorded, nothing is said of them.
    """
    found: list[Finding | None]
    if run.outcome is RunOutcome.DIVERGED or (epochs and epochs[-1].train_loss is None):
        found = [diverged(epochs)]
    else:
        stuck = not_learning(epochs, run.spec.model.num_classes)
        # Of a network that learns nothing, the other two would say the same again.
        found = [stuck] if stuck is not None else [plateau(epochs), overfitting(epochs)]
    found.append(gradient_flow(gradients))
    return sorted((one for one in found if one is not None), key=lambda one: list(Symptom).index(one.symptom))


def sentence(findings: Sequence[Finding]) -> str:
    """Findings in a line: what they are called, which a narrow line must not lose, then what was seen; else empty."""
    if not findings:
        return ""
    return f"{', '.join(one.symptom for one in findings)}: {'; '.join(one.evidence for one in findings)}"


def diverged(epochs: Sequence[EpochRow]) -> Finding:
    """A loss that was not finite, in the last epoch that was measured or in the one behind it.

    Args:
        epochs: Of a run that is known to have diverged; a worker stops it before it measures the epoch.
    """
    finite = [row.epoch for row in epochs if row.train_loss is not None]
    epoch = (finite[-1] if finite else 0) + 1
    return Finding(symptom=Symptom.DIVERGED, evidence=f"the loss was not finite in epoch {epoch}", epoch=epoch)


def not_learning(epochs: Sequence[EpochRow], num_classes: int) -> Finding | None:
    """A training loss that has stayed where guessing leaves it for NOT_LEARNING_EPOCHS."""
    flat = flat_epochs([row.train_loss for row in epochs], num_classes)
    if flat < NOT_LEARNING_EPOCHS:
        return None
    return Finding(
        symptom=Symptom.NOT_LEARNING,
        evidence=flat_words([row.train_loss for row in epochs[-flat:]], num_classes),
        epoch=epochs[-1].epoch,
    )


def flat_epochs(losses: Sequence[float | None], num_classes: int) -> int:
    """How many of the newest epochs in a row cost what guessing costs, or more.

    Args:
        losses: Training loss in nats per image, an epoch each, oldest first; None where it was not finite.
        num_classes: Of which guessing finds one at a loss of ln(num_classes).
    """
    least = (1 - GUESSING_SHARE) * math.log(num_classes)
    count = 0
    for loss in reversed(losses):
        if loss is None or loss < least:
            break
        count += 1
    return count


def flat_words(losses: Sequence[float | None], num_classes: int) -> str:
    """What is said of so many epochs without learning."""
    chance = math.log(num_classes)
    within = all(loss is not None and loss <= (1 + GUESSING_SHARE) * chance for loss in losses)
    above = "" if within else " or above it"
    share = f"{100 * GUESSING_SHARE:.0f} %"
    return f"loss within {share} of guessing's{above}, ln {num_classes} = {chance:.3f}, for {len(losses)} epochs"


def gradient_flow(gradients: Sequence[GradientRow]) -> Finding | None:
    """A first layer whose gradient is thousands of times smaller or larger than the head's, now or at initialisation.

    What was measured last goes first. A network that began so has been pushed about by its first steps, and what is
    measured later shows the wreck rather than the cause.

    Source: Glorot and Bengio 2010, section 4.2 (signals that shrink or grow from layer to layer on their way back);
    that batch normalisation without shortcuts makes them grow with depth: Yang et al. 2019, "A mean field theory of
    batch normalization". Two layers stand for all between them, and norms of whole layers for their signal.
    """
    for epoch in sorted({0, max((row.epoch for row in gradients), default=0)}, reverse=True):
        ratio = stem_over_head(gradients, epoch)
        if ratio is not None and (found := flow_finding(ratio, epoch)) is not None:
            return found
    return None


def flow_finding(ratio: float, epoch: int) -> Finding | None:
    """What the stem's gradient over the head's at an epoch is called; None where they are of one order."""
    when = " at initialisation" if epoch == 0 else ""
    if ratio < VANISHING_RATIO:
        words = f"stem gradient {power(ratio)} of the head's{when}" if ratio else f"stem gradient 0{when}"
        return Finding(symptom=Symptom.VANISHING_GRADIENT, evidence=words, epoch=epoch)
    if ratio > EXPLODING_RATIO:
        words = f"stem gradient {power(ratio)} times the head's{when}"
        return Finding(symptom=Symptom.EXPLODING_GRADIENT, evidence=words, epoch=epoch)
    return None


def stem_over_head(gradients: Sequence[GradientRow], epoch: int) -> float | None:
    """The gradient norm of the first layer over the head's at an epoch; None where it was not recorded or not finite.

    Args:
        gradients: Of a run's layers, of any epochs.
        epoch: 0 is the initialisation.
    """
    layers = sorted((row for row in gradients if row.epoch == epoch), key=lambda row: row.position)
    if len(layers) < 2:
        return None
    stem, head = layers[0].gradient_norm, layers[-1].gradient_norm
    return None if stem is None or head is None or not head > 0 else stem / head


def power(ratio: float) -> str:
    """A ratio in one digit: 3e-9, 2e4."""
    digit, exponent = f"{ratio:.0e}".split("e")
    return f"{digit}e{int(exponent)}"


def plateau(epochs: Sequence[EpochRow]) -> Finding | None:
    """A training loss that has stopped falling while the training error is still high.

    Source: ReduceLROnPlateau of PyTorch, with PLATEAU_SHARE for its threshold.
    """
    losses = [row.train_loss for row in epochs if row.train_loss is not None]
    error = epochs[-1].train_error_percent if epochs else None
    if error is None or error < PLATEAU_ERROR_PERCENT:
        return None
    best, since = math.inf, 0
    for loss in losses:
        if loss < best * (1 - PLATEAU_SHARE):
            best, since = loss, 0
        else:
            since += 1
    if since < PLATEAU_EPOCHS:
        return None
    share = f"{100 * PLATEAU_SHARE:.0f} %"
    words = (
        f"training loss {best:.4g} has fallen by less than {share} in {since} epochs, at {error:.1f} % training error"
    )
    return Finding(symptom=Symptom.PLATEAU, evidence=words, epoch=epochs[-1].epoch)


def overfitting(epochs: Sequence[EpochRow]) -> Finding | None:
    """A test loss that has risen while the training loss went on falling.

    Even the lowest test loss of the last strip has to lie OVERFITTING_RISE above the lowest of all, and the mean
    training loss of that strip below half of what it was when the test loss was lowest.

    Source: Prechelt 1998, "Early stopping - but when?" (generalisation loss, training strips). What is called the
    validation set there is the test set here: the finding describes a run and selects nothing.
    """
    rows = [row for row in epochs if row.test_loss is not None and row.train_loss is not None]
    if len(rows) < 2 * OVERFITTING_STRIP:
        return None
    best = min(rows, key=test_loss)
    strip = rows[-OVERFITTING_STRIP:]
    lowest, train = min(map(test_loss, strip)), statistics.fmean(row.train_loss or 0.0 for row in strip)
    if lowest <= (1 + OVERFITTING_RISE) * test_loss(best) or train >= 0.5 * (best.train_loss or 0.0):
        return None
    rise = 100 * (lowest / test_loss(best) - 1)
    words = (
        f"test loss {rise:.0f} % above its lowest (epoch {best.epoch}) while the training loss fell from"
        f" {best.train_loss:.3g} to {train:.3g}"
    )
    return Finding(symptom=Symptom.OVERFITTING, evidence=words, epoch=rows[-1].epoch)


def test_loss(row: EpochRow) -> float:
    return math.inf if row.test_loss is None else row.test_loss
