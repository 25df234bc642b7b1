"""Run specs: valid values and errors."""

import msgspec
import pytest

from engine.base.errors import UsageError
from engine.spec.recipes import RECIPES, recipe, recipe_label
from engine.spec.run import DataSpec, RunSpec, check_fits_data, decode_spec, encode_spec
from models.catalog import model_spec


def a_spec(**changes: object) -> RunSpec:
    return msgspec.structs.replace(RunSpec(model=model_spec("he-resnet", 20)), **changes)


def test_a_spec_goes_through_json_unchanged():
    """Engine, worker and report read what the console wrote."""
    spec = a_spec(seed=7, data=DataSpec(name="tiny", train_images=40), recipe=recipe("quick", drops=(0.25,)))

    assert decode_spec(encode_spec(spec)) == spec


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": (0.5, 0.5)}, "mean must be three numbers in 0..1, got 0.5,0.5"),
        ({"mean": (125.3, 123.0, 113.9)}, "mean must be three numbers in 0..1, got 125.3,123,113.9"),
        ({"std": (0.2, 0.0, 0.2)}, "std must be three numbers above 0 and up to 1, got 0.2,0,0.2"),
        ({"std": (0.2, float("nan"), 0.2)}, "std must be three numbers above 0"),
    ],
)
def test_a_normalisation_that_makes_no_sense_names_its_numbers(changes: dict[str, object], words: str):
    """Numbers of the 0..255 scale are the common mistake."""
    with pytest.raises(ValueError, match=words):
        DataSpec(**changes)


def test_a_spec_without_normalisation_keeps_its_meaning():
    """Specs of earlier versions have no such fields."""
    old = encode_spec(a_spec()).replace(b'"mean":null,', b"").replace(b'"std":null,', b"")

    assert b"mean" not in old
    assert decode_spec(old) == a_spec()


@pytest.mark.parametrize(
    ("named", "changes", "label"),
    [
        ("reference", {}, "reference"),
        ("reference", {"learning_rate": 0.01, "batch_size": 64}, "reference, batch 64, lr 0.01"),
        ("quick", {"epochs": 2, "augment": False}, "quick, epochs 2, no augment"),
        ("reference", {"drops": (0.25, 0.5), "schedule": "step"}, "reference, drops 0.25,0.5"),
        ("report", {"warmup_rate": 0.01, "schedule": "cosine"}, "report, schedule cosine, warmup rate 0.01"),
        ("constant", {"deterministic": True, "precision": "bf16"}, "constant, precision bf16, deterministic"),
    ],
)
def test_a_recipe_is_shown_with_what_overrides_it(named: str, changes: dict[str, object], label: str):
    """A bare name would claim the recipe's own values."""
    assert recipe_label(recipe(named, **changes)) == label


def test_unknown_fields_are_refused():
    """Otherwise a misspelt field would train with a default."""
    content = encode_spec(a_spec()).replace(b'"seed"', b'"sede"')

    with pytest.raises(UsageError, match="sede"):
        decode_spec(content)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number, got nan"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, got 1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0, got -1.0"),
        ({"drop_factor": 1.0}, "drop_factor must be between 0 and 1"),
        ({"drops": (0.75, 0.5)}, "drops must be rising fractions"),
        ({"warmup_rate": -0.1}, "warmup_rate must be a positive number"),
        ({"schedule": "sine"}, "schedule must be one of step, constant, one-cycle, cosine, got 'sine'"),
    ],
)
def test_a_recipe_that_makes_no_sense_names_the_value(changes: dict[str, object], words: str):
    """The error has the problem, the value and valid values."""
    with pytest.raises(ValueError, match=words):
        recipe("reference", **changes)


def test_an_unknown_recipe_lists_the_known_ones():
    """It also suggests the closest one."""
    with pytest.raises(ValueError, match="reference, constant, quick, report; did you mean reference"):
        recipe("refrence")


def test_the_reference_recipe_is_the_papers():
    """He et al. 2015, section 4.2: 164 epochs of batches of 128 are 64k updates."""
    reference = RECIPES["reference"]

    assert (reference.learning_rate, reference.momentum, reference.weight_decay) == (0.1, 0.9, 1e-4)
    assert (reference.batch_size, reference.epochs, reference.drops) == (128, 164, (0.5, 0.75))
    assert a_spec().steps_per_epoch(50_000) == 391
    assert pytest.approx(64_000, rel=0.01) == 164 * 391


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": recipe("reference", batch_size=60_000)}, r"batch_size must be at most 50000 \(the training set\)"),
        ({"data": DataSpec(train_images=60)}, r"batch_size must be at most 60 \(the training set\), got 128"),
        ({"data": DataSpec(train_images=50_001)}, r"train_images must be in 10\.\.50000 for cifar10, got 50001"),
        (
            {"data": DataSpec(validation_images=49_995)},
            r"validation_images must be in 10\.\.49990 for cifar10, got 49995",
        ),
        (
            {"data": DataSpec(validation_images=5_000, train_images=45_001)},
            r"train_images must be at most 45000 beside 5000 validation images, got 45001",
        ),
        (
            {"data": DataSpec(validation_images=49_900)},
            r"batch_size must be at most 100 \(the training set\), got 128",
        ),
        ({"data": DataSpec(test_images=5)}, r"test_images must be in 10\.\.10000 for cifar10, got 5"),
        ({"model": model_spec("resnet", 20, num_classes=7)}, "num_classes must be 10 for cifar10, got 7"),
    ],
)
def test_a_run_that_its_data_cannot_serve_is_refused(changes: dict[str, object], words: str):
    """Detected before training, not during it."""
    with pytest.raises(ValueError, match=words):
        check_fits_data(a_spec(**changes), num_train=50_000, num_test=10_000, num_classes=10)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": -1}, "seed must be in"),
        ({"device": "gpu"}, "device must be cpu or cuda:N"),
        ({"format": 2}, "format 2"),
    ],
)
def test_a_spec_cannot_hold_nonsense(changes: dict[str, object], words: str):
    """An existing spec is always valid."""
    with pytest.raises(ValueError, match=words):
        a_spec(**changes)
