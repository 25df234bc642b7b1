"""Checks of `depthscope doctor`."""

from __future__ import annotations

import os
import platform
import shlex
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
from engine.base.errors import PRUNE_ADVICE, DepthscopeError
from engine.base.paths import Home, find_home
from engine.base.version import VERSION
from engine.control import launch
from engine.control.engine_lock import absent_listener
from engine.control.systemd import risk_of_home, systemd_runs
from engine.data import datasets
from engine.index.database import sqlite_version
from engine.index.queries import Reader
from engine.runs.directory import RunDirectory
from engine.runs.strays import find_strays
from engine.runs.usage import Kind, bytes_of, measure, spent_checkpoints
from engine.spec import devices
from engine.spec.config_file import Problem, sentence

TORCH_PATIENCE_SECONDS = 120.0
LITTLE_SPACE_BYTES = 2 << 30
"""About the size of a deep network's checkpoints and a converted dataset."""
WORTH_PRUNING_BYTES = 100 << 20
"""Less than this that could be deleted is not worth a note."""
SMALL_COLUMNS, SMALL_LINES = 80, 24


class Level(StrEnum):
    """Severity of a finding."""

    GOOD = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check."""

    subject: str
    level: Level
    text: str
    remedy: str | None = None


def examine(config_problems: Sequence[Problem]) -> list[Finding]:
    """Run all checks, even if some fail.

    Args:
        config_problems: What is wrong in config.toml; given, because this layer does not know the console's keys.
    """
    home = find_home()
    return [
        examine_python(),
        *examine_torch(),
        examine_terminal(),
        *examine_home(home),
        *examine_config(home, config_problems),
        *examine_usage(home),
        examine_database(home),
        *examine_unreadable(home),
        *examine_strays(home),
        examine_engine(home),
        *examine_logout(home),
        *examine_datasets(home),
    ]


def examine_python() -> Finding:
    text = f"depthscope {VERSION}, Python {platform.python_version()}, SQLite {sqlite_version()}"
    return Finding("Python", Level.GOOD, f"{text}, {platform.system()} {platform.machine()}")


def examine_torch() -> list[Finding]:
    """Check torch in a separate process: it takes seconds to load, and a broken one may crash."""
    gpus = devices.find_gpus()
    command = [sys.executable, "-P", "-m", "engine.programs.torch_report"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TORCH_PATIENCE_SECONDS, check=True, text=True)
        found: dict[str, Any] = msgspec.json.decode(done.stdout)
    except (subprocess.SubprocessError, msgspec.DecodeError) as error:
        stderr = getattr(error, "stderr", None) or str(error)
        why = clean(stderr.strip().splitlines()[-1])
        return [Finding("torch", Level.BAD, f"cannot be loaded: {why}", "reinstall depthscope with `uv sync`")]
    findings = [
        Finding(
            "torch", Level.GOOD, f"{found['torch']}, torchvision {found['torchvision']}, {found['num_threads']} threads"
        )
    ]
    if found["gpus"]:
        findings.append(Finding("GPU", Level.GOOD, ", ".join(found["gpus"])))
    elif gpus:
        build = found["cuda_build"] or "no CUDA"
        remedy = "install a torch build for your driver, or train with --device cpu"
        findings.append(
            Finding(
                "GPU", Level.BAD, f"the driver shows {len(gpus)}, but torch (built for {build}) can use none", remedy
            )
        )
    else:
        memory = byte_size(psutil.virtual_memory().total)
        text = f"none: training uses the CPU ({os.cpu_count()} cores, {memory})"
        findings.append(
            Finding(
                "GPU",
                Level.NOTE,
                text,
                "train narrow networks, one on each core: -a he-resnet,he-plain --width 8 --train-images 5000",
            )
        )
    return findings


def examine_terminal() -> Finding:
    """Check the terminal's size and encoding."""
    if not sys.stdout.isatty():
        return Finding("terminal", Level.NOTE, "stdout is not a terminal: charts are 80 columns wide")
    size = shutil.get_terminal_size()
    text = f"{size.columns}x{size.lines}, TERM={clean(os.environ.get('TERM', ''))}, {sys.stdout.encoding}"
    if size.columns < SMALL_COLUMNS or size.lines < SMALL_LINES:
        return Finding("terminal", Level.NOTE, text, f"enlarge it to at least {SMALL_COLUMNS}x{SMALL_LINES}")
    if "utf" not in sys.stdout.encoding.lower():
        return Finding("terminal", Level.NOTE, f"{text}: charts use ASCII", "set a UTF-8 locale, such as LANG=C.UTF-8")
    return Finding("terminal", Level.GOOD, text)


def examine_home(home: Home) -> list[Finding]:
    """Check that the home can be used and has free space."""
    try:
        home.create()
    except DepthscopeError as error:
        return [Finding("home", Level.BAD, str(error))]
    free = psutil.disk_usage(str(home.root)).free
    if free < LITTLE_SPACE_BYTES:
        remedy = f"{PRUNE_ADVICE}, or set DEPTHSCOPE_HOME to a larger disk"
        return [Finding("home", Level.BAD, f"{home.root}: only {byte_size(free)} free", remedy)]
    return [Finding("home", Level.GOOD, f"{home.root}, {byte_size(free)} free")]


def examine_config(home: Home, problems: Sequence[Problem]) -> list[Finding]:
    """One finding for each problem in config.toml, or one that says that it is fine."""
    if problems:
        remedy = "until then the default is used"
        return [Finding("config", Level.BAD, clean(sentence(home, problem)), remedy) for problem in problems]
    text = str(home.config) if home.config.exists() else f"{home.config} does not exist: defaults"
    return [Finding("config", Level.GOOD, text)]


def examine_usage(home: Home) -> list[Finding]:
    """Tell what takes room in the home, the largest first; no finding for a home that cannot be read."""
    try:
        with Reader(home.database) as reader:
            runs = reader.runs(with_deleted=True)
    except DepthscopeError:
        runs = []
    found = measure(home, {run.id for run in runs if run.deleted_at is not None})
    sizes = sorted(((num, kind.value) for kind, num in found.items() if num), reverse=True)
    if not sizes:
        return []
    text = ", ".join(f"{name} {byte_size(num)}" for num, name in sizes)
    spent = sum(
        bytes_of(path)
        for run in runs
        if run.succeeded and run.deleted_at is None
        for path in spent_checkpoints(RunDirectory(home.runs / run.id))
    )
    freed = spent + found[Kind.HIDDEN]
    if freed < WORTH_PRUNING_BYTES:
        return [Finding("usage", Level.GOOD, text)]
    return [Finding("usage", Level.NOTE, text, f"`depthscope prune` can delete {byte_size(freed)} of it")]


def examine_database(home: Home) -> Finding:
    """Check that the index can be read."""
    try:
        with Reader(home.database) as reader:
            num_runs = reader.count_runs()
    except DepthscopeError as error:
        return Finding("index", Level.BAD, clean(str(error)), "rebuild it with `depthscope engine rebuild`")
    return Finding("index", Level.GOOD, f"{num_runs} runs")


def examine_unreadable(home: Home) -> list[Finding]:
    """Name runs and directories among the runs that cannot be read."""
    try:
        with Reader(home.database) as reader:
            named = [(run.id, run.unreadable or "") for run in reader.unreadable_runs()]
            named += reader.unreadable_directories()
    except DepthscopeError:
        return []
    return [Finding("runs", Level.BAD, f"{clean(name)} is unreadable: {clean(why)}") for name, why in named]


def examine_strays(home: Home) -> list[Finding]:
    """Name directories among the runs that are ignored."""
    try:
        with Reader(home.database) as reader:
            known = reader.ids()
    except DepthscopeError:
        return []
    return [
        Finding(
            "runs",
            Level.NOTE,
            f"{clean(os.fspath(stray.path))} is ignored: {clean(stray.what)}",
            f"move it elsewhere, or `depthscope import {clean(shlex.quote(os.fspath(stray.path)))}`",
        )
        for stray in find_strays(home.runs, known, every=True)
    ]


def examine_engine(home: Home) -> Finding:
    """Check whether an engine of this version is running."""
    try:
        greeting = launch.greet(home)
        if greeting is None and (who := absent_listener(home)) is not None:
            return Finding("engine", Level.BAD, clean(who))
        if greeting is None and (failure := launch.failure(home)) is not None:
            return Finding("engine", Level.BAD, clean(failure), "then `depthscope engine start`")
        if greeting is None:
            return Finding("engine", Level.GOOD, f"not running; {launch.absence(home)}")
        launch.check_version(greeting)
    except DepthscopeError as error:
        return Finding("engine", Level.BAD, str(error))
    if not greeting.starts_runs:
        return Finding("engine", Level.NOTE, f"pid {greeting.pid} starts no runs; {launch.absence(home)}")
    return Finding("engine", Level.GOOD, f"running, pid {greeting.pid}, on {', '.join(greeting.devices)}")


def examine_logout(home: Home) -> list[Finding]:
    """Check whether the engine survives a logout; no finding without systemd."""
    if not systemd_runs():
        return []
    risk = risk_of_home(home)
    if risk is None:
        return [Finding("logout", Level.GOOD, "the engine and its workers survive it")]
    return [Finding("logout", Level.BAD, f"ends the engine and all training: {risk.text}", risk.remedy)]


def examine_datasets(home: Home) -> list[Finding]:
    """List the datasets that need no download."""
    cached = [entry.name for entry in datasets.list_datasets(home) if entry.cached]
    if not cached:
        remedy = "`depthscope data fetch cifar10`, or `depthscope data import PATH --name NAME`"
        return [Finding("data", Level.NOTE, "only the synthetic dataset is available", remedy)]
    return [Finding("data", Level.GOOD, ", ".join(map(clean, cached)))]


def findings_page(findings: Sequence[Finding]) -> str:
    """Findings, one line each with the remedy below."""
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{finding.level:<5} {finding.subject:<9} {finding.text}")
        if finding.remedy is not None:
            lines.append(f"{'':<15} → {finding.remedy}")
    return "\n".join(lines)
