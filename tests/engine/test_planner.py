"""Estimates: larger where more is needed, and learnt from what was measured."""

from __future__ import annotations

import msgspec
import pytest

from engine.paths import Home
from engine.planner import training_seconds
from engine.queries import Reader
from engine.run import Run
from tests.samples import fill_small, sample_spec


@pytest.fixture
def past(tmp_path) -> list[Run]:
    home = Home(tmp_path / "home").create()
    fill_small(home)
    with Reader(home.database) as reader:
        return reader.runs()


def test_time_is_that_of_the_same_network_before(past: list[Run]):
    """164 epochs of 50,000 images at the pace that was measured."""
    (before,) = [run for run in past if run.name == "he-plain20-s0"]

    seconds = training_seconds(before.spec, num_train=50_000, past=[before])

    assert seconds == pytest.approx(164 * 50_000 / before.images_per_second)


def test_time_of_a_deeper_network_is_longer(past: list[Run]):
    """In proportion to its multiply-accumulates."""
    before = [run for run in past if run.name == "he-resnet20-s0"]
    shallow = training_seconds(sample_spec("he-resnet", 20), num_train=50_000, past=before)
    deep = training_seconds(sample_spec("he-resnet", 110), num_train=50_000, past=before)

    assert shallow is not None
    assert deep is not None
    assert 4 < deep / shallow < 7


def test_no_time_is_told_without_a_run_to_go_by(past: list[Run]):
    """Neither from nothing, nor from another device."""
    spec = sample_spec("he-resnet", 20)
    on_a_gpu = msgspec.structs.replace(spec, device="cuda:0")

    assert training_seconds(spec, num_train=50_000, past=[]) is None
    assert training_seconds(on_a_gpu, num_train=50_000, past=past) is None
