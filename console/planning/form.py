"""Contents of the new-experiment form, parsed and checked exactly like the options of `depthscope train`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from console.planning import planning
from console.planning.option import Group, Option, split_values
from console.planning.options import BY_NAME, OPTIONS, RunOptions, in_form
from engine.base.paths import Home
from engine.control.protocol import NewRun
from engine.spec.errors import InvalidField
from engine.spec.recipes import RECIPES, implied
from engine.spec.run import RunSpec
from models.catalog import ARCHITECTURES, THREE_STAGE, Architecture, ModelSpec, has_depth, model_spec

RECIPE_FIELDS = tuple(one.name for one in OPTIONS if one.part == "recipe" and one.field != "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """Contents of the form's fields; an empty field takes the default."""

    architectures: Sequence[str] = ()
    texts: Mapping[str, str]
    """Texts of the fields, by option name."""

    @property
    def is_complete(self) -> bool:
        """Whether what has no default is filled in: an architecture, and a depth or blocks."""
        return bool(self.architectures) and any(self.texts.get(name, "").strip() for name in ("depths", "blocks"))

    def dataset(self) -> str:
        """Name of the chosen dataset."""
        return self.texts.get("dataset") or str(BY_NAME["dataset"].default)


ARCHITECTURE_NOTES = {
    Architecture.RESNET: "four stages with shortcuts, as in ImageNet networks",
    Architecture.PLAIN: "resnet without its shortcuts",
    Architecture.PREACT: "resnet with normalisation and activation before each convolution",
    Architecture.HE_RESNET: "three narrow stages with shortcuts, the paper's CIFAR networks",
    Architecture.HE_PLAIN: "he-resnet without its shortcuts",
}
"""What the form says about each architecture."""
SINGULAR = {"architectures": "architecture", "depths": "depth", "seeds": "seed"}
"""Labels of crossed options where a run has one value."""
SPEC_COLUMNS: tuple[tuple[Group, ...], ...] = (("network", "run", "device"), ("training", "data"))
SPEC_WIDTH = 40
"""Groups of the table of a spec, by column, and the width of the first."""
EXPERIMENT_NOTE = "Name of the experiment; an existing one gets these runs, too."


def offered_depths(architectures: Iterable[str]) -> list[int]:
    """Depths offered for any of the chosen architectures at which all of them exist."""
    chosen = [Architecture(one) for one in architectures]
    offered = {depth for one in chosen for depth in ARCHITECTURES[one].depths}
    return sorted(depth for depth in offered if all(has_depth(one, depth) for one in chosen))


def toggled(text: str, value: str) -> str:
    """Text of a list with a value added, or removed if it is there; numbers are sorted."""
    words = split_values([text])
    changed = [word for word in words if word != value] if value in words else [*words, value]
    return ",".join(sorted(changed, key=lambda word: (not word.isdigit(), int(word) if word.isdigit() else 0)))


def plan(home: Home, filled: Filled) -> list[NewRun]:
    """Plan the runs the form describes.

    Raises:
        UsageError: a field is invalid; `label_named` makes the text for the form.
    """
    if not filled.architectures:
        raise InvalidField("architectures", text="choose an architecture: space ticks the one under the cursor")
    if not filled.is_complete:
        raise InvalidField("depths", text="choose a depth, or type one")
    typed = {name: BY_NAME[name].parse(text) for name, text in filled.texts.items() if text.strip()}
    return planning.plan_runs(home, RunOptions(architectures=filled.architectures, **typed))


def differing(option: Option, text: str) -> str:
    """How a field differs from its default, such as "momentum 0"; empty if it does not."""
    return f"{option.label} {text.strip()}" if text.strip() not in ("", option.text(option.default)) else ""


def filled_from(spec: RunSpec) -> Filled:
    """Fill the form so that it plans a given run again; recipe defaults stay empty."""
    name = spec.recipe.name if spec.recipe.name in RECIPES else "reference"
    parts = {"recipe": spec.recipe, "model": spec.model, "data": spec.data, "run": spec}
    texts = {}
    for option in in_form():
        value = getattr(parts[option.part], option.field)
        default = default_of(option, name, spec)
        value = (value,) if option.crossed else value
        texts[option.name] = "" if value == default else option.text(value)
    texts["recipe"] = name
    model = spec.model
    # Known depths define the network; otherwise its blocks do.
    is_known = model.depth in model.design.depths
    if is_known or model.architecture in THREE_STAGE:
        texts["blocks"] = ""
    else:
        texts["depths"] = ""
    if not (is_known and model.depth == 110):
        texts["block"] = ""
    return Filled(architectures=[texts.pop("architectures")], texts=texts)


def default_of(option: Option, name: str, spec: RunSpec) -> Any:
    """Value that a run gets where the form leaves an option out, with a recipe and the network's architecture."""
    if option.part == "recipe":
        return getattr(RECIPES[name], option.field)
    if option.part == "model" and option.kind == "yes/no":
        return implied(name, spec.model.architecture).get(option.name, False)
    return implied(name, spec.model.architecture).get(option.name, option.default)


def spec_table(spec: RunSpec, *, unicode: bool) -> str:
    """What a run was asked for, in the groups of the form, in two columns; what differs from the defaults is marked."""
    mark = "●" if unicode else "*"
    columns = [[line for group in groups for line in [*group_lines(spec, group, mark), ""]] for groups in SPEC_COLUMNS]
    lines = [f"{left:<{SPEC_WIDTH}}{right}".rstrip() for left, right in zip_longest(*columns, fillvalue="")]
    return "\n".join([*lines, f"{mark} differs from the default"])


def group_lines(spec: RunSpec, group: Group, mark: str) -> list[str]:
    """A group's heading, and a line for each of its options."""
    name = spec.recipe.name if spec.recipe.name in RECIPES else "reference"
    parts = {"recipe": spec.recipe, "model": spec.model, "data": spec.data, "run": spec}
    model = spec.model
    catalogued: ModelSpec | None = None
    if has_depth(model.architecture, model.depth):
        catalogued = model_spec(model.architecture, model.depth, num_classes=model.num_classes)
    lines = [group.capitalize()]
    for option in (one for one in OPTIONS if one.in_form and one.group == group):
        value = getattr(parts[option.part], option.field)
        default = default_of(option, name, spec)
        if option.part == "model" and default is None and catalogued is not None:
            default = getattr(catalogued, option.field)
        sign = mark if value != default and not option.crossed and option.name != "recipe" else " "
        text = option.text((value,) if option.crossed else value)
        text = text or option.unset or option.placeholder.partition(";")[0] or "none"
        lines.append(f"{sign} {SINGULAR.get(option.name, option.label):<16}{text}")
    return lines
