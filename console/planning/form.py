"""The form of a new experiment as plain words, and what they mean: as `depthscope train` takes and refuses them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from console.planning import planning
from console.text.formatting import byte_size, count, duration
from engine.base.errors import DepthscopeError, UsageError
from engine.base.paths import Home
from engine.base.units import size_as_typed
from engine.control.protocol import NewRun
from engine.data import datasets
from engine.spec.recipes import RECIPES, Recipe
from engine.spec.run import RunSpec
from models import cost
from models.catalog import Architecture, known_depths

WHOLE = ("epochs", "batch_size", "warmup_steps")
REAL = ("learning_rate", "warmup_rate", "momentum", "weight_decay")
YES_OR_NO = ("augment", "deterministic", "checkpoint_activations")
RECIPE_FIELDS = tuple(field.name for field in msgspec.structs.fields(Recipe) if field.name != "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """Every field as it stands in the form; an empty one takes the default."""

    architectures: Sequence[str] = ()
    depths: str = ""
    seeds: str = ""
    dataset: str = "cifar10"
    train_images: str = ""
    test_images: str = ""
    recipe: str = "reference"
    fields: dict[str, str]
    """Fields of the recipe."""
    width: str = ""
    block: str = ""
    blocks: str = ""
    norm: str = "batch"
    conv_bias: bool = False
    device: str = ""
    memory_limit: str = ""
    stop_when: str = ""
    experiment: str = ""


def offered_depths(architectures: Iterable[str]) -> list[int]:
    """Depths to choose from: all that the chosen architectures have in common."""
    chosen = [set(known_depths(Architecture(one))) for one in architectures]
    return sorted(set.intersection(*chosen)) if chosen else []


def plan(home: Home, filled: Filled) -> list[NewRun]:
    """The runs that the form would make.

    Raises:
        UsageError: a field makes no sense; the text is the command line's.
    """
    if not filled.architectures:
        raise UsageError("an architecture is needed: space chooses one")
    overrides: dict[str, object] = {}
    for name, text in filled.fields.items():
        if word := text.strip():
            overrides[name] = recipe_value(name, word)
    return planning.plan_runs(
        home,
        planning.Asked(
            architectures=filled.architectures,
            depths=planning.whole_numbers([filled.depths], "depth"),
            seeds=planning.whole_numbers([filled.seeds], "seeds") or [0],
            block=filled.block or None,
            blocks=planning.whole_numbers([filled.blocks], "blocks") if filled.blocks.strip() else None,
            width=optional_whole(filled.width, "width"),
            conv_bias=filled.conv_bias,
            norm=filled.norm,
            dataset=filled.dataset,
            train_images=optional_whole(filled.train_images, "train_images"),
            test_images=optional_whole(filled.test_images, "test_images"),
            recipe=filled.recipe,
            overrides=overrides,
            device=filled.device.strip() or None,
            memory_limit=filled.memory_limit.strip() or None,
            stop_when=filled.stop_when or None,
        ),
    )


def recipe_value(name: str, word: str) -> object:
    """A field of the recipe from what was typed.

    Raises:
        UsageError: it is no number, or neither yes nor no.
    """
    if name in WHOLE:
        return optional_whole(word, name)
    if name in REAL:
        try:
            return float(word)
        except ValueError:
            raise UsageError(f"{name} must be a number, got {word!r}") from None
    if name == "drops":
        return planning.fractions(word)
    if name in YES_OR_NO:
        if word not in ("yes", "no"):
            raise UsageError(f"{name} must be yes or no, got {word!r}")
        return word == "yes"
    return word


def optional_whole(text: str, what: str) -> int | None:
    """One whole number, or None where nothing was typed.

    Raises:
        UsageError: it is something else.
    """
    word = text.strip()
    if not word:
        return None
    if not word.isascii() or not word.isdigit():
        raise UsageError(f"{what} must be a whole number, got {word!r}")
    return int(word)


def filled_from(spec: RunSpec) -> Filled:
    """The form that would make a run again; what the named recipe has already is left empty."""
    recipe, model, data = spec.recipe, spec.model, spec.data
    name = recipe.name if recipe.name in RECIPES else "reference"
    fields = {}
    for field in RECIPE_FIELDS:
        value, default = getattr(recipe, field), getattr(RECIPES[name], field)
        fields[field] = "" if value == default else words_of(value)
    known = model.depth in known_depths(model.architecture)
    return Filled(
        architectures=[model.architecture.value],
        depths=str(model.depth) if known or model.architecture.value.startswith("he-") else "",
        blocks="" if known or model.architecture.value.startswith("he-") else ",".join(map(str, model.blocks)),
        seeds=str(spec.seed),
        dataset=data.name,
        train_images="" if data.train_images is None else str(data.train_images),
        test_images="" if data.test_images is None else str(data.test_images),
        recipe=name,
        fields=fields,
        width=str(model.width),
        block=model.block.value if known and model.depth == 110 else "",
        norm=model.norm.value,
        conv_bias=model.conv_bias,
        device=spec.device or "",
        stop_when="" if spec.stop_when is None else spec.stop_when.value,
        memory_limit="" if spec.memory_limit_bytes is None else size_as_typed(spec.memory_limit_bytes),
    )


def words_of(value: object) -> str:
    """A field of the recipe as it is typed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(f"{part:g}" for part in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def plan_rows(home: Home, planned: Sequence[NewRun]) -> list[list[str]]:
    """A row a run: name, parameters, MACs, estimated memory, whether it fits, and estimated time.

    Args:
        home: Whose dataset is asked for its size.
        planned: What `plan` made, with what each run is expected to take.
    """
    if not planned:
        return []
    rows = []
    for run, verdict in zip(planned, planning.judge_all(home, planned), strict=True):
        rows.append(
            [
                run.name,
                count(cost.num_parameters(run.spec.model)),
                count(cost.forward_macs(run.spec.model)),
                f"~{byte_size(verdict.estimate.total_bytes)}",
                "yes" if verdict.fits else "no",
                "unknown" if run.estimate is None else f"~{duration(run.estimate.total_seconds)}",
            ]
        )
    return rows


def dataset_names(home: Home) -> list[str]:
    """Datasets that can be chosen, those that are here first."""
    try:
        listed = datasets.list_datasets(home)
    except DepthscopeError:
        return ["cifar10", "synthetic"]
    return [entry.name for entry in sorted(listed, key=lambda entry: not entry.cached)]
