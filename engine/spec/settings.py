"""What config.toml says to the engine; the console's own settings stand in the same file and are no concern of it."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.spec.run import is_cuda_name

MAX_SLOTS = 64
AUTO_SLOTS = "auto"
"""For the CPU: as many workers as its networks call for."""
MAX_HOOK_SECONDS = 600.0
PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
FACTS = ("run_id", "run_name", "experiment", "outcome", "test_error")
"""What a hook may be told of a run."""


class Hook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """The table [on-finish]: a command that is started for every run that has ended."""

    command: tuple[str, ...]
    """A program and its arguments, in which {run_id}, {run_name}, {experiment}, {outcome} and {test_error} are filled
    in; no shell reads it."""
    timeout_seconds: float = 30.0
    """How long it may take."""

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
    """Most workers at a time by device, `cpu` or `cuda:N`; `places` says what a device takes that is not named."""
    hook: Hook | None = None
    """What is started for every run that has ended; None is nothing."""


def read_settings(home: Home) -> Settings:
    """The engine's settings; the defaults where there is no file.

    Raises:
        UsageError: the file is no TOML, or something in it makes no sense; the text names file, key and value.
    """
    found = read_file(home)
    return Settings(slots=slots_of(home, found), hook=hook_of(home, found))


def hook_of(home: Home, found: dict[str, Any]) -> Hook | None:
    """The table [on-finish] in what config.toml says; None where there is none.

    Raises:
        UsageError: it makes no sense; the text says where and why.
    """
    if "on-finish" not in found:
        return None
    try:
        return msgspec.convert(found["on-finish"], Hook)
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"{home.config}: on-finish: {error}") from error


def slots_of(home: Home, found: dict[str, Any]) -> dict[str, int]:
    """The table of slots in what config.toml says, without a CPU's `auto`, which is the default.

    Raises:
        UsageError: it is no table, names what is no device, or holds what is no sensible number.
    """
    table = found.get("slots", {})
    if not isinstance(table, dict):
        raise UsageError(f"{home.config}: slots must be a table such as [slots] with cpu = 2 in it, got {table!r}")
    for device, num in table.items():
        if device != "cpu" and not is_cuda_name(device):
            raise UsageError(
                f'{home.config}: slots.{device} is no device: there are cpu and GPUs in quotes, such as "cuda:0" = 3'
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
    """config.toml as it stands; empty where there is none.

    Raises:
        UsageError: it is no TOML, or cannot be read.
    """
    if not home.config.exists():
        return {}
    # Not at the top: most users have no such file, and the first frame does not wait for what it does not need.
    import tomllib

    try:
        with home.config.open("rb") as file:
            return tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{home.config} is not TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"{home.config} cannot be read: {error.strerror}") from error
