"""`--recipe report`: its values, what it implies, and the table of the report's statements."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from console.commands.run_options import takes_runs
from console.planning.form import filled_from, plan
from console.planning.options import BY_NAME, RunOptions
from console.planning.planning import plan_runs
from console.planning.report_recipe import LINES, full_command, report_page
from engine.base.paths import Home
from models import cost

SIX = {"architectures": ("resnet", "plain"), "depths": (20, 56, 110), "recipe": "report"}


def test_the_report_recipe_plans_the_reports_networks(tmp_path: Path):
    """Both kinds of biases: the parameters counted from the report's code."""
    planned = plan_runs(Home(tmp_path), RunOptions(**SIX))
    sizes = [cost.num_parameters(run.spec.model) for run in planned if run.spec.model.architecture == "resnet"]

    assert sizes == [12_359_882, 39_812_810, 70_149_962]
    assert len(planned) == 6
    assert {run.spec.data.mean for run in planned} == {(0.4914, 0.4824, 0.4467)}
    assert {(run.spec.recipe.schedule, run.spec.recipe.precision) for run in planned} == {("constant", "fp32")}
    assert {run.spec.model.conv_bias for run in planned} == {True}


def test_the_printed_command_plans_the_same_runs_without_the_recipe(tmp_path: Path):
    """Every value is written out, so the command does not depend on what the recipe implies."""
    options = RunOptions(**SIX)
    planned = plan_runs(Home(tmp_path), options)
    seen: list[RunOptions] = []
    app = Typer()

    @app.command()
    @takes_runs
    def typed(options: RunOptions) -> None:
        """Keep the parsed options."""
        seen.append(options)

    words = shlex.split(full_command(options, planned))
    at = words.index("--recipe")
    done = CliRunner().invoke(app, [*words[2:at], *words[at + 2 :]])

    assert done.exit_code == 0, done.output
    again = plan_runs(Home(tmp_path), seen[0])
    assert len(again) == len(planned)
    for ours, theirs in zip(planned, again, strict=True):
        assert (ours.name, ours.spec.model, ours.spec.data) == (theirs.name, theirs.spec.model, theirs.spec.data)
        differing = [
            field
            for field in ours.spec.recipe.__struct_fields__
            if getattr(ours.spec.recipe, field) != getattr(theirs.spec.recipe, field)
        ]
        assert differing == ["name"]


def test_every_statement_names_an_option_and_ours_are_marked(tmp_path: Path):
    """What the report leaves open is never passed off as its own."""
    options = RunOptions(**SIX)
    page = report_page(options, plan_runs(Home(tmp_path), options))
    ours = [line for line in page.splitlines() if "ours: " in line]

    assert all(bool(line.options) != bool(line.built_in) for line in LINES)
    assert all(name in BY_NAME for line in LINES for name in line.options)
    assert [line.split("  ")[0] for line in ours] == [
        "learning rate: args.lr, no value given",
        "number of epochs: not given",
        "batch size: not given",
        "precision: not given",
        "seed, number of runs: not given",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"conv_bias": False}, "--no-conv-bias"),
        ({"dataset": "synthetic"}, "differs: cifar10 there"),
        ({"momentum": 0.5}, "differs: 0.9 there"),
        ({"epochs": 3}, "ours, chosen here (else 164)"),
    ],
)
def test_an_override_is_marked_as_different(tmp_path: Path, changes: dict[str, object], words: str):
    """The recipe's name alone would claim the report's own values."""
    options = RunOptions(**SIX | changes)
    planned = plan_runs(Home(tmp_path), options)

    assert words in report_page(options, planned)
    assert planned[0].spec.model.conv_bias is changes.get("conv_bias", True)


@pytest.mark.parametrize("recipe", ["reference", "report"])
def test_the_form_filled_from_a_run_plans_it_again(tmp_path: Path, recipe: str):
    """What the recipe implies stays left out."""
    home = Home(tmp_path)
    (run,) = plan_runs(home, RunOptions(architectures=("resnet",), depths=(20,), recipe=recipe))
    filled = filled_from(run.spec)

    assert [one.spec for one in plan(home, filled)] == [run.spec]
    assert [filled.texts[name] for name in ("conv_bias", "projection_bias", "mean", "std")] == [""] * 4


def test_he_networks_take_the_recipe_without_biases_of_projections(tmp_path: Path):
    """Their shortcuts have no parameters."""
    (run,) = plan_runs(Home(tmp_path), RunOptions(architectures=("he-resnet",), depths=(20,), recipe="report"))

    assert run.spec.model.conv_bias
    options = RunOptions(architectures=("he-resnet", "resnet"), depths=(20,), recipe="report")
    page = report_page(options, plan_runs(Home(tmp_path), options))
    assert page.endswith("\nnetworks that the report does not have: he-resnet20-bias")
