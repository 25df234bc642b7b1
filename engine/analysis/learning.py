"""Whether a run learns: its losses and errors against the constant predictor's. Pure functions, no torch.

Measured noise, on recorded runs while they guess (`tests/recorded`). The training error varied from epoch to epoch by a
standard deviation of 0.65 points in he-plain44-w4 on 1,000 images and of 1.2 in he-plain32-w4 without normalisation on
100, where independent guesses would vary by 0.95 and 3.0; three seeds of he-plain110-w8 on 5,000 images ended 0.42
apart, which is what guesses do. The binomial deviation is therefore taken. The loss varied by 0.2 %, 0.02 % and, of a
network that predicts class frequencies, 0.03 %; where nothing was learned it was at most 0.02 % below the entropy.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from engine.runs.journal import Epoch
from engine.spec.recipes import Recipe
from engine.spec.run import RunSpec
from engine.spec.schedule import high_rate_epochs, rate_drops, warmup_epochs

GUESSING_SHARE = 0.01
"""A training loss less than this fraction below the constant predictor's counts as no better. A recorded network that
learned nothing was 0.8 % below it in one epoch (he-plain44-w4, 500 images)."""
ERROR_DEVIATIONS = 4.0
"""Standard deviations of a guessing network's error by which one epoch must beat the constant predictor. In a hundred
epochs of guessing, the best one does by chance in 0.3 % of the runs."""
MEAN_DEVIATIONS = 3.0
"""The same for means over a window. Those of the error count no less: a network that does not change makes the same
guesses in every epoch, which no mean evens out."""
MEAN_SHARE = 0.002
"""As GUESSING_SHARE, for the mean over the last third of a window, beyond noise: ten times what a guessing loss was
below the entropy. The recorded he-plain44-w4 that is late to learn was 0.4 % below in its epochs 21 to 25."""
SHORTEST_WINDOW = 15
"""Fewest epochs before a run counts as not learning. He et al. 2015, section 4.2, footnote 5, saw their 110 layers
"start converging (<90 % error) after several epochs" at a learning rate of 0.1; a network that guesses for 10 epochs
gets half as many again."""
WARMUP_UPDATES = 400
"""Fewest updates before a run counts as not learning: the length of the paper's warm-up, after which 110 layers were
below 80 % error (same section). These are many epochs of a small dataset: on 500 images, 160 updates (8 epochs) did not
suffice for one of three recorded he-plain44-w4 to start."""
SCHEDULE_SHARE = 0.2
"""Fraction of the epochs at a high rate that a run may spend guessing."""
FINISHED_EPOCHS = 5
"""Fewest epochs without learning at the end of a finished run: nothing follows that could prove otherwise."""


@dataclass(frozen=True, slots=True)
class ConstantPredictor:
    """Predicts the frequencies of the classes for every image: the best that guessing can do."""

    loss: float
    """Entropy of the frequencies, in nats."""
    error_percent: float
    """Share of the images outside the largest class."""
    num_classes: int

    @classmethod
    def of(cls, class_counts: Sequence[int] | None, num_classes: int) -> ConstantPredictor:
        """Return the constant predictor of a training set.

        Args:
            class_counts: Images of each class; None if a run did not record them, which takes equal frequencies.
            num_classes: Outputs of the network.
        """
        total = sum(class_counts or ())
        if class_counts is None or total == 0:
            return cls(math.log(num_classes), 100 * (1 - 1 / num_classes), num_classes)
        shares = [count / total for count in class_counts if count]
        return cls(-sum(share * math.log(share) for share in shares), 100 * (1 - max(shares)), num_classes)

    def error_deviation(self, num_images: int) -> float:
        """Standard deviation of the error of `num_images` guesses, in percentage points."""
        share = self.error_percent / 100
        return 100 * math.sqrt(share * (1 - share) / num_images)

    def describe(self) -> str:
        """Its loss, and its error unless the classes are equally frequent."""
        if math.isclose(self.loss, math.log(self.num_classes), rel_tol=1e-3):
            return f"guessing (ln {self.num_classes} = {self.loss:.3f})"
        return f"guessing by class frequency (loss {self.loss:.3f}, error {self.error_percent:.1f} %)"


def window(recipe: Recipe, *, steps_per_epoch: int) -> int:
    """Epochs without learning after which a run counts as not learning.

    The largest of SHORTEST_WINDOW epochs, WARMUP_UPDATES updates, the recipe's warm-up, and SCHEDULE_SHARE of the
    epochs until the rate falls below half its highest. For CIFAR-10 in batches of 128: 17 epochs of the reference
    recipe (its rate drops at 82 of 164), 15 after the rise of a 30-epoch one-cycle, 21 of a 200-epoch cosine, 33 of 164
    at a constant rate. A network that guesses for longer is stopped, even if it would learn later.
    """
    warmup = max(WARMUP_UPDATES, recipe.warmup_steps if recipe.warmup_rate is not None else 0)
    high = high_rate_epochs(recipe, steps_per_epoch=steps_per_epoch)
    return max(SHORTEST_WINDOW, math.ceil(warmup / steps_per_epoch), math.ceil(SCHEDULE_SHARE * high))


def updates_per_epoch(rows: Sequence[Epoch]) -> int:
    """Updates of one epoch, from a run's epochs, of which there is at least one."""
    return max(1, rows[-1].step // max(1, rows[-1].epoch))


def after_warmup(rows: Sequence[Epoch], recipe: Recipe) -> list[Epoch]:
    """Leave out the epochs of the warm-up, and those before the rate is at its highest."""
    warmup = warmup_epochs(recipe, steps_per_epoch=updates_per_epoch(rows)) if rows else 0
    return [row for row in rows if row.epoch > warmup]


def at_newest_rate(rows: Sequence[Epoch], recipe: Recipe) -> list[Epoch]:
    """Leave out the warm-up and the epochs before the last drop of the rate."""
    if not (rows := after_warmup(rows, recipe)):
        return []
    drops = rate_drops(recipe, steps_per_epoch=updates_per_epoch(rows))
    last = max((drop for drop in drops if drop < rows[-1].epoch), default=0)
    return [row for row in rows if row.epoch > last]


def epochs_without_learning(
    spec: RunSpec, rows: Sequence[Epoch], guess: ConstantPredictor, *, is_over: bool
) -> int | None:
    """Count the most recent epochs in which a run learned nothing; None if it learns or if it is too early to tell.

    A run does not learn if for a whole window neither loss nor error is better than the constant predictor's, nor
    improving, beyond noise. Epochs of a warm-up, or of a rate that still rises, never count, and each drop of the rate
    begins a new window, since a network may start to learn at a lower rate.

    Args:
        spec: Its recipe gives the window and its batch size the noise.
        rows: The run's epochs, oldest first.
        guess: Constant predictor of its training set.
        is_over: Whether no epoch follows: FINISHED_EPOCHS suffice, at any rate, warm-up or not, and a loss that only
            fell to the constant predictor's was no learning.
    """
    if not rows or guess.error_percent == 0:
        return None
    deviation = error_deviation(spec, rows, guess)
    counted = rows if is_over else at_newest_rate(rows, spec.recipe)
    flat = [*itertools.takewhile(lambda row: _guesses(row, guess, deviation), reversed(counted))][::-1]
    needed = FINISHED_EPOCHS if is_over else window(spec.recipe, steps_per_epoch=updates_per_epoch(rows))
    if len(flat) < needed:
        return None
    recent = flat if is_over else flat[-needed:]
    losses = [row.train_loss for row in recent if row.train_loss is not None]
    errors = [row.train_error_percent for row in recent if row.train_error_percent is not None]
    if errors and statistics.fmean(errors) < guess.error_percent - MEAN_DEVIATIONS * deviation:
        return None
    newest = losses[-max(1, len(losses) // 3) :]
    noise = MEAN_DEVIATIONS * deviation_of(losses) / math.sqrt(len(newest))
    if statistics.fmean(newest) < (1 - MEAN_SHARE) * guess.loss - noise:
        return None
    if not is_over and (_falls(losses, least=GUESSING_SHARE * guess.loss) or _falls(errors, noise=deviation)):
        return None
    return len(flat)


def error_deviation(spec: RunSpec, rows: Sequence[Epoch], guess: ConstantPredictor) -> float:
    """Standard deviation of the training error of a guessing network in one epoch, in percentage points."""
    num_images = spec.data.train_images or updates_per_epoch(rows) * spec.recipe.batch_size
    return guess.error_deviation(num_images)


def is_guessing(spec: RunSpec, rows: Sequence[Epoch], guess: ConstantPredictor) -> bool:
    """Return whether every one of some epochs, of which there is at least one, is no better than guessing."""
    deviation = error_deviation(spec, rows, guess)
    return all(_guesses(row, guess, deviation) for row in rows)


def _guesses(row: Epoch, guess: ConstantPredictor, deviation: float) -> bool:
    """Return whether an epoch is no better than the constant predictor in loss and error."""
    if row.train_loss is None or row.train_loss < (1 - GUESSING_SHARE) * guess.loss:
        return False
    error = row.train_error_percent
    return error is None or error >= guess.error_percent - ERROR_DEVIATIONS * deviation


def _falls(values: Sequence[float], *, noise: float = 0.0, least: float = 0.0) -> bool:
    """Return whether the last third of a series lies below its first by more than noise.

    Args:
        values: One number an epoch, oldest first.
        noise: Known standard deviation of one; the larger of it and the one estimated from differences counts.
        least: Smallest fall that counts.
    """
    third = len(values) // 3
    if third == 0:
        return False
    noise = max(noise, deviation_of(values))
    fall = statistics.fmean(values[:third]) - statistics.fmean(values[-third:])
    return fall > max(least, MEAN_DEVIATIONS * noise * math.sqrt(2 / third))


def deviation_of(values: Sequence[float]) -> float:
    """Standard deviation of the noise in a series of at least two numbers, estimated from their differences.

    The median difference of two normal numbers is 0.954 standard deviations; it ignores single jumps and slow trends.
    """
    return statistics.median(abs(after - before) for before, after in itertools.pairwise(values)) / 0.954


def describe_guessing(num_epochs: int, guess: ConstantPredictor) -> str:
    """Describe a number of epochs without learning."""
    return f"loss is no better than {guess.describe()} for {num_epochs} epochs"
