"""Every diagnosis and the stop rule on a table of made-up and recorded curves."""

from __future__ import annotations

import pytest

from tests.curves import Curve, judge, made_up_curves, recorded_curves

CURVES = [*made_up_curves(), *recorded_curves()]


@pytest.mark.parametrize("curve", CURVES, ids=[curve.name for curve in CURVES])
def test_a_curve_gets_its_diagnoses_and_no_other(curve: Curve):
    """After whatever epoch one looks: no false alarm on the way, and no run stopped that would learn."""
    verdicts = judge(curve)

    assert set(verdicts.first) == curve.found
    assert (verdicts.stopped_at is not None) is curve.stopped
    assert bool(verdicts.outlooks) is (curve.says is not None)
    assert curve.says is None or any(curve.says in words for words in verdicts.outlooks.values())
