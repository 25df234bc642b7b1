"""The engine's settings in config.toml. The console's settings, in the same file, are ignored here."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.spec.config_file import BadConfig, Problem, in_order, parse, read_text
from engine.spec.run import is_cuda_name

MAX_SLOTS = 64
AUTO_SLOTS = "auto"
"""CPU only: the number of workers depends on the networks."""
MAX_HOOK_SECONDS = 600.0
PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
FACTS = ("run_id", "run_name", "experiment", "outcome", "test_error")
"""Facts about a run that a hook's command may contain."""


class Hook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """The table [on-finish]: a command to start whenever a run ends."""

    command: tuple[str, ...]
    """Program and arguments; {run_id}, {run_name}, {experiment}, {outcome} and {test_error} are filled in. It runs
    without a shell."""
    timeout_seconds: float = 30.0
    """Time limit of the command."""

    def __post_init__(self) -> None:
        if not self.command or not self.command[0]:
            raise ValueError("command must be a program and its arguments, such as ['notify-send', '{run_name}']")
        if not 0 < self.timeout_seconds <= MAX_HOOK_SECONDS:
            raise ValueError(f"timeout-seconds must be above 0 and at most {MAX_HOOK_SECONDS:g}")
        for word in self.command:
            for name in PLACEHOLDER.findall(word):
                if name not in FACTS:
                    raise ValueError(f"{{{name}}} is not known in command: there are {', '.join(FACTS)}")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's part of config.toml."""

    slots: dict[str, int] = {}
    """Maximum number of workers by device, `cpu` or `cuda:N`; for devices not listed see `places`."""
    hook: Hook | None = None
    """Command to start whenever a run ends; None for no command."""
    keep_checkpoints: bool = False
    """Whether a run keeps its checkpoints after it has succeeded."""


ENGINE_KEYS = ("slots", "on-finish", "keep-checkpoints")


def read_settings(home: Home) -> Settings:
    """Read the engine's settings; defaults if there is no config.toml.

    Raises:
        BadConfig: the file is not TOML or values are invalid; the text names file, key and value of each.
    """
    settings, problems = settings_and_problems(home)
    if problems:
        raise BadConfig(home, problems)
    return settings


def settings_and_problems(home: Home) -> tuple[Settings, list[Problem]]:
    """Read the engine's settings, with the default for each invalid one, and the problems by line."""
    try:
        text = read_text(home)
        found = parse(text)
    except UsageError as error:
        return Settings(), [Problem(key=(), text=str(error))]
    settings, problems = engine_settings(found)
    return settings, in_order(text, problems)


def engine_settings(found: dict[str, Any]) -> tuple[Settings, list[Problem]]:
    """Convert the engine's part of a parsed config.toml; an invalid setting is a problem and has its default."""
    slots, problems = slots_of(found)
    hook: Hook | None = None
    try:
        hook = msgspec.convert(found["on-finish"], Hook) if "on-finish" in found else None
    except (msgspec.ValidationError, ValueError) as error:
        problems.append(Problem(key=("on-finish",), text=f"on-finish: {error}"))
    keep = found.get("keep-checkpoints", False)
    if not isinstance(keep, bool):
        text = f"keep-checkpoints must be true or false, got {keep!r}"
        problems.append(Problem(key=("keep-checkpoints",), text=text))
        keep = False
    return Settings(slots=slots, hook=hook, keep_checkpoints=keep), problems


def slots_of(found: dict[str, Any]) -> tuple[dict[str, int], list[Problem]]:
    """Convert the table [slots], leaving out `auto` for the CPU, which is the default, and what is a problem."""
    table = found.get("slots", {})
    if not isinstance(table, dict):
        text = f"slots must be a table such as [slots] with cpu = 2 in it, got {table!r}"
        return {}, [Problem(key=("slots",), text=text)]
    slots: dict[str, int] = {}
    problems: list[Problem] = []
    for device, num in table.items():
        or_auto = ", or auto" if device == "cpu" else ""
        if device != "cpu" and not is_cuda_name(device):
            text = f'slots.{device} is not a device: use cpu, or a GPU in quotes such as "cuda:0" = 3'
            problems.append(Problem(key=("slots", device), text=text))
        elif device == "cpu" and num == AUTO_SLOTS:
            continue
        elif type(num) is not int or not 1 <= num <= MAX_SLOTS:
            text = f"slots.{device} must be a whole number in 1..{MAX_SLOTS}{or_auto}, got {num!r}"
            problems.append(Problem(key=("slots", device), text=text))
        else:
            slots[device] = num
    return slots, problems
