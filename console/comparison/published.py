"""The numbers that others have published for these networks, and what is different where a run is held against them.

They are the final test errors of whole trainings on CIFAR-10; only a run of the same network on the same images with
the same training should come out alike, and even that by chance of its seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from console.text.formatting import clean
from engine.runs.run import Run
from engine.spec.precision import Precision
from engine.spec.recipes import RECIPES
from engine.spec.run import RunSpec
from models import catalog
from models.catalog import Architecture, Block, ModelSpec, Norm

IMAGES_OF_CIFAR10 = 50_000


@dataclass(frozen=True, slots=True)
class Source:
    """Who published, and how they trained, as far as they say."""

    name: str
    """Short, for a table."""
    citation: str
    epochs: int | None
    """None where it is not said."""
    follows_recipe: bool
    """Whether rate, batch and schedule are known, and are those of the recipe `reference`."""


HE = Source(
    "He et al.",
    "He et al. 2015 (arXiv:1512.03385), table 6",
    epochs=164,
    follows_recipe=True,
)
REPORT = Source(
    "report",
    "the course report that is reproduced here",
    epochs=None,
    follows_recipe=False,
)


@dataclass(frozen=True, slots=True)
class Published:
    """One published test error."""

    source: Source
    architecture: Architecture
    depth: int
    test_error_percent: float
    std: float | None = None
    num_runs: int = 1
    is_bound: bool = False
    """Whether no more is said than that it is above this."""

    @property
    def words(self) -> str:
        """The number and who says so."""
        number = f"{'>' if self.is_bound else ''}{self.test_error_percent:.2f}"
        spread = "" if self.std is None else f" ± {self.std:.2f}"
        return f"{number}{spread} ({self.source.name})"


PUBLISHED = (
    Published(HE, Architecture.HE_RESNET, 20, 8.75),
    Published(HE, Architecture.HE_RESNET, 32, 7.51),
    Published(HE, Architecture.HE_RESNET, 44, 7.17),
    Published(HE, Architecture.HE_RESNET, 56, 6.97),
    # The best of the five was 6.43; the best is no result.
    Published(HE, Architecture.HE_RESNET, 110, 6.61, std=0.16, num_runs=5),
    Published(HE, Architecture.HE_RESNET, 1202, 7.93),
    Published(HE, Architecture.HE_PLAIN, 110, 60.0, is_bound=True),
    Published(REPORT, Architecture.RESNET, 20, 8.08326686108),
    Published(REPORT, Architecture.RESNET, 56, 7.73773704366),
    Published(REPORT, Architecture.RESNET, 110, 7.46300281706),
    Published(REPORT, Architecture.PLAIN, 20, 8.91529343872),
    Published(REPORT, Architecture.PLAIN, 56, 39.0302302229),
    Published(REPORT, Architecture.PLAIN, 110, 89.6647951919),
)


def published(model: ModelSpec) -> Published | None:
    """What was published for a network, whatever its width here; None where nothing was."""
    if model.block is not Block.BASIC or model.norm is not Norm.BATCH or model.num_classes != 10:
        return None
    for one in PUBLISHED:
        if (one.architecture, one.depth) == (model.architecture, model.depth):
            return one if catalog.model_spec(one.architecture, one.depth).blocks == model.blocks else None
    return None


def differences(spec: RunSpec, precision: Precision | None, source: Source) -> list[str]:
    """What is different here, each as `here, there`; empty where a run repeats what the source did.

    Args:
        spec: Of a run.
        precision: What it is computed in; None while nobody knows.
        source: Whose number it is held against. All of them computed in float32 on the original CIFAR-10.
    """
    found: list[str] = []
    if spec.data.name != "cifar10":
        found.append(f"data {clean(spec.data.name)} (CIFAR-10 there)")
    if spec.data.train_images not in (None, IMAGES_OF_CIFAR10):
        found.append(f"{spec.data.train_images} training images (50000 there)")
    width = spec.model.design.width
    if spec.model.width != width:
        found.append(f"width {spec.model.width} ({width} there)")
    if source.epochs is None:
        found.append(f"{spec.recipe.epochs} epochs (not said there)")
    elif spec.recipe.epochs != source.epochs:
        found.append(f"{spec.recipe.epochs} epochs ({source.epochs} there)")
    found += training_differences(spec, source)
    if precision not in (None, Precision.FP32):
        found.append(f"{precision} (fp32 there)")
    return found


def training_differences(spec: RunSpec, source: Source) -> list[str]:
    """What is different in rate, batch, schedule and augmentation."""
    if not source.follows_recipe:
        return [f"rate {spec.recipe.learning_rate:g} and schedule {spec.recipe.schedule} (not said there)"]
    theirs, names = RECIPES["reference"], ("batch_size", "learning_rate", "schedule", "drops", "drop_factor", "augment")
    return [
        f"{name.replace('_', ' ')} {words(getattr(spec.recipe, name))} ({words(getattr(theirs, name))} there)"
        for name in names
        if getattr(spec.recipe, name) != getattr(theirs, name)
    ]


def words(value: object) -> str:
    """A field of a recipe, as it is said."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def published_notes(runs: Sequence[Run]) -> list[str]:
    """A line for every source that has published a number of these networks: who it is, and what is different here."""
    by_source: dict[str, tuple[Source, list[str]]] = {}
    for run in runs:
        if (one := published(run.spec.model)) is None or run.synthetic:
            continue
        _, found = by_source.setdefault(one.source.name, (one.source, []))
        found += [each for each in differences(run.spec, run.precision, one.source) if each not in found]
    return [
        f"published: {source.citation}; here " + (", ".join(found) if found else "the same training")
        for source, found in by_source.values()
    ]
