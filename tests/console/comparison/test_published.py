"""Published results, and notes on differences in setup."""

from __future__ import annotations

import pytest

from console.comparison.published import HE, PUBLISHED, REPORT, differences, published
from engine.spec.precision import Precision
from engine.spec.recipes import recipe
from engine.spec.run import DataSpec, RunSpec
from models.catalog import Architecture, model_spec


@pytest.mark.parametrize(
    ("architecture", "depth", "text"),
    [
        ("he-resnet", 56, "6.97 (He et al.)"),
        ("he-resnet", 110, "6.61 ± 0.16 (He et al.)"),
        ("he-plain", 110, ">60.00 (He et al.)"),
        ("resnet", 20, "8.08 (report)"),
        ("plain", 110, "89.66 (report)"),
    ],
)
def test_numbers_are_those_of_the_sources(architecture: str, depth: int, text: str):
    """Means of five runs rather than the best; bounds are marked."""
    found = published(model_spec(architecture, depth))

    assert found is not None
    assert found.text == text


def test_no_published_number_is_shown_for_another_network():
    """No results are published for other depths, blocks, class counts, or without normalisation."""
    assert published(model_spec("he-resnet", 8)) is None
    assert published(model_spec("plain", 110, block="bottleneck")) is None
    assert published(model_spec("resnet", None, blocks=[3, 3, 2, 1])) is None
    assert published(model_spec("he-plain", 110, norm="none")) is None
    assert published(model_spec("he-resnet", 56, num_classes=100)) is None
    assert published(model_spec("preact", 56)) is None
    assert {one.architecture for one in PUBLISHED} == {
        Architecture.HE_RESNET,
        Architecture.HE_PLAIN,
        Architecture.RESNET,
        Architecture.PLAIN,
    }


def test_same_training_differs_in_nothing():
    """The paper's network, recipe, images and precision."""
    spec = RunSpec(model=model_spec("he-resnet", 56), data=DataSpec(name="cifar10"), recipe=recipe("reference"))

    assert differences(spec, Precision.FP32, HE) == []


def test_all_differences_are_listed():
    """Dataset, subset, width, epochs, recipe and precision."""
    spec = RunSpec(
        model=model_spec("he-resnet", 56, width=8),
        data=DataSpec(name="cifar10-jpeg", train_images=5000),
        recipe=recipe("quick", learning_rate=0.05),
    )

    assert differences(spec, Precision.BF16, HE) == [
        "data cifar10-jpeg (CIFAR-10 there)",
        "5000 training images (50000 there)",
        "width 8 (16 there)",
        "30 epochs (164 there)",
        "learning rate 0.05 (0.1 there)",
        "schedule one-cycle (step there)",
        "bf16 (fp32 there)",
    ]


def test_what_the_report_does_not_say_is_not_guessed():
    """The report states neither epochs, learning rate nor schedule."""
    spec = RunSpec(model=model_spec("plain", 20), data=DataSpec(name="cifar10"), recipe=recipe("reference"))

    assert differences(spec, None, REPORT) == [
        "164 epochs (not stated there)",
        "learning rate 0.1 and schedule step (not stated there)",
    ]
