"""Diagnosis of a single run from its metrics: each rule with its threshold and source. Pure functions, no torch.

Rules depend on measured values only, so that a run gets the same diagnosis while training, when finished, and from a
copied run directory. `console/comparison/verdict.py` compares several networks.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from engine.analysis.learning import (
    ConstantPredictor,
    after_warmup,
    describe_guessing,
    deviation_of,
    epochs_without_learning,
    is_guessing,
    updates_per_epoch,
)
from engine.runs.journal import Epoch, Gradients
from engine.runs.run import Run, RunOutcome
from engine.spec.recipes import Recipe
from engine.spec.run import RunSpec
from engine.spec.schedule import epoch_rate, has_fall_ahead, high_rate_epochs, rate_drops

VANISHING_RATIO = 1e-3
"""Ratio of the first layer's gradient norm to the classifier's. With batch normalisation and shortcuts the two stay
within a factor of about ten; at a factor of a thousand the layers effectively learn at incompatible rates."""
EXPLODING_RATIO = 1e3
PLATEAU_EPOCHS = 10
"""Default patience of ReduceLROnPlateau in PyTorch and Keras."""
PLATEAU_DEVIATIONS = 2.0
"""Standard deviations of noise that PLATEAU_SHARE must exceed in the difference of two means, for which noisy losses
need more epochs: 10 up to a noise of 1.1 %, 32 for 2 %, as in the recorded he-resnet8-w1 (100 images). Its loss stood
still for 14 epochs and then fell again; and at such noise the lowest single loss hides one that falls by 0.3 % an
epoch."""
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


def not_learning(
    spec: RunSpec, epochs: Sequence[Epoch], guess: ConstantPredictor, *, is_over: bool = False
) -> Finding | None:
    """Detect a run that is no better than the constant predictor and not improving; see `epochs_without_learning`."""
    flat = epochs_without_learning(spec, epochs, guess, is_over=is_over)
    if flat is None:
        return None
    return Finding(symptom=Symptom.NOT_LEARNING, evidence=describe_guessing(flat, guess), epoch=epochs[-1].epoch)


def gradient_flow(gradients: Sequence[Gradients]) -> Finding | None:
    """Detect a first layer whose gradient is a thousand times smaller or larger than the classifier's.

    Checks the two newest epochs, which must agree, since each is measured in a single step; then initialisation: after
    a bad start, later gradients show the consequence, not the cause.

    Source: Glorot and Bengio 2010, section 4.2 (back-propagated gradients that shrink or grow from layer to layer);
    Yang et al. 2019, "A mean field theory of batch normalization" (with batch normalisation but no shortcuts they grow
    with depth). Simplification: two layers represent all, and the norm of a layer its gradient.
    """
    trained = sorted({row.epoch for row in gradients if row.epoch > 0})[-2:]
    for epochs in (trained, [0]):
        found = [flow_at(gradients, epoch) for epoch in epochs]
        if found and found[-1] is not None and len({None if one is None else one.symptom for one in found}) == 1:
            return found[-1]
    return None


def flow_at(gradients: Sequence[Gradients], epoch: int) -> Finding | None:
    """Classify the gradient flow of one measured epoch; None if unremarkable or unknown."""
    ratio = stem_over_head(gradients, epoch)
    return None if ratio is None else flow_finding(ratio, epoch)


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


@dataclass(frozen=True, slots=True)
class Stretch:
    """Epochs in which the training loss made no progress, up to the newest."""

    since: int
    """Epoch of the last progress."""
    newest: int
    loss: float
    """Training loss of that epoch."""
    error_percent: float
    """Training error of the newest epoch."""


def flat_stretch(spec: RunSpec, epochs: Sequence[Epoch], guess: ConstantPredictor) -> Stretch | None:
    """Return the epochs since which the training loss stands still, at an error that is still high; None if it falls.

    The loss stands still if for PLATEAU_EPOCHS, or more under noise, it was nowhere PLATEAU_SHARE below its best, and
    its mean over them is not that much below the mean over as many before. Warm-up epochs do not count, a drop of the
    rate starts the count anew, and a network that still guesses does not stand still: it has yet to start.

    Source: PyTorch's ReduceLROnPlateau, with PLATEAU_SHARE as threshold.
    """
    rows = after_warmup(epochs, spec.recipe)
    error = rows[-1].train_error_percent if rows else None
    losses = [(row.epoch, row.train_loss) for row in rows if row.train_loss is not None]
    if error is None or error < PLATEAU_ERROR_PERCENT or len(losses) < 2 * PLATEAU_EPOCHS:
        return None
    patience = plateau_patience([loss for _, loss in losses[-4 * PLATEAU_EPOCHS :]])
    if len(losses) < 2 * patience or is_guessing(spec, rows[-1:], guess):
        return None
    best, since, newest = math.inf, 0, rows[-1].epoch
    for epoch, loss in losses:
        if loss < best * (1 - PLATEAU_SHARE):
            best, since = loss, epoch
    drops = rate_drops(spec.recipe, steps_per_epoch=updates_per_epoch(rows))
    if newest - max([since, *(drop for drop in drops if drop < newest)]) < patience:
        return None
    before, recent = losses[-2 * patience : -patience], losses[-patience:]
    if mean_loss(recent) < (1 - PLATEAU_SHARE) * mean_loss(before):
        return None
    return Stretch(since=since, newest=newest, loss=best, error_percent=error)


def plateau_patience(losses: Sequence[float]) -> int:
    """Epochs over which a loss must stand still, from its recent values: more if they are noisy."""
    noise = deviation_of(losses) / max(statistics.fmean(losses), 1e-12)
    return max(PLATEAU_EPOCHS, math.ceil(2 * (PLATEAU_DEVIATIONS * noise / PLATEAU_SHARE) ** 2))


def mean_loss(losses: Sequence[tuple[int, float]]) -> float:
    return statistics.fmean(loss for _, loss in losses)


def plateau(spec: RunSpec, epochs: Sequence[Epoch], guess: ConstantPredictor) -> Finding | None:
    """Detect a training loss that stopped falling while the training error is high and no fall of the rate is ahead.

    At the end of a schedule that falls gradually, any loss stands still. It is a plateau if it did so from where the
    rate was still high, all the way down.
    """
    flat = flat_stretch(spec, epochs, guess)
    if flat is None or rate_falls_after(epochs, spec.recipe):
        return None
    steps_per_epoch = updates_per_epoch(epochs)
    before, now = (
        epoch_rate(min(epoch, spec.recipe.epochs), spec.recipe, steps_per_epoch=steps_per_epoch)
        for epoch in (flat.newest - PLATEAU_EPOCHS + 1, flat.newest)
    )
    if now < before and flat.since > high_rate_epochs(spec.recipe, steps_per_epoch=steps_per_epoch):
        return None
    share = f"{100 * PLATEAU_SHARE:.0f} %"
    evidence = (
        f"training loss {flat.loss:.4g} has fallen by less than {share} in {flat.newest - flat.since} epochs,"
        f" at {flat.error_percent:.1f} % training error"
    )
    return Finding(symptom=Symptom.PLATEAU, evidence=evidence, epoch=flat.newest)


def rate_falls_after(epochs: Sequence[Epoch], recipe: Recipe) -> bool:
    """Return whether the schedule still lowers the rate of the newest epoch to half or less."""
    newest = min(epochs[-1].epoch, recipe.epochs)
    return has_fall_ahead(newest, recipe, steps_per_epoch=updates_per_epoch(epochs))


def outlook(run: Run, epochs: Sequence[Epoch], findings: Sequence[Finding]) -> str:
    """Say what a standing loss waits for: "flat since epoch 35; the rate drops at 82". Empty if it need not wait.

    Args:
        run: Gives the recipe; a finished run waits for nothing.
        epochs: Its epochs, oldest first.
        findings: Its diagnoses: a run that learned nothing, or diverged, is not waiting.
    """
    recipe = run.spec.recipe
    hopeless = {Symptom.DIVERGED, Symptom.NOT_LEARNING} & {one.symptom for one in findings}
    if run.is_finished or hopeless or (flat := flat_stretch(run.spec, epochs, constant_predictor(run))) is None:
        return ""
    if not rate_falls_after(epochs, recipe):
        return ""
    steps_per_epoch = updates_per_epoch(epochs)
    drops = rate_drops(recipe, steps_per_epoch=steps_per_epoch)
    if (drop := next((drop for drop in drops if drop >= flat.newest), None)) is not None:
        coming = f"drops at {drop}"
    else:
        coming = f"falls until {recipe.epochs}"
    return f"flat since epoch {flat.since}; the rate {coming}"


def overfitting(epochs: Sequence[Epoch]) -> Finding | None:
    """Detect a test loss that rose while the training loss kept falling.

    Requires that the minimum test loss of the last strip exceeds the overall minimum by OVERFITTING_RISE, and that the
    strip's mean training loss is below half of that at the overall minimum.

    Source: Prechelt 1998, "Early stopping - but when?" (generalisation loss, training strips). Without a
    validation set the test set takes its place, which is fine for a description that selects nothing.
    """
    rows = [row for row in epochs if held_out_loss(row) < math.inf and row.train_loss is not None]
    if len(rows) < 2 * OVERFITTING_STRIP:
        return None
    best = min(rows, key=held_out_loss)
    strip = rows[-OVERFITTING_STRIP:]
    lowest, train = min(map(held_out_loss, strip)), statistics.fmean(row.train_loss or 0.0 for row in strip)
    if lowest <= (1 + OVERFITTING_RISE) * held_out_loss(best) or train >= 0.5 * (best.train_loss or 0.0):
        return None
    held_out = "test" if best.validation_error_percent is None else "validation"
    rise = 100 * (lowest / held_out_loss(best) - 1)
    evidence = (
        f"{held_out} loss {rise:.0f} % above its lowest (epoch {best.epoch}) while the training loss fell from"
        f" {best.train_loss:.3g} to {train:.3g}"
    )
    return Finding(symptom=Symptom.OVERFITTING, evidence=evidence, epoch=rows[-1].epoch)


def held_out_loss(row: Epoch) -> float:
    """Loss on the validation set, or without one on the test set; infinite if it is not finite."""
    found = row.test_loss if row.validation_error_percent is None else row.validation_loss
    return math.inf if found is None else found


def constant_predictor(run: Run) -> ConstantPredictor:
    """Return the constant predictor of a run's training set; of equal classes if an older version trained it."""
    return ConstantPredictor.of(run.class_counts, run.spec.model.num_classes)


def is_over(run: Run, epochs: Sequence[Epoch]) -> bool:
    """Return whether all epochs are done, or the stop rule ended the run."""
    return run.stopped_early or bool(epochs and epochs[-1].epoch >= run.spec.recipe.epochs)


@dataclass(frozen=True, slots=True)
class Rule:
    """One diagnosis."""

    find: Callable[[Run, Sequence[Epoch], Sequence[Gradients]], Finding | None]
    unless: frozenset[Symptom] = frozenset()
    """Symptoms that this diagnosis would only repeat."""


RULES = (
    Rule(lambda run, epochs, _: diverged(run.outcome, epochs)),
    Rule(
        lambda run, epochs, _: not_learning(run.spec, epochs, constant_predictor(run), is_over=is_over(run, epochs)),
        unless=frozenset({Symptom.DIVERGED}),
    ),
    Rule(lambda _run, _epochs, gradients: gradient_flow(gradients)),
    Rule(
        lambda run, epochs, _: plateau(run.spec, epochs, constant_predictor(run)),
        unless=frozenset({Symptom.DIVERGED, Symptom.NOT_LEARNING}),
    ),
    Rule(lambda _run, epochs, _: overfitting(epochs), unless=frozenset({Symptom.DIVERGED, Symptom.NOT_LEARNING})),
)
"""Every diagnosis, most severe first."""


def diagnose(run: Run, epochs: Sequence[Epoch], gradients: Sequence[Gradients] = ()) -> list[Finding]:
    """Diagnose a run; returns findings, most severe first.

    Args:
        run: Gives the recipe, the class counts and the outcome.
        epochs: The run's epochs, oldest first.
        gradients: Gradient norms of its layers, of any epochs; may be empty.
    """
    found: list[Finding] = []
    for rule in RULES:
        if rule.unless.isdisjoint(one.symptom for one in found):
            finding = rule.find(run, epochs, gradients)
            found += [] if finding is None else [finding]
    return found
