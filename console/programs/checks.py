"""What `depthscope doctor` looks at."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
import psutil

from console.text.formatting import byte_size, clean
from engine.base.errors import DepthscopeError
from engine.base.paths import Home, find_home
from engine.base.version import VERSION
from engine.control import launch
from engine.control.systemd import risk_of_home, systemd_runs
from engine.data import datasets
from engine.index.database import sqlite_version
from engine.index.queries import Reader
from engine.spec import devices

TORCH_PATIENCE_SECONDS = 120.0
LITTLE_SPACE_BYTES = 2 << 30
"""A deep network's checkpoints and a converted dataset take about this much."""
SMALL_COLUMNS, SMALL_LINES = 80, 24


class Level(StrEnum):
    """How a finding matters."""

    GOOD = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    level: Level
    text: str
    remedy: str | None = None


def examine() -> list[Finding]:
    """Look at everything, even where something is wrong."""
    home = find_home()
    return [
        examine_python(),
        *examine_torch(),
        examine_terminal(),
        *examine_home(home),
        examine_database(home),
        examine_engine(home),
        *examine_logout(home),
        *examine_datasets(home),
    ]


def examine_python() -> Finding:
    text = f"depthscope {VERSION}, Python {platform.python_version()}, SQLite {sqlite_version()}"
    return Finding("Python", Level.GOOD, f"{text}, {platform.system()} {platform.machine()}")


def examine_torch() -> list[Finding]:
    """Torch in a process of its own: it takes seconds to load, and may fail in ways that end a process."""
    gpus = devices.find_gpus()
    command = [sys.executable, "-P", "-m", "engine.programs.torch_report"]
    try:
        said = subprocess.run(command, capture_output=True, timeout=TORCH_PATIENCE_SECONDS, check=True, text=True)
        found: dict[str, Any] = msgspec.json.decode(said.stdout)
    except (subprocess.SubprocessError, msgspec.DecodeError) as error:
        stderr = getattr(error, "stderr", None) or str(error)
        why = clean(stderr.strip().splitlines()[-1])
        return [Finding("torch", Level.BAD, f"cannot be loaded: {why}", "install depthscope anew: `uv sync`")]
    findings = [
        Finding(
            "torch",
            Level.GOOD,
            f"{found['torch']}, torchvision {found['torchvision']}, {found['num_threads']} threads",
        )
    ]
    if found["gpus"]:
        findings.append(Finding("GPU", Level.GOOD, ", ".join(found["gpus"])))
    elif gpus:
        build = found["cuda_build"] or "no CUDA at all"
        remedy = "install a torch build for your driver, or train with --device cpu"
        findings.append(
            Finding("GPU", Level.BAD, f"the driver shows {len(gpus)}, torch (built for {build}) uses none", remedy)
        )
    else:
        memory = byte_size(psutil.virtual_memory().total)
        text = f"none: training uses the CPU ({os.cpu_count()} cores, {memory})"
        findings.append(
            Finding(
                "GPU",
                Level.NOTE,
                text,
                "narrow networks, of which each core trains one: -a he-resnet,he-plain --width 8 --train-images 5000",
            )
        )
    return findings


def examine_terminal() -> Finding:
    """Size, colours and characters of the terminal that this was called from."""
    if not sys.stdout.isatty():
        return Finding("terminal", Level.NOTE, "standard output is no terminal: charts take 80 columns")
    size = shutil.get_terminal_size()
    text = f"{size.columns}x{size.lines}, TERM={clean(os.environ.get('TERM', ''))}, {sys.stdout.encoding}"
    if size.columns < SMALL_COLUMNS or size.lines < SMALL_LINES:
        return Finding("terminal", Level.NOTE, text, f"at least {SMALL_COLUMNS}x{SMALL_LINES} shows everything")
    if "utf" not in sys.stdout.encoding.lower():
        return Finding("terminal", Level.NOTE, f"{text}: drawn in ASCII", "a UTF-8 locale, such as LANG=C.UTF-8")
    return Finding("terminal", Level.GOOD, text)


def examine_home(home: Home) -> list[Finding]:
    """Whether the home is there, ours, and has room."""
    try:
        home.create()
    except DepthscopeError as error:
        return [Finding("home", Level.BAD, str(error))]
    free = psutil.disk_usage(str(home.root)).free
    if free < LITTLE_SPACE_BYTES:
        remedy = "remove old runs, or set DEPTHSCOPE_HOME to a larger disk"
        return [Finding("home", Level.BAD, f"{home.root}: only {byte_size(free)} free", remedy)]
    return [Finding("home", Level.GOOD, f"{home.root}, {byte_size(free)} free")]


def examine_database(home: Home) -> Finding:
    """Whether the index can be read."""
    try:
        with Reader(home.database) as reader:
            num_runs = reader.count_runs()
    except DepthscopeError as error:
        return Finding("index", Level.BAD, clean(str(error)), "`depthscope engine rebuild` builds it anew")
    return Finding("index", Level.GOOD, f"{num_runs} runs")


def examine_engine(home: Home) -> Finding:
    """Whether an engine serves, and one of this version."""
    try:
        greeting = launch.greet(home)
        if greeting is None:
            return Finding("engine", Level.GOOD, f"none serves; {launch.absence(home)}")
        launch.check_version(greeting)
    except DepthscopeError as error:
        return Finding("engine", Level.BAD, str(error))
    return Finding("engine", Level.GOOD, f"serves, pid {greeting.pid}, on {', '.join(greeting.devices)}")


def examine_logout(home: Home) -> list[Finding]:
    """Whether the engine, or one that is started here, outlives the logout; nothing where no systemd runs."""
    if not systemd_runs():
        return []
    risk = risk_of_home(home)
    if risk is None:
        return [Finding("logout", Level.GOOD, "the engine and its workers outlive it")]
    return [Finding("logout", Level.BAD, f"ends the engine and all training: {risk.text}", risk.remedy)]


def examine_datasets(home: Home) -> list[Finding]:
    """What can be trained on without fetching anything."""
    cached = [entry.name for entry in datasets.list_datasets(home) if entry.cached]
    if not cached:
        remedy = "`depthscope data fetch cifar10`, or `depthscope data import PATH --name NAME`"
        return [Finding("data", Level.NOTE, "only the synthetic set is at hand", remedy)]
    return [Finding("data", Level.GOOD, ", ".join(map(clean, cached)))]


def finding_document(finding: Finding) -> dict[str, Any]:
    """A finding for programs."""
    return {
        "subject": finding.subject,
        "level": finding.level.value,
        "text": finding.text,
        "remedy": finding.remedy,
    }


def findings_page(findings: Sequence[Finding]) -> str:
    """The findings, a line each, with the remedy beneath."""
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{finding.level:<5} {finding.subject:<9} {finding.text}")
        if finding.remedy is not None:
            lines.append(f"{'':<15} → {finding.remedy}")
    return "\n".join(lines)
