"""The learning rate is a pure function of the step."""

import pytest
import torch

from engine.spec.recipes import RECIPES, Recipe, recipe
from engine.spec.schedule import (
    has_fall_ahead,
    high_rate_epochs,
    learning_rate_at,
    rate_drops,
    warmup_epochs,
)


def test_reference_falls_tenfold_at_half_and_three_quarters():
    """The paper's 32k and 48k of 64k updates; for 164 epochs that is after 82 and 123."""
    steps_per_epoch = 391
    total = 164 * steps_per_epoch
    at = [learning_rate_at(epoch * steps_per_epoch, RECIPES["reference"], total_steps=total) for epoch in (0, 82, 123)]
    before = learning_rate_at(82 * steps_per_epoch - 1, RECIPES["reference"], total_steps=total)

    assert at == pytest.approx([0.1, 0.01, 0.001])
    assert before == 0.1


def test_a_drop_factor_of_a_fifth_falls_fivefold_at_each_drop():
    """The steps of Wide ResNet (Zagoruyko and Komodakis 2016)."""
    fifth = recipe("reference", drops=(0.3, 0.6, 0.8), drop_factor=0.2)

    at = [learning_rate_at(step, fifth, total_steps=100) for step in (29, 30, 60, 80)]

    assert at == pytest.approx([0.1, 0.02, 0.004, 0.0008])


def test_constant_never_moves():
    """As on the report's command line: one rate for the whole run."""
    rates = {learning_rate_at(step, RECIPES["constant"], total_steps=50) for step in range(50)}

    assert rates == {0.1}


def test_one_cycle_rises_to_its_peak_and_falls_to_nearly_nothing():
    """Three tenths up, the rest down, in straight lines."""
    rates = [learning_rate_at(step, RECIPES["quick"], total_steps=100) for step in range(100)]

    assert max(rates) == rates[30] == pytest.approx(0.1)
    assert rates[0] == pytest.approx(0.004)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)
    assert 0 < rates[99] < 0.002


def test_warm_up_keeps_its_rate_then_the_schedule_continues():
    """The paper warms up 110 layers at 0.01."""
    warm = recipe("reference", warmup_rate=0.01, warmup_steps=3)

    assert [learning_rate_at(step, warm, total_steps=100) for step in range(5)] == [0.01, 0.01, 0.01, 0.1, 0.1]


@pytest.mark.parametrize("epochs", [1, 7, 200])
def test_cosine_is_pytorch_cifars(epochs: int):
    """CosineAnnealingLR with T_max = epochs, stepped after each epoch: one rate for all updates of an epoch."""
    steps_per_epoch = 3
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    theirs = []
    for _ in range(epochs):
        theirs += [optimizer.param_groups[0]["lr"]] * steps_per_epoch
        optimizer.step()
        scheduler.step()

    cosine = recipe("reference", schedule="cosine", epochs=epochs)
    total = epochs * steps_per_epoch
    ours = [learning_rate_at(step, cosine, total_steps=total) for step in range(total)]

    assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("step", [-1, 100])
def test_a_step_outside_the_run_is_refused(step: int):
    """A wrong step would silently train with a wrong rate."""
    with pytest.raises(ValueError, match=r"step must be in 0\.\.99"):
        learning_rate_at(step, RECIPES["reference"], total_steps=100)


@pytest.mark.parametrize(
    ("used", "drops", "high"),
    [
        (RECIPES["reference"], (82, 123), 82),
        (RECIPES["constant"], (), 164),
        (RECIPES["quick"], (), 20),
        (recipe("reference", schedule="cosine", epochs=200), (), 101),
        (recipe("reference", epochs=163), (82, 123), 82),
        (recipe("reference", drops=(0.3, 0.6, 0.8), drop_factor=0.2), (50, 99, 132), 50),
        (recipe("reference", drops=(0.5,), drop_factor=0.9), (), 164),
        (recipe("reference", warmup_rate=0.01, warmup_steps=3 * 391), (82, 123), 82),
        (recipe("reference", epochs=10_000), (5000, 7500), 5000),
    ],
)
def test_drops_of_the_rate_are_found_in_any_schedule(used: Recipe, drops: tuple[int, ...], high: int):
    """To half or less at once; a gradual fall has none, and what is long is sampled, its drops exact."""
    assert rate_drops(used, steps_per_epoch=391) == drops
    assert high_rate_epochs(used, steps_per_epoch=391) == pytest.approx(high, abs=used.epochs / 1000)


@pytest.mark.parametrize(
    ("used", "falls", "stays"),
    [
        (RECIPES["reference"], (1, 82, 122, 123), (124, 164)),
        (RECIPES["constant"], (), (1, 100, 164)),
        (RECIPES["quick"], (2, 9, 29), (30,)),
        (recipe("reference", schedule="cosine", epochs=200), (1, 199), (200,)),
        (recipe("reference", drops=(0.5,), drop_factor=0.9), (), (1, 82, 164)),
    ],
)
def test_a_fall_is_ahead_until_the_rate_is_near_its_lowest(used: Recipe, falls: list[int], stays: list[int]):
    """The last stretch of a step schedule, and the last epoch of a gradual one, have none."""
    assert all(has_fall_ahead(epoch, used, steps_per_epoch=391) for epoch in falls)
    assert not any(has_fall_ahead(epoch, used, steps_per_epoch=391) for epoch in stays)


def test_warmup_covers_whole_epochs():
    """An epoch with one update at the warm-up rate belongs to it, and so does a one-cycle's rise; mere steps do not."""
    assert warmup_epochs(RECIPES["quick"], steps_per_epoch=391) == 9
    assert warmup_epochs(recipe("reference", warmup_rate=0.5), steps_per_epoch=391) == 2
    assert warmup_epochs(recipe("reference", warmup_rate=0.01), steps_per_epoch=391) == 2
    assert warmup_epochs(recipe("reference", warmup_rate=0.01, warmup_steps=391), steps_per_epoch=391) == 1
    assert warmup_epochs(recipe("reference"), steps_per_epoch=391) == 0
