"""A network with several seeds is its mean, honest about which seeds are in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest

from console.charts.metrics import METRICS, Axis, History
from console.charts.overlay import overlay, planned_range, rate_drops
from console.charts.plot import Series
from console.charts.styles import COLOURS_ON_DARK, Options
from engine.base.paths import Home
from engine.index.queries import Reader
from engine.index.writer import Store
from engine.runs.run import Run, RunOutcome, RunStatus
from tests import samples

METRIC = METRICS["test-error"]


def network(directory: Path, *seeds: tuple[RunOutcome | None, int], total: int = 4) -> list[Run]:
    """Runs of one network: outcome (None while running) and completed epochs of each seed."""
    home = Home(directory / "home").create()
    store = Store(home.database)
    with store.transaction():
        for seed, (outcome, epochs) in enumerate(seeds):
            status = RunStatus.RUNNING if outcome is None else RunStatus.FINISHED
            samples.add_sample(
                store,
                seed + 1,
                "he-resnet",
                20,
                experiment="e",
                epochs_done=epochs,
                status=status,
                outcome=outcome,
                seed=seed,
                total=total,
            )
    store.close()
    with Reader(home.database) as reader:
        return sorted(reader.runs(), key=lambda run: run.position)


def histories(runs: list[Run], *errors: list[float | None]) -> Mapping[str, History]:
    """Test errors by epoch of each run."""
    return {
        run.id: History(
            epochs=[
                samples.an_epoch(epoch, test_error_percent=value, seconds=10.0 * (index + 1))
                for epoch, value in enumerate(values, 1)
            ]
        )
        for index, (run, values) in enumerate(zip(runs, errors, strict=True))
    }


def drawn(runs: list[Run], by_run: Mapping[str, History], options: Options | None = None) -> list[Series]:
    return overlay(runs, by_run, METRIC, options or Options(), COLOURS_ON_DARK)


SUCCEEDED = RunOutcome.SUCCEEDED


def test_a_copy_of_a_run_counts_once(tmp_path: Path):
    """As in the tables; single seeds show it."""
    first, second, third = network(tmp_path, (SUCCEEDED, 2), (SUCCEEDED, 2), (SUCCEEDED, 2), total=2)
    runs = [first, second, msgspec.structs.replace(third, origin=second.origin, spec=second.spec)]
    by_run = histories(runs, [10.0, 4.0], [12.0, 6.0], [12.0, 6.0])

    (curve,) = drawn(runs, by_run)
    assert curve.label == "he-resnet20 n=2"
    assert list(curve.y) == [11.0, 5.0]
    assert len(drawn(runs, by_run, Options(single_seeds=True))) == 3


def test_seeds_are_one_curve_with_a_band(tmp_path: Path):
    """Mean ± one sample standard deviation at every epoch."""
    runs = network(tmp_path, (SUCCEEDED, 2), (SUCCEEDED, 2), (SUCCEEDED, 2), total=2)

    (curve,) = drawn(runs, histories(runs, [10.0, 4.0], [12.0, 4.0], [14.0, 7.0]))

    assert curve.label == "he-resnet20 n=3"
    assert (list(curve.x), list(curve.y)) == ([1, 2], [12.0, 5.0])
    assert curve.low is not None
    assert curve.high is not None
    assert list(curve.low) == pytest.approx([10.0, 5 - math.sqrt(3)])
    assert list(curve.high) == pytest.approx([14.0, 5 + math.sqrt(3)])


def test_an_unfinished_seed_does_not_bend_the_mean(tmp_path: Path):
    """One that diverged or still trains is drawn faintly, and the label counts it."""
    runs = network(tmp_path, (SUCCEEDED, 4), (SUCCEEDED, 4), (RunOutcome.DIVERGED, 3))
    by_run = histories(runs, [8.0, 6.0, 4.0, 2.0], [10.0, 8.0, 6.0, 4.0], [90.0, 90.0, 90.0])

    faint, mean = drawn(runs, by_run)

    assert (faint.faint, faint.label, list(faint.y)) == (True, "", [90.0] * 3)
    assert faint.belongs_to == mean.label == "he-resnet20 n=2 of 3"
    assert list(mean.y) == [9.0, 7.0, 5.0, 3.0]


def test_a_mean_of_training_seeds_ends_with_the_shortest(tmp_path: Path):
    """With fewer seeds the curve would jump."""
    runs = network(tmp_path, (None, 4), (None, 2), total=8)

    (mean,) = drawn(runs, histories(runs, [8.0, 6.0, 4.0, 2.0], [10.0, 8.0]))

    assert mean.label == "he-resnet20 n=2"
    assert (list(mean.x), list(mean.y)) == ([1, 2], [9.0, 7.0])


def test_a_missing_value_is_a_gap_of_the_mean(tmp_path: Path):
    """The mean of the other seeds would be another quantity."""
    runs = network(tmp_path, (SUCCEEDED, 3), (SUCCEEDED, 3), total=3)

    (mean,) = drawn(runs, histories(runs, [8.0, None, 4.0], [10.0, 8.0, 6.0]))

    assert np.isnan(mean.y).tolist() == [False, True, False]


def test_single_seeds_on_request(tmp_path: Path):
    """They share the look of their network."""
    runs = network(tmp_path, (SUCCEEDED, 2), (SUCCEEDED, 2), total=2)

    curves = drawn(runs, histories(runs, [8.0, 6.0], [10.0, 8.0]), Options(single_seeds=True))

    assert [one.label for one in curves] == ["he-resnet20-s0", "he-resnet20-s1"]
    assert len({(one.marker, one.colour, one.dashed) for one in curves}) == 1
    assert all(one.low is None for one in curves)


@pytest.mark.parametrize(("axis", "x"), [(Axis.STEP, [10, 20]), (Axis.TIME, [15.0, 30.0])])
def test_the_other_axes_have_means_too(tmp_path: Path, axis: Axis, x: list[float]):
    """Over time, a point lies at the mean of the seeds' training times."""
    runs = network(tmp_path, (SUCCEEDED, 2), (SUCCEEDED, 2), total=2)

    (mean,) = drawn(runs, histories(runs, [8.0, 6.0], [10.0, 8.0]), Options(axis=axis))

    assert list(mean.x) == x
    assert list(mean.y) == [9.0, 7.0]


def test_the_axis_ends_with_the_plan(tmp_path: Path):
    """Twelve epochs are drawn from 1 to 12, also while the third of them trains; growing has to be asked for."""
    runs = network(tmp_path, (None, 3), total=12)
    curves = drawn(runs, histories(runs, [8.0, 6.0, 4.0]))

    assert planned_range(runs, curves, Options()) == (1.0, 12.0)
    assert planned_range(runs, curves, Options(growing=True)) == (0.0, 3.0)
    steps = planned_range(runs, curves, Options(axis=Axis.STEP))
    assert steps == (0.0, 12.0 * samples.STEPS_PER_EPOCH)


def test_rate_drops_are_marked(tmp_path: Path):
    """Error falls where the rate does; the line says why."""
    runs = network(tmp_path, (None, 3), total=12)

    assert [(one.x, one.label) for one in rate_drops(runs, Options())] == [(6.0, "lr 0.01"), (9.0, "lr 0.001")]
    assert rate_drops(runs, Options(axis=Axis.TIME)) == []
