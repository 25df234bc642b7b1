"""The engine as a systemd user unit: contents, location, and units that are not overwritten."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.base.paths import Home
from engine.control.launch import EXIT_LOCKED
from engine.control.systemd import UNIT, unit_text

ODD = "a home%n with $HOME and 'quotes'"


@pytest.fixture
def unit(bare_home: Any, tmp_path: Path) -> Path:
    """Path of the unit for a test's home."""
    bare_home.env["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    return tmp_path / "config" / "systemd" / "user" / UNIT


def test_the_unit_starts_this_interpreter_for_this_home_and_spares_workers(tmp_path: Path):
    """Absolute paths with systemd's special characters escaped; exit status 75 prevents restarts."""
    home = Home(tmp_path / ODD).create()
    lines = unit_text(home).splitlines()
    escaped = str(home.root).replace("%", "%%")

    assert f'ExecStart="{sys.executable}" -P -m engine.daemon "{escaped.replace("$", "$$")}"' in lines
    assert f'Environment="DEPTHSCOPE_HOME={escaped}"' in lines
    assert f"WorkingDirectory={escaped}" in lines
    assert {"KillMode=process", "Restart=on-failure", f"RestartPreventExitStatus={EXIT_LOCKED}"} <= set(lines)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path):
    """systemd-analyze accepts it, for a home whose name contains everything that needs escaping."""
    path = tmp_path / UNIT
    path.write_text(unit_text(Home(tmp_path / ODD).create()))
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(["systemd-analyze", "--user", "verify", str(path)], env=env, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_it_is_written_once_and_shown_without_being_written(bare_home: Any, unit: Path):
    """--print writes nothing, repeating it changes nothing, and an older unit of ours is updated."""
    shown = bare_home.cli("engine", "install-service", "--print")
    assert not unit.exists()

    assert bare_home.cli("engine", "install-service") == f"{unit} written\n"
    assert unit.read_text() == shown
    assert bare_home.cli("engine", "install-service") == f"{unit} is there already\n"
    unit.write_text(shown.replace(sys.executable, "/an/older/python"))
    assert bare_home.cli("engine", "install-service") == f"{unit} renewed\n"
    assert unit.read_text() == shown


@pytest.mark.parametrize("whose", ["somebody else's", "another home's"])
def test_another_unit_is_overwritten_only_on_request(whose: str, bare_home: Any, unit: Path, tmp_path: Path):
    """Refused with the remedy; --replace keeps the old one."""
    theirs = unit_text(Home(tmp_path / "other").create()) if whose == "another home's" else "[Service]\n"
    unit.parent.mkdir(parents=True)
    unit.write_text(theirs)

    said = bare_home.cli("engine", "install-service", status=2)
    assert "--replace" in said
    assert said.count("\n") == 1
    assert unit.read_text() == theirs
    assert bare_home.cli("engine", "install-service", "--replace") == f"{unit} replaced\n"
    assert unit.with_name(f"{UNIT}.old").read_text() == theirs
