"""Published results for these networks, and how a run's setup differs from theirs.

Results are final test errors on CIFAR-10. Only the same network with the same data and recipe should reproduce them, up
to variation between seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from console.comparison.groups import Group
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
    """A publication and its training setup, as far as stated."""

    name: str
    """Short name for tables."""
    citation: str
    epochs: int | None
    """Number of epochs; None if not stated."""
    follows_recipe: bool
    """Whether it states learning rate, batch size and schedule, and they are those of the recipe `reference`."""


HE = Source("He et al.", "He et al. 2015 (arXiv:1512.03385), table 6", epochs=164, follows_recipe=True)
REPORT = Source("report", "the course report that is reproduced here", epochs=None, follows_recipe=False)


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
    """Whether the number is only a lower bound."""

    @property
    def number(self) -> str:
        """The error: 6.61, or >60.00 for a bound."""
        return f"{'>' if self.is_bound else ''}{self.test_error_percent:.2f}"

    @property
    def text(self) -> str:
        """The error and its source: 6.61 ± 0.16 (He et al.)."""
        spread = "" if self.std is None else f" ± {self.std:.2f}"
        return f"{self.number}{spread} ({self.source.name})"


PUBLISHED = (
    Published(HE, Architecture.HE_RESNET, 20, 8.75),
    Published(HE, Architecture.HE_RESNET, 32, 7.51),
    Published(HE, Architecture.HE_RESNET, 44, 7.17),
    Published(HE, Architecture.HE_RESNET, 56, 6.97),
    # The mean of five runs; their best, 6.43, is not representative.
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
    """Find the published error of a network, whatever its width; None if there is none."""
    if model.block is not Block.BASIC or model.norm is not Norm.BATCH or model.num_classes != 10:
        return None
    for one in PUBLISHED:
        if (one.architecture, one.depth) == (model.architecture, model.depth):
            return one if catalog.model_spec(one.architecture, one.depth).blocks == model.blocks else None
    return None


def published_of(group: Group) -> Published | None:
    """Find the published error for a group; None if there is none or the images are synthetic."""
    return None if any(run.synthetic for run in group.runs) else published(group.model)


def differences(spec: RunSpec, precision: Precision | None, source: Source) -> list[str]:
    """Differences of a run's setup from a source's, as `here (there)`; empty for an exact reproduction.

    Args:
        spec: Spec of the run.
        precision: Precision of the run; None while unknown.
        source: Source to compare with. All sources used float32 on the original CIFAR-10.
    """
    found: list[str] = []
    if spec.data.name != "cifar10":
        found.append(f"data {clean(spec.data.name)} (CIFAR-10 there)")
    if spec.data.train_images not in (None, IMAGES_OF_CIFAR10):
        found.append(f"{spec.data.train_images} training images (50000 there)")
    if spec.data.validation_images is not None:
        found.append(f"{spec.data.validation_images} training images held out for validation")
    width = spec.model.design.width
    if spec.model.width != width:
        found.append(f"width {spec.model.width} ({width} there)")
    if source.epochs is None:
        found.append(f"{spec.recipe.epochs} epochs (not stated there)")
    elif spec.recipe.epochs != source.epochs:
        found.append(f"{spec.recipe.epochs} epochs ({source.epochs} there)")
    found += training_differences(spec, source)
    if precision not in (None, Precision.FP32):
        found.append(f"{precision} (fp32 there)")
    return found


def training_differences(spec: RunSpec, source: Source) -> list[str]:
    """Differences in learning rate, batch size, schedule and augmentation."""
    if not source.follows_recipe:
        return [f"learning rate {spec.recipe.learning_rate:g} and schedule {spec.recipe.schedule} (not stated there)"]
    theirs, names = RECIPES["reference"], ("batch_size", "learning_rate", "schedule", "drops", "drop_factor", "augment")
    return [
        f"{name.replace('_', ' ')} {formatted(getattr(spec.recipe, name))} ({formatted(getattr(theirs, name))} there)"
        for name in names
        if getattr(spec.recipe, name) != getattr(theirs, name)
    ]


def formatted(value: object) -> str:
    """Format the value of a recipe field."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def published_notes(runs: Sequence[Run]) -> list[str]:
    """One line for each source with results for these networks: its citation and what differs here."""
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
