"""The engine's settings in config.toml. The console's settings, in the same file, are ignored here."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.base.regular_files import OddFile, read_regular
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


def read_settings(home: Home) -> Settings:
    """Read the engine's settings; defaults if there is no config.toml.

    Raises:
        UsageError: the file is not TOML or a value is invalid; the text names file, key and value.
    """
    found = read_file(home)
    return Settings(
        slots=slots_of(home, found), hook=hook_of(home, found), keep_checkpoints=keep_checkpoints_of(home, found)
    )


def keep_checkpoints_of(home: Home, found: dict[str, Any]) -> bool:
    """Convert keep-checkpoints.

    Raises:
        UsageError: it is neither true nor false.
    """
    value = found.get("keep-checkpoints", False)
    if not isinstance(value, bool):
        raise UsageError(f"{home.config}: keep-checkpoints must be true or false, got {value!r}")
    return value


def hook_of(home: Home, found: dict[str, Any]) -> Hook | None:
    """Convert the table [on-finish]; None if there is none.

    Raises:
        UsageError: the table is invalid; the text says where and why.
    """
    if "on-finish" not in found:
        return None
    try:
        return msgspec.convert(found["on-finish"], Hook)
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"{home.config}: on-finish: {error}") from error


def slots_of(home: Home, found: dict[str, Any]) -> dict[str, int]:
    """Convert the table [slots], leaving out `auto` for the CPU, which is the default.

    Raises:
        UsageError: not a table, an unknown device, or a number out of range.
    """
    table = found.get("slots", {})
    if not isinstance(table, dict):
        raise UsageError(f"{home.config}: slots must be a table such as [slots] with cpu = 2 in it, got {table!r}")
    for device, num in table.items():
        if device != "cpu" and not is_cuda_name(device):
            raise UsageError(
                f'{home.config}: slots.{device} is not a device: use cpu, or a GPU in quotes such as "cuda:0" = 3'
            )
        if device == "cpu" and num == AUTO_SLOTS:
            continue
        if type(num) is not int or not 1 <= num <= MAX_SLOTS:
            or_auto = ", or auto" if device == "cpu" else ""
            raise UsageError(
                f"{home.config}: slots.{device} must be a whole number in 1..{MAX_SLOTS}{or_auto}, got {num!r}"
            )
    return {device: num for device, num in table.items() if num != AUTO_SLOTS}


def read_file(home: Home) -> dict[str, Any]:
    """Parse config.toml; empty if it does not exist.

    Raises:
        UsageError: the file is not TOML or cannot be read.
    """
    try:
        # People link their settings from elsewhere, and write them themselves.
        content = read_regular(home.config, follow=True)
    except FileNotFoundError:
        return {}
    except OddFile as error:
        raise UsageError(f"{home.config} {error.cause}: move it away, or write settings there") from error
    except OSError as error:
        raise UsageError(f"{home.config} cannot be read: {error.strerror}") from error
    # Imported here to keep start-up fast: most users have no such file.
    import tomllib

    try:
        return tomllib.loads(content.decode())
    except RecursionError as error:
        raise UsageError(f"{home.config} is not TOML: it is nested too deeply") from error
    except ValueError as error:
        # Besides TOMLDecodeError: bytes that are not UTF-8, and integers of thousands of digits.
        raise UsageError(f"{home.config} is not TOML: {error}") from error
