"""The options table: each is a flag of `train`, most are in the form, all survive a printed command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from console.app import ConsoleApp
from console.commands.app import app as depthscope
from console.commands.run_options import takes_runs
from console.planning import options
from console.planning.command_lines import train_arguments
from console.planning.option import Option
from console.planning.options import OPTIONS, RunOptions
from console.planning.planning import plan_runs
from console.screens.new_experiment import Row
from console.widgets.fields import Heading
from engine.base.paths import Home
from tests.console.driving import press, settle

VALUES: dict[str, Any] = {
    "architectures": ("he-resnet", "he-plain"),
    "depths": (8, 14),
    "seeds": (3, 1),
    "num_seeds": (3,),
    "width": 8,
    "block": "basic",
    "blocks": (1, 2, 1),
    "norm": "none",
    "conv_bias": True,
    "projection_bias": True,
    "dataset": "tiny",
    "train_images": 100,
    "test_images": 40,
    "validation": 20,
    "mean": (0.5, 0.25, 0.1),
    "std": (0.125, 0.5, 0.2),
    "recipe": "quick",
    "epochs": 3,
    "batch_size": 20,
    "learning_rate": 0.0123456789,
    "schedule": "step",
    "drops": (0.25, 0.625),
    "drop_factor": 0.2,
    "warmup_rate": 1e-05,
    "warmup_steps": 0,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "augment": False,
    "precision": "fp32",
    "deterministic": True,
    "checkpoint_activations": False,
    "device": "cpu",
    "memory_limit": 6 << 30,
    "stop_when": "not-learning",
    "fit": True,
    "fit_batch": True,
}
"""A value of each option other than its default."""


def test_every_option_is_in_the_help_and_its_text_fits():
    """All flags of all options."""
    said = CliRunner().invoke(depthscope, ["train", "--help"], env={"COLUMNS": "100"}).output

    for option in OPTIONS:
        assert all(flag in said for declared in option.declared for flag in declared.split("/")), option.name
        assert len(option.help) <= 60, option.name


async def test_every_option_is_in_the_form_under_its_group(make_app: Callable[..., ConsoleApp]):
    """Between the heading of its group and the next; three make sense on a command line only."""
    app = make_app()
    async with app.run_test(size=(120, 50)) as pilot:
        await settle(pilot)
        await press(pilot, "n")
        groups: dict[str, str] = {}
        heading = ""
        for widget in app.screen.query_one("#new-form").children:
            if isinstance(widget, Heading):
                heading = widget.title.lower()
            elif isinstance(widget, Row):
                groups[str(widget.field_id)] = heading

    assert {option.name: option.group for option in OPTIONS if option.in_form}.items() <= groups.items()
    assert {option.name for option in OPTIONS} - groups.keys() == {"num_seeds", "fit", "fit_batch"}


def test_an_option_needs_a_group():
    """A new row cannot be forgotten in the form."""
    with pytest.raises(TypeError, match="group"):
        Option("new", "Something new.")  # type: ignore[call-arg]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_survives_a_command_line_and_the_form(option: Option):
    """Printing and parsing it again gives the same value."""
    value = VALUES[option.name]
    assert value != option.default
    needed = {"architectures": ("resnet",), "depths": (20,), "seeds": (0,)}
    options = RunOptions(**needed | {option.name: value})
    seen: list[Any] = []
    app = Typer()

    @app.command()
    @takes_runs
    def typed(options: Any) -> None:
        """Keep the parsed options."""
        seen.append(options)

    words = train_arguments(options, options["depths"], options["seeds"], None)[2:]
    if option.name == "num_seeds":
        # A printed line lists the seeds instead.
        words = ["-a", "resnet", "-d", "20", *option.arguments(value)]
    done = CliRunner().invoke(app, words)

    assert done.exit_code == 0, done.output
    assert seen[0][option.name] == value
    assert option.parse(option.text(value)) == value


def test_a_crossed_list_of_the_recipe_makes_a_run_of_each_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Any row of the table may become a list: one run for each value, told apart by name, also on one value."""
    table = tuple(
        replace(option, crossed=True, many=True) if option.name == "learning_rate" else option for option in OPTIONS
    )
    monkeypatch.setattr(options, "OPTIONS", table)
    given = {"architectures": ("he-resnet",), "depths": (8,), "dataset": "synthetic", "seeds": (0, 1)}

    home = Home(tmp_path)

    two = plan_runs(home, RunOptions(**given, learning_rate=(0.1, 0.01)))
    one = plan_runs(home, RunOptions(**given, learning_rate=(0.7,)))

    assert [(run.name, run.spec.recipe.learning_rate, run.spec.seed) for run in two] == [
        ("he-resnet8-lr0.1-s0", 0.1, 0),
        ("he-resnet8-lr0.01-s0", 0.01, 0),
        ("he-resnet8-lr0.1-s1", 0.1, 1),
        ("he-resnet8-lr0.01-s1", 0.01, 1),
    ]
    assert [(run.name, run.spec.recipe.learning_rate) for run in one] == [
        ("he-resnet8-s0", 0.7),
        ("he-resnet8-s1", 0.7),
    ]


def test_from_refuses_an_option_typed_at_its_default(tmp_path: Path):
    """It would have no effect on runs that the file specifies."""
    said = CliRunner().invoke(depthscope, ["train", "--from", str(tmp_path / "spec.json"), "--data", "cifar10"])

    assert "leave out --data" in str(said.exception)


def test_every_summary_fits_in_the_list_of_commands():
    """At 80 columns Typer cuts longer ones."""
    said = CliRunner().invoke(depthscope, ["--help"], env={"COLUMNS": "80"}).output

    assert not [line for line in said.splitlines()[1:] if line.endswith("...")]
