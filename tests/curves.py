"""Curves for the diagnoses, made up and recorded, each with what must be found in it and what must not.

`python -m tests.benchmarks.diagnoses` prints the table. Made-up losses are in nats, errors in percent; both get noise:
binomial in the error, 0.5 % in the loss unless given, 0.1 % while guessing. No number is a result.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from engine.analysis.diagnosis import Symptom, diagnose, outlook
from engine.analysis.early_stopping import reason_to_stop
from engine.analysis.learning import ConstantPredictor
from engine.runs.directory import RunDirectory
from engine.runs.journal import Epoch, Gradients, Started, read_journal
from engine.runs.run import Intent, Run, RunOutcome, RunStatus
from engine.spec.recipes import Recipe, recipe
from engine.spec.run import DataSpec, RunSpec, StopRule
from models.catalog import model_spec
from tests.recorded_runs import RECORDED, epoch_rows, gradient_rows
from tests.samples import an_epoch

UNBALANCED = (30_000, 5_000, 5_000, 4_000, 2_000, 1_000, 1_000, 1_000, 500, 500)
"""Images of each class; the largest has 60 %."""
MIXED = ConstantPredictor.of(UNBALANCED, 10)
LN10 = math.log(10)


def a_run(spec: RunSpec, *, outcome: RunOutcome | None = None, class_counts: Sequence[int] | None = None) -> Run:
    """Create a run as the index would return it, on the fields that diagnoses read."""
    finished = outcome is not None
    numbers = dict.fromkeys(
        ("device", "error", "started_at", "finished_at", "deleted_at", "last_event_at", "seen_at", "total_steps",
         "train_loss", "train_error_percent", "test_loss", "test_error_percent", "best_test_error_percent",
         "images_per_second", "seconds", "data_sha256", "version", "precision", "device_name", "estimate"),
        None,
    )  # fmt: skip
    return Run(
        id="0" * 10, origin="0" * 10, name="run", experiment="curves", spec=spec,
        status=RunStatus.FINISHED if finished else RunStatus.RUNNING, outcome=outcome, intent=Intent.RUN,
        position=0, place=0.0, held=False, created_at=0.0, step=0, epoch=0, synthetic=False, checkpoint_seconds=0.0,
        starred=False, tags=(), notes="", class_counts=None if class_counts is None else tuple(class_counts), **numbers,
    )  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """Metrics of a run with the expected diagnoses."""

    name: str
    spec: RunSpec
    rows: Sequence[Epoch]
    found: frozenset[Symptom] = frozenset()
    """Diagnoses that must appear after some epoch; no other may, after any."""
    stopped: bool = False
    """Whether `--stop-when not-learning` must end the run; otherwise it must not."""
    says: str | None = None
    """What the outlook after some epoch must say; None if no outlook may ever appear."""
    gradients: Sequence[Gradients] = ()
    class_counts: Sequence[int] | None = None
    outcome: RunOutcome | None = None
    """How the run ended after the last row; None while it trains."""


@dataclass(frozen=True)
class Verdicts:
    """What the rules say about a curve while it grows."""

    first: dict[Symptom, int]
    """Epoch after which a diagnosis first appears; 0 before the first epoch."""
    stopped_at: int | None
    """Epoch after which the stop rule ends the run."""
    outlooks: dict[int, str]
    """Outlook after each epoch that has one."""


def judge(curve: Curve) -> Verdicts:
    """Apply all rules after every epoch of a curve, and once it has ended."""
    first: dict[Symptom, int] = {}
    outlooks: dict[int, str] = {}
    stopped_at: int | None = None
    guess = ConstantPredictor.of(curve.class_counts, curve.spec.model.num_classes)
    asked = replace(curve.spec, stop_when=StopRule.NOT_LEARNING)
    running, ended = (a_run(curve.spec, outcome=one, class_counts=curve.class_counts) for one in (None, curve.outcome))
    for num in range(len(curve.rows) + 1):
        rows = curve.rows[:num]
        newest = rows[-1].epoch if rows else 0
        seen = [row for row in curve.gradients if row.epoch <= newest]
        for run in (running, ended) if num == len(curve.rows) else (running,):
            findings = diagnose(run, rows, seen)
            for finding in findings:
                first.setdefault(finding.symptom, newest)
            if words := outlook(run, rows, findings):
                outlooks[newest] = words
        so_far = {row.epoch: row for row in rows}
        if stopped_at is None and rows and newest < curve.spec.recipe.epochs and reason_to_stop(asked, so_far, guess):
            stopped_at = newest
    return Verdicts(first, stopped_at, outlooks)


def one_curve(
    draw: int,
    name: str,
    values: Callable[[int], tuple[float | None, float]],
    *symptoms: Symptom,
    epochs: int | None = None,
    made_by: Recipe | None = None,
    num_train: int = 50_000,
    loss_noise: float = 0.005,
    test_loss: Callable[[int], float] | None = None,
    class_counts: Sequence[int] | None = None,
    stopped: bool = False,
    says: str | None = None,
) -> Curve:
    """Create a curve from the loss and error of each epoch, without noise.

    Args:
        draw: Chooses the noise.
        values: Maps an epoch to its training loss and error.
        symptoms: Diagnoses to be found.
        epochs: Epochs done; None for all of the recipe.
        made_by: Recipe; None for the reference.
        test_loss: Maps an epoch to its test loss; None for the training loss.
    """
    used = made_by or recipe("reference")
    data = DataSpec(train_images=None if num_train == 50_000 else num_train)
    spec = RunSpec(model=model_spec("he-plain", 56), data=data, recipe=used)
    noise = random.Random(f"{name} {draw}")
    done = epochs or used.epochs
    guess = ConstantPredictor.of(class_counts, 10)
    rows = []
    for epoch in range(1, done + 1):
        loss, error = values(epoch)
        deviation = 100 * math.sqrt(max(error * (100 - error), 0.0)) / 100 / math.sqrt(num_train)
        # A guessing network's loss is the entropy of the classes, or above it.
        share = 0.001 if loss is not None and math.isclose(loss, guess.loss, rel_tol=0.01) else loss_noise
        noisy = None if loss is None else max(0.0, loss * (1 + share * noise.gauss(0, 1)))
        rows.append(
            an_epoch(
                epoch,
                step=epoch * spec.steps_per_epoch(num_train),
                train_loss=noisy,
                train_error_percent=min(100.0, max(0.0, error + deviation * noise.gauss(0, 1))),
                test_loss=noisy if test_loss is None else test_loss(epoch) * (1 + loss_noise * noise.gauss(0, 1)),
            )
        )
    outcome = RunOutcome.SUCCEEDED if done == used.epochs else None
    return Curve(name, spec, rows, frozenset(symptoms), stopped, says, class_counts=class_counts, outcome=outcome)


def line(start: float, end: float, epoch: int, epochs: int, *, first: int = 1) -> float:
    """Value on a straight line from `start` at epoch `first` to `end` at `epochs`, constant outside."""
    share = min(1.0, max(0.0, (epoch - first) / (epochs - first)))
    return start + (end - start) * share


def decay(start: float, end: float, epoch: float, scale: float) -> float:
    """Value that decays from `start` at epoch 0 to `end`."""
    return end + (start - end) * math.exp(-max(0.0, epoch) / scale)


def learns_after(num: int) -> Callable[[int], tuple[float, float]]:
    """Guesses for a number of epochs, then learns; at ln 10, as deep plain networks do."""
    return lambda epoch: (decay(LN10, 0.4, epoch - num, 12), decay(90.0, 13.0, epoch - num, 12))


def drops_at(*epochs: int, losses: Sequence[float], errors: Sequence[float]) -> Callable[[int], tuple[float, float]]:
    """Falls to a standstill at each rate: the first pair of loss and error until the first of `epochs`, and so on."""

    def values(epoch: int) -> tuple[float, float]:
        stage = sum(epoch > drop for drop in epochs)
        begin = (0, *epochs)[stage]
        from_loss, from_error = (LN10, 90.0) if stage == 0 else (losses[stage - 1], errors[stage - 1])
        scale = 4 if stage == 0 else 1
        age = epoch - begin
        return decay(from_loss, losses[stage], age, scale), decay(from_error, errors[stage], age, scale)

    return values


def one_recipe(schedule: str, epochs: int, **changes: object) -> Recipe:
    return recipe("reference", schedule=schedule, epochs=epochs, **changes)


def collapses(epoch: int) -> tuple[float, float]:
    return (decay(LN10, 0.5, epoch, 10), decay(90.0, 17.0, epoch, 10)) if epoch < 60 else (LN10, 90.0)


def spikes(epoch: int) -> tuple[float, float]:
    calm = decay(LN10, 0.2, epoch, 12), decay(90.0, 7.0, epoch, 12)
    return (2.4, 90.0) if 40 <= epoch < 44 else calm


NOT_LEARNING, PLATEAU, OVERFITTING = Symptom.NOT_LEARNING, Symptom.PLATEAU, Symptom.OVERFITTING
EXPLODING, VANISHING, DIVERGED = Symptom.EXPLODING_GRADIENT, Symptom.VANISHING_GRADIENT, Symptom.DIVERGED
CONSTANT_164, CONSTANT_60 = one_recipe("constant", 164), one_recipe("constant", 60)
COSINE_200 = one_recipe("cosine", 200)
WARMUP = recipe("reference", warmup_rate=0.01, warmup_steps=20 * 391)


def made_up_curves(draw: int = 0) -> list[Curve]:
    """All made-up curves; another `draw` gives them other noise."""
    made_up = functools.partial(one_curve, draw)
    flat_56 = drops_at(82, 123, losses=(0.75, 0.40, 0.33), errors=(26.0, 13.5, 11.0))
    flat_20 = drops_at(82, 123, losses=(0.35, 0.10, 0.06), errors=(12.0, 3.0, 1.6))
    return [
        # learns, however badly
        made_up("error 90 to 61 %, loss 2.9 to 2.7", lambda e: (line(2.9, 2.7, e, 30), line(90, 61, e, 30)), epochs=30),
        made_up("the same at a constant rate", lambda e: (line(2.9, 2.7, e, 30), line(90, 61, e, 30)), epochs=30,
                made_by=CONSTANT_164),
        made_up("loss 5 falling 0.24 an epoch", lambda e: (max(5.24 - 0.24 * e, 0.5), 90.0 if e < 20 else 30.0),
                epochs=30),
        made_up("loss 20 falling 0.24 an epoch", lambda e: (20.24 - 0.24 * e, 90.0), epochs=70),
        made_up("guesses for 10 epochs of 164", learns_after(10), epochs=60),
        made_up("guesses for 10 epochs of a one-cycle", learns_after(10), made_by=recipe("quick")),
        made_up("guesses for 10 of 30 epochs, constant", learns_after(10), made_by=one_recipe("constant", 30)),
        made_up("guesses for 16 epochs of 164", learns_after(16), epochs=60),
        made_up("guesses through a warm-up of 20", learns_after(35), epochs=70, made_by=WARMUP),
        made_up("guesses for 49 epochs of 8 updates", learns_after(49), epochs=70, num_train=1000,
                made_by=CONSTANT_164),
        made_up("falls from 7 to a loss of 1.5", lambda e: (decay(7, 1.5, e, 15), decay(92, 55, e - 12, 15)),
                epochs=60),
        made_up("spike of 4 epochs at 2.4", spikes, epochs=80),
        made_up("slow and noisy, constant rate", lambda e: (2.0 * 0.997**e, 75 * 0.997**e), epochs=150,
                made_by=CONSTANT_164, num_train=1000, loss_noise=0.02),
        made_up("unbalanced, error 90 to 62 % of 40", lambda e: (line(2.4, 1.6, e, 25), line(90, 62, e, 25)), epochs=25,
                class_counts=UNBALANCED),
        made_up("unbalanced, learns", lambda e: (decay(1.8, 0.4, e, 10), decay(45, 12, e, 10)), epochs=60,
                class_counts=UNBALANCED),
        made_up("unbalanced, guesses 10, then learns",
                lambda e: (decay(MIXED.loss, 0.4, e - 10, 10), decay(40, 12, e - 10, 10)), epochs=40,
                class_counts=UNBALANCED),
        # learns nothing
        made_up("guesses, 164 epochs", lambda _: (LN10, 90.0), NOT_LEARNING, epochs=40, stopped=True),
        made_up("guesses above ln 10", lambda e: (decay(2.6, 2.32, e, 2), 90.0), NOT_LEARNING, epochs=40, stopped=True),
        made_up("guesses, one-cycle", lambda _: (LN10, 90.0), NOT_LEARNING, made_by=recipe("quick"), stopped=True),
        made_up("guesses, 8 epochs and done", lambda _: (LN10, 90.0), NOT_LEARNING, made_by=one_recipe("one-cycle", 8),
                num_train=500),
        made_up("guesses after a warm-up of 20", lambda _: (LN10, 90.0), NOT_LEARNING, epochs=60, made_by=WARMUP,
                stopped=True),
        made_up("guesses for 25 epochs, then learns", learns_after(25), NOT_LEARNING, epochs=60, stopped=True),
        made_up("falls from 7 to ln 10 and stays", lambda e: (max(7 - 0.4 * e, LN10), 90.0), NOT_LEARNING, epochs=60,
                stopped=True),
        made_up("learns and collapses at 60", collapses, NOT_LEARNING, epochs=82, stopped=True),
        made_up("unbalanced, constant predictor", lambda _: (1.002 * MIXED.loss, 40.0), NOT_LEARNING, epochs=40,
                stopped=True, class_counts=UNBALANCED),
        made_up("unbalanced, constant, counts unknown", lambda _: (1.002 * MIXED.loss, 40.0), epochs=40,
                says="the rate drops at 82"),
        # stands still
        made_up("waits for the drop at 82", drops_at(82, losses=(0.75, 0.4), errors=(26.0, 13.5)), epochs=81,
                says="the rate drops at 82"),
        made_up("waits for the drop at 123", flat_56, epochs=123, says="the rate drops at 123"),
        made_up("plain, all drops, ends at 11 %", flat_56, PLATEAU, says="the rate drops at 82"),
        made_up("residual, all drops, ends at 1.6 %", flat_20, says="the rate drops at 82"),
        made_up("stands at 26 %, constant rate", drops_at(164, losses=(0.75, 0.7), errors=(26.0, 26.0)), PLATEAU,
                made_by=CONSTANT_164),
        made_up("stands at 26 % of a one-cycle of 60", drops_at(55, losses=(0.75, 0.4), errors=(26.0, 13.5)), epochs=55,
                made_by=one_recipe("one-cycle", 60), says="the rate falls until 60"),
        made_up("one-cycle of 60, ends at 13.5 %", drops_at(55, losses=(0.75, 0.3), errors=(26.0, 13.5)),
                made_by=one_recipe("one-cycle", 60), says="the rate falls until 60"),
        made_up("guesses for 20 epochs of a cosine", learns_after(20), epochs=60, made_by=COSINE_200),
        made_up("stands through a cosine of 200", drops_at(200, losses=(0.75, 0.75), errors=(26.0, 26.0)), PLATEAU,
                made_by=COSINE_200, loss_noise=0.002, says="the rate falls until 200"),
        made_up("cosine of 200, ends at 13.5 %", drops_at(170, losses=(0.75, 0.3), errors=(26.0, 13.5)),
                made_by=COSINE_200, says="the rate falls until 200"),
        made_up("slow start in a rising rate", lambda e: (decay(2.3, 1.2, e, 4), decay(90, 45, e, 4)), epochs=48,
                made_by=one_recipe("one-cycle", 164)),
        # the rest
        made_up("not finite in epoch 12", lambda e: (None if e == 12 else 2.0, 80.0), DIVERGED, epochs=12),
        made_up("memorises", lambda e: (decay(2.3, 0.01, e, 10), decay(90, 0, e, 8)), OVERFITTING, made_by=CONSTANT_60,
                test_loss=lambda e: 1.2 + 0.02 * abs(e - 15)),
        made_up("noisy test loss at a high rate", lambda e: (decay(2.3, 0.3, e, 7), decay(90, 11, e, 7)), epochs=82,
                test_loss=lambda e: decay(2.3, 0.55, e, 10) * (1.35 if e % 3 else 0.95),
                says="the rate drops at 82"),
        made_up("one bad test loss at the end", lambda e: (decay(2.3, 0.1, e, 8), decay(90, 4, e, 8)), epochs=60,
                test_loss=lambda e: 2.0 if e == 60 else decay(2.3, 0.5, e, 8)),
    ]  # fmt: skip


FOUND_IN_RECORDED: dict[str, tuple[Symptom, ...]] = {
    "diverged/he-resnet8-w4-s0": (DIVERGED,),
    "overfitting/he-resnet8-s0": (OVERFITTING,),
    "not-learning/he-plain32-w4-nonorm-s0": (NOT_LEARNING,),
    "depths/he-plain44-w4-s2": (NOT_LEARNING,),
    "exploding/he-plain56-w4-s0": (EXPLODING,),
    "vanishing/he-plain110-w4-s0": (EXPLODING, VANISHING),
    "unbalanced/he-plain32-w4-nonorm-c3-s0": (NOT_LEARNING,),
    "late/he-plain44-w4-s0": (PLATEAU,),
}
"""Diagnoses of recorded runs; all others are sound."""
STOPPED_IN_RECORDED = frozenset({"unbalanced/he-plain32-w4-nonorm-c3-s0"})
SAID_IN_RECORDED = {"late/he-plain44-w4-s0": "flat since epoch 26; the rate falls until 40"}


def recorded_curves() -> list[Curve]:
    """All recorded runs."""
    curves = []
    for folder in sorted(path for path in RECORDED.iterdir() if path.is_dir()):
        for path in sorted(folder.iterdir()):
            curves.append(recorded_curve(path, folder.name))
    return curves


def recorded_curve(path: Path, folder: str) -> Curve:
    directory = RunDirectory(path)
    name = f"{folder}/{directory.read_labels().name}"
    events, ended = read_journal(directory.journal).events, directory.read_exit()
    return Curve(
        name,
        directory.read_spec(),
        epoch_rows(directory),
        frozenset(FOUND_IN_RECORDED.get(name, ())),
        stopped=name in STOPPED_IN_RECORDED,
        says=SAID_IN_RECORDED.get(name),
        gradients=gradient_rows(directory),
        class_counts=next((one.class_counts for one in events if isinstance(one, Started)), None),
        outcome=None if ended is None else RunOutcome(ended.reason),
    )
