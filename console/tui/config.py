"""Settings of the console: what config.toml says, what stands without it, and where each value comes from."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from console.charts.metrics import METRICS, Axis
from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.spec.settings import AUTO_SLOTS, hook_of, read_file, slots_of

THEMES = ("depthscope-dark", "depthscope-light", "high-contrast")
MAX_SMOOTHING = 0.99


class Ring(StrEnum):
    """How it is told beside the words on the screen."""

    OFF = "off"
    BELL = "bell"
    OSC9 = "osc9"
    """What iTerm2, Windows Terminal, Ghostty, kitty and WezTerm show as a notification of the desktop."""
    BOTH = "both"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """What a user may set in config.toml; the names there have hyphens."""

    theme: str = THEMES[0]
    """One of THEMES, or any of Textual's own."""
    charts: tuple[str, str] = ("train-loss", "test-error")
    """Metrics of the upper and the lower chart."""
    x_axis: Axis = Axis.EPOCH
    log_y: bool = False
    smoothing: float = 0.0
    """Weight of the past in the moving average, 0 for none."""
    slots: dict[str, int | str] = {}
    """Most workers at a time by device; `auto` lets the CPU go by its networks. The engine reads them for itself."""
    notify: Ring = Ring.BELL
    """How the terminal tells that a run has ended, beside the words on the screen."""
    on_finish: dict[str, Any] = {}
    """The command for every run that has ended; the engine reads it for itself."""
    keys: dict[str, str] = {}
    """Keys by the id of what they do, such as `home.new = "a"`; ids are shown by `depthscope config keys`."""

    def __post_init__(self) -> None:
        for name in self.charts:
            if name not in METRICS:
                raise ValueError(f"charts must name two of {', '.join(METRICS)}, got {name!r}")
        if not 0 <= self.smoothing <= MAX_SMOOTHING:
            raise ValueError(f"smoothing must be in 0..{MAX_SMOOTHING}, got {self.smoothing}")


def read_config(home: Home) -> Config:
    """The user's settings; the defaults where there is no file.

    Raises:
        UsageError: the file is no TOML, or holds something that is not known; the text says where and what.
    """
    found = read_file(home)
    names = [field.encode_name for field in msgspec.structs.fields(Config)]
    for name in found:
        if name not in names:
            import difflib

            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"{home.config}: {name!r} is not known: there are {', '.join(names)}{hint}")
    slots_of(home, found)
    hook_of(home, found)
    try:
        return msgspec.convert(found, Config)
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"{home.config}: {error}") from error


def explain(home: Home, environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Every setting: its name, its value, and where the value comes from.

    Raises:
        UsageError: config.toml is wrong.
    """
    config, in_file = read_config(home), read_file(home)
    rows = [("home", str(home.root), "DEPTHSCOPE_HOME" if environ.get("DEPTHSCOPE_HOME") else "default")]
    rows.append(("config file", str(home.config), "exists" if home.config.exists() else "does not exist"))
    for field in msgspec.structs.fields(Config):
        value = getattr(config, field.name)
        source = "config.toml" if field.encode_name in in_file else "default"
        if field.name == "slots":
            rows += explain_slots(config)
        elif isinstance(value, dict):
            rows += [(f"{field.encode_name}.{id}", str(key), source) for id, key in value.items()]
        else:
            shown = ", ".join(value) if isinstance(value, tuple) else str(value).lower() if value in (0, 1) else value
            rows.append((field.encode_name, str(shown), source))
    colour = "NO_COLOR" if environ.get("NO_COLOR") else "terminal"
    rows.append(("colour", "no" if environ.get("NO_COLOR") else "yes", colour))
    rows.append(("terminal", environ.get("TERM", "none"), "TERM"))
    return rows


def explain_slots(config: Config) -> list[tuple[str, str, str]]:
    """How many workers each device takes: those that are here, and those that config.toml names beside them."""
    # Not at the top: the console's first frame does not wait for NVML's bindings.
    from engine.spec.devices import CPU, find_devices

    names = dict.fromkeys([*(device.name for device in find_devices()), *config.slots])
    return [
        (
            f"slots.{name}",
            str(config.slots.get(name, AUTO_SLOTS if name == CPU.name else 1)),
            "config.toml" if name in config.slots else "default",
        )
        for name in names
    ]
