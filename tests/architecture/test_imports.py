"""Modules a process really loads, which checks the contracts of import-linter from outside."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "numpy", "scipy", "textual", "plotext", "matplotlib", "tensorboard", "pyarrow")


def loaded(code: str, among: tuple[str, ...] = HEAVY) -> set[str]:
    """Return which of some packages are loaded in a fresh interpreter after some code."""
    tell = f"import sys; print([name for name in {among} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", f"{code}\n{tell}"], capture_output=True, text=True, check=True)
    return set(eval(done.stdout.splitlines()[-1]))


def test_help_loads_neither_torch_nor_textual_nor_plotext():
    """The first command anyone types answers at once."""
    code = """
import sys
from console.commands.app import app
sys.argv = ["depthscope", "--help"]
try:
    app()
except SystemExit:
    pass
"""
    assert loaded(code) == set()


def test_the_consoles_first_frame_waits_for_nothing_that_it_does_not_show():
    """Charts, the command line and the GPU library load behind it."""
    assert loaded("import console.app", among=(*HEAVY, "typer", "pynvml")) == {"textual"}


@pytest.mark.parametrize(
    "module", ["engine.client", "engine.daemon", "models.catalog", "models.cost", "engine.control.launch"]
)
def test_the_engine_and_its_client_never_load_torch(module: str):
    """It would cost processes that do not train seconds of start-up and hundreds of megabytes."""
    assert not loaded(f"import {module}") & {"torch", "torchvision", "textual", "plotext"}


@pytest.mark.parametrize(
    "module",
    [
        "console.planning.planning",
        "console.planning.tables",
        "console.comparison.tables",
        "console.report.write",
        "console.report.export_rows",
        "console.programs.checks",
        "console.text.listing",
    ],
)
def test_the_console_never_loads_torch(module: str):
    """It plans, lists and compares in closed form."""
    assert not loaded(f"import {module}") & {"torch", "torchvision"}


@pytest.mark.parametrize(
    "module", ["console.report.write", "console.report.export_formats", "console.report.matplotlib_figures"]
)
def test_what_draws_and_writes_for_others_loads_when_it_is_used(module: str):
    """matplotlib takes half a second to load, and the other two may not be installed."""
    assert not loaded(f"import {module}") & {"torch", "matplotlib", "tensorboard", "pyarrow"}


@pytest.mark.parametrize("room", ["console", "engine", "models", "console.commands"])
def test_a_package_imports_nothing_by_itself(room: str):
    """Importing one module of a package loads only that module."""
    code = f"import sys; before = set(sys.modules); import {room}; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)

    assert {name.split(".")[0] for name in eval(done.stdout)} <= {"console", "engine", "models"}
    assert len(eval(done.stdout)) <= 2


@pytest.mark.parametrize("module", ["console.comparison.tables", "console.screens.comparison", "console.text.listing"])
def test_scipy_loads_when_a_claim_is_tested(module: str):
    """It takes a third of a second, which neither `ls` nor a console's first frame waits for."""
    assert not loaded(f"import {module}") & {"scipy"}
