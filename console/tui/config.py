"""Settings from config.toml, their defaults, and the source of each value."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from console.charts.metrics import METRICS, Axis
from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.spec.settings import AUTO_SLOTS, hook_of, keep_checkpoints_of, read_file, slots_of

THEMES = ("depthscope-dark", "depthscope-light", "high-contrast")
MAX_SMOOTHING = 0.99


class Ring(StrEnum):
    """Terminal notification when a run finishes, in addition to the screen."""

    OFF = "off"
    BELL = "bell"
    OSC9 = "osc9"
    """Desktop notification in iTerm2, Windows Terminal, Ghostty, kitty and WezTerm."""
    BOTH = "both"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Contents of config.toml, where names are written with hyphens."""

    theme: str = THEMES[0]
    """One of THEMES, or a theme of Textual."""
    charts: tuple[str, str] = ("train-loss", "test-error")
    """Metrics of the upper and the lower chart."""
    x_axis: Axis = Axis.EPOCH
    log_y: bool = False
    smoothing: float = 0.0
    """Weight of the past in the moving average, 0 for none."""
    slots: dict[str, int | str] = {}
    """Most workers at a time by device; `auto` adapts the CPU to its networks. Used by the engine only."""
    notify: Ring = Ring.BELL
    """Terminal notification when a run finishes."""
    keep_checkpoints: bool = False
    """Whether succeeded runs keep their checkpoints. Used by the engine only."""
    on_finish: dict[str, Any] = {}
    """Command to run for every finished run. Used by the engine only."""
    keys: dict[str, str] = {}
    """Keys by action id, such as `home.new = "a"`; `depthscope config keys` lists the ids."""

    def __post_init__(self) -> None:
        for name in self.charts:
            if name not in METRICS:
                raise ValueError(f"charts must name two of {', '.join(METRICS)}, got {name!r}")
        if not 0 <= self.smoothing <= MAX_SMOOTHING:
            raise ValueError(f"smoothing must be in 0..{MAX_SMOOTHING}, got {self.smoothing}")


def read_config(home: Home) -> Config:
    """Read the user's settings; without a file, the defaults.

    Raises:
        UsageError: the file is not valid TOML or has an unknown setting or invalid value.
    """
    found = read_file(home)
    names = [field.encode_name for field in msgspec.structs.fields(Config)]
    for name in found:
        if name not in names:
            import difflib

            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"{home.config}: unknown setting {name!r}; valid: {', '.join(names)}{hint}")
    slots_of(home, found)
    hook_of(home, found)
    keep_checkpoints_of(home, found)
    try:
        return msgspec.convert(found, Config)
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"{home.config}: {error}") from error


def explain(home: Home, environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Rows of every setting: name, value and source of the value.

    Raises:
        UsageError: config.toml is invalid.
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
    """Rows with the slots of each device, including devices that only config.toml mentions."""
    # Imported here, so that the console's first frame does not wait for NVML's bindings.
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
