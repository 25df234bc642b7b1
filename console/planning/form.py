"""Contents of the new-experiment form, parsed and checked exactly like the options of `depthscope train`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from console.planning import planning
from console.planning.option import Option
from console.planning.options import BY_NAME, OPTIONS, RunOptions, in_form
from console.text.formatting import byte_size, count, duration
from engine.base.paths import Home
from engine.control.protocol import NewRun
from engine.spec.errors import InvalidField
from engine.spec.recipes import RECIPES, implied
from engine.spec.run import RunSpec
from models import cost
from models.catalog import ARCHITECTURES, THREE_STAGE, Architecture

RECIPE_FIELDS = tuple(one.name for one in OPTIONS if one.part == "recipe" and one.field != "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """Contents of the form's fields; an empty field takes the default."""

    architectures: Sequence[str] = ()
    texts: Mapping[str, str]
    """Texts of the fields, by option name."""

    def dataset(self) -> str:
        """Name of the chosen dataset."""
        return self.texts.get("dataset") or str(BY_NAME["dataset"].default)


def offered_depths(architectures: Iterable[str]) -> list[int]:
    """Depths that all the chosen architectures have in common."""
    chosen = [set(ARCHITECTURES[Architecture(one)].depths) for one in architectures]
    return sorted(set.intersection(*chosen)) if chosen else []


def plan(home: Home, filled: Filled) -> list[NewRun]:
    """Plan the runs the form describes.

    Raises:
        UsageError: a field is invalid; the text is the command line's.
    """
    if not filled.architectures:
        raise InvalidField("architectures", text="an architecture is needed: space chooses one")
    typed = {name: BY_NAME[name].parse(text) for name, text in filled.texts.items() if text.strip()}
    return planning.plan_runs(home, RunOptions(architectures=filled.architectures, **typed))


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


def plan_rows(home: Home, planned: Sequence[NewRun]) -> list[list[str]]:
    """One row for each run of `plan`: name, parameters, MACs, estimated memory, whether it fits, estimated time."""
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
