"""Diagnosis of a single run from its metrics: each rule with its threshold and source. Pure functions, no torch.

Rules depend on measured values only, so that a run gets the same diagnosis while training, when finished, and from a
copied run directory. `console/comparison/verdict.py` compares several networks.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from engine.runs.journal import Epoch, Gradients
from engine.runs.run import Run, RunOutcome

GUESSING_SHARE = 0.01
"""A training loss less than this fraction below ln(classes) counts as no better than guessing."""
NOT_LEARNING_EPOCHS = 5
"""Consecutive epochs no better than guessing. Deep networks may start late: He et al. 2015, section 4.2, footnote 5,
saw their 110 layers "start converging (<90 % error) after several epochs" at a learning rate of 0.1."""
STOPPING_EPOCHS = 2 * NOT_LEARNING_EPOCHS
"""Consecutive epochs before a run is stopped: stopping wrongly costs more than stopping late."""
VANISHING_RATIO = 1e-3
"""Ratio of the first layer's gradient norm to the classifier's. With batch normalisation and shortcuts the two stay
within a factor of about ten; at a factor of a thousand the layers effectively learn at incompatible rates."""
EXPLODING_RATIO = 1e3
PLATEAU_EPOCHS = 10
"""Default patience of ReduceLROnPlateau in PyTorch and Keras."""
PLATEAU_SHARE = 0.01
"""Relative drop of the training loss that counts as progress; theirs is 1e-4, which noise alone exceeds."""
PLATEAU_ERROR_PERCENT = 5.0
"""Training error below which a plateau means training is done."""
OVERFITTING_STRIP = 5
"""Epochs per training strip; Prechelt's k."""
OVERFITTING_RISE = 0.2
"""Relative rise of the test loss above its minimum, Prechelt's GL. He tries 1 to 5 %; with batch normalisation and a
high learning rate, the test loss varies by more than that between epochs."""


class Symptom(StrEnum):
    """Problems of a run, most severe first."""

    DIVERGED = "diverged"
    NOT_LEARNING = "not learning"
    VANISHING_GRADIENT = "vanishing gradient"
    EXPLODING_GRADIENT = "exploding gradient"
    PLATEAU = "plateau"
    OVERFITTING = "overfitting"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A diagnosed problem with its evidence."""

    symptom: Symptom
    evidence: str
    """One line of text with the numbers."""
    epoch: int
    """Epoch at which it was seen; 0 for initialisation."""


def sentence(findings: Sequence[Finding]) -> str:
    """Join findings in one line: symptoms first, so that truncation keeps them, then the evidence."""
    if not findings:
        return ""
    return f"{', '.join(one.symptom for one in findings)}: {'; '.join(one.evidence for one in findings)}"


def diverged(outcome: RunOutcome | None, epochs: Sequence[Epoch]) -> Finding | None:
    """Return a finding for a loss that was not finite, in the last measured epoch or the one after it.

    Args:
        outcome: DIVERGED where the worker stopped before it measured that epoch.
        epochs: The run's epochs, oldest first.
    """
    if outcome is not RunOutcome.DIVERGED and not (epochs and epochs[-1].train_loss is None):
        return None
    finite = [row.epoch for row in epochs if row.train_loss is not None]
    epoch = (finite[-1] if finite else 0) + 1
    return Finding(symptom=Symptom.DIVERGED, evidence=f"the loss was not finite in epoch {epoch}", epoch=epoch)


def not_learning(epochs: Sequence[Epoch], num_classes: int) -> Finding | None:
    """Detect a training loss that was no better than guessing for NOT_LEARNING_EPOCHS."""
    flat = flat_epochs([row.train_loss for row in epochs], num_classes)
    if flat < NOT_LEARNING_EPOCHS:
        return None
    return Finding(symptom=Symptom.NOT_LEARNING, evidence=describe_flat_loss(flat, num_classes), epoch=epochs[-1].epoch)


def flat_epochs(losses: Sequence[float | None], num_classes: int) -> int:
    """Count the most recent consecutive epochs with a loss no better than guessing.

    Args:
        losses: Training loss of each epoch in nats per image, oldest first; None where it was not finite.
        num_classes: Number of classes; guessing has a loss of ln(num_classes).
    """
    least = (1 - GUESSING_SHARE) * math.log(num_classes)
    return len(list(itertools.takewhile(lambda loss: loss is not None and loss >= least, reversed(losses))))


def describe_flat_loss(num_epochs: int, num_classes: int) -> str:
    """Describe a number of epochs without learning."""
    chance = f"ln {num_classes} = {math.log(num_classes):.3f}"
    return f"loss is no better than guessing ({chance}) for {num_epochs} epochs"


def gradient_flow(gradients: Sequence[Gradients]) -> Finding | None:
    """Detect a first layer whose gradient is a thousand times smaller or larger than the classifier's.

    Checks the newest epoch, then initialisation: after a bad start, later gradients show the consequence, not the
    cause.

    Source: Glorot and Bengio 2010, section 4.2 (back-propagated gradients that shrink or grow from layer to layer);
    Yang et al. 2019, "A mean field theory of batch normalization" (with batch normalisation but no shortcuts they grow
    with depth). Simplification: two layers represent all, and the norm of a layer its gradient.
    """
    for epoch in sorted({0, max((row.epoch for row in gradients), default=0)}, reverse=True):
        ratio = stem_over_head(gradients, epoch)
        if ratio is not None and (found := flow_finding(ratio, epoch)) is not None:
            return found
    return None


def flow_finding(ratio: float, epoch: int) -> Finding | None:
    """Classify the ratio of the first layer's gradient to the classifier's; None if unremarkable."""
    when = " at initialisation" if epoch == 0 else ""
    if ratio < VANISHING_RATIO:
        evidence = f"stem gradient {power(ratio)} of the head's{when}" if ratio else f"stem gradient 0{when}"
        return Finding(symptom=Symptom.VANISHING_GRADIENT, evidence=evidence, epoch=epoch)
    if ratio > EXPLODING_RATIO:
        evidence = f"stem gradient {power(ratio)} times the head's{when}"
        return Finding(symptom=Symptom.EXPLODING_GRADIENT, evidence=evidence, epoch=epoch)
    return None


def stem_over_head(gradients: Sequence[Gradients], epoch: int) -> float | None:
    """Return the ratio of the first layer's gradient norm to the classifier's; None if unrecorded or not finite.

    Args:
        gradients: Gradient norms of a run's layers, of any epochs.
        epoch: Epoch to look at; 0 for initialisation.
    """
    layers = next((row.layers for row in gradients if row.epoch == epoch), [])
    if len(layers) < 2:
        return None
    stem, head = layers[0].gradient_norm, layers[-1].gradient_norm
    return None if stem is None or head is None or not head > 0 else stem / head


def power(ratio: float) -> str:
    """Format a ratio with one digit: 3e-9, 2e4."""
    digit, exponent = f"{ratio:.0e}".split("e")
    return f"{digit}e{int(exponent)}"


def plateau(epochs: Sequence[Epoch]) -> Finding | None:
    """Detect a training loss that stopped falling while the training error is still high.

    Source: PyTorch's ReduceLROnPlateau, with PLATEAU_SHARE as threshold.
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
    evidence = (
        f"training loss {best:.4g} has fallen by less than {share} in {since} epochs, at {error:.1f} % training error"
    )
    return Finding(symptom=Symptom.PLATEAU, evidence=evidence, epoch=epochs[-1].epoch)


def overfitting(epochs: Sequence[Epoch]) -> Finding | None:
    """Detect a test loss that rose while the training loss kept falling.

    Requires that the minimum test loss of the last strip exceeds the overall minimum by OVERFITTING_RISE, and that the
    strip's mean training loss is below half of that at the overall minimum.

    Source: Prechelt 1998, "Early stopping - but when?" (generalisation loss, training strips). His validation set is
    the test set here, which is fine for a description that selects nothing.
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
    evidence = (
        f"test loss {rise:.0f} % above its lowest (epoch {best.epoch}) while the training loss fell from"
        f" {best.train_loss:.3g} to {train:.3g}"
    )
    return Finding(symptom=Symptom.OVERFITTING, evidence=evidence, epoch=rows[-1].epoch)


def test_loss(row: Epoch) -> float:
    return math.inf if row.test_loss is None else row.test_loss


@dataclass(frozen=True, slots=True)
class Rule:
    """One diagnosis."""

    find: Callable[[Run, Sequence[Epoch], Sequence[Gradients]], Finding | None]
    unless: frozenset[Symptom] = frozenset()
    """Symptoms that this diagnosis would only repeat."""


RULES = (
    Rule(lambda run, epochs, _: diverged(run.outcome, epochs)),
    Rule(lambda run, epochs, _: not_learning(epochs, run.spec.model.num_classes), unless=frozenset({Symptom.DIVERGED})),
    Rule(lambda _run, _epochs, gradients: gradient_flow(gradients)),
    Rule(lambda _run, epochs, _: plateau(epochs), unless=frozenset({Symptom.DIVERGED, Symptom.NOT_LEARNING})),
    Rule(lambda _run, epochs, _: overfitting(epochs), unless=frozenset({Symptom.DIVERGED, Symptom.NOT_LEARNING})),
)
"""Every diagnosis, most severe first."""


def diagnose(run: Run, epochs: Sequence[Epoch], gradients: Sequence[Gradients] = ()) -> list[Finding]:
    """Diagnose a run; returns findings, most severe first.

    Args:
        run: Gives the number of classes and the outcome.
        epochs: The run's epochs, oldest first.
        gradients: Gradient norms of its layers, of any epochs; may be empty.
    """
    found: list[Finding] = []
    for rule in RULES:
        if rule.unless.isdisjoint(one.symptom for one in found):
            finding = rule.find(run, epochs, gradients)
            found += [] if finding is None else [finding]
    return found
