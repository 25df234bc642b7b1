"""Settings from config.toml and their defaults. An invalid setting is a problem, and has its default."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from console.charts.metrics import METRICS, Axis
from engine.base.errors import UsageError
from engine.base.near_names import hint
from engine.base.paths import Home
from engine.spec.config_file import Problem, in_order, parse, read_text
from engine.spec.settings import ENGINE_KEYS, engine_settings

THEMES = ("depthscope-dark", "depthscope-light", "high-contrast")
SHORT_THEMES = {"dark": ("depthscope-dark",), "light": ("depthscope-light",), "contrast": ("high-contrast",)}
"""What to suggest for a mistyped part of a name."""
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


FIELDS = {field.encode_name: field for field in msgspec.structs.fields(Config)}


def read_config(home: Home) -> tuple[Config, list[Problem]]:
    """Read the user's settings, with the default for each invalid one, and the problems by line.

    The keys are checked by `console.keymap`, which knows them.
    """
    try:
        text = read_text(home)
        found = parse(text)
    except UsageError as error:
        return Config(), [Problem(key=(), text=str(error))]
    config, problems = config_of(found)
    return config, in_order(text, problems)


def config_of(found: dict[str, Any]) -> tuple[Config, list[Problem]]:
    """Convert a parsed config.toml; an invalid setting is a problem and has its default."""
    settings, problems = engine_settings(found)
    values: dict[str, Any] = {"keep_checkpoints": settings.keep_checkpoints}
    wrong = {problem.key for problem in problems}
    for name, value in found.items():
        field = FIELDS.get(name)
        if field is None:
            text = f"unknown setting {name!r}; valid: {', '.join(FIELDS)}{hint(name, list(FIELDS))}"
            problems.append(Problem(key=(name,), text=text))
        elif name not in ENGINE_KEYS:
            try:
                converted = msgspec.convert(value, field.type)
                # As written, so that the text says 2 and not 2.0.
                CHECKS.get(name, lambda _: None)(value)
                values[field.name] = converted
            except (msgspec.ValidationError, ValueError) as error:
                problems.append(Problem(key=(name,), text=problem_text(name, value, error)))
        elif name == "on-finish" and settings.hook is not None:
            values["on_finish"] = value
        elif name == "slots" and (name,) not in wrong:
            values["slots"] = {device: num for device, num in value.items() if (name, device) not in wrong}
    return Config(**values), problems


def problem_text(name: str, value: Any, error: Exception) -> str:
    """What is wrong with a setting of the console, and what it takes."""
    if not isinstance(error, msgspec.ValidationError):
        return str(error)
    kind = FIELDS[name].type
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        near = hint(value, list(kind)) if isinstance(value, str) else ""
        return f"{name} must be one of {', '.join(kind)}, got {value!r}{near}"
    takes = {
        "theme": "the name of a theme, in quotes",
        "charts": 'two metrics, such as ["train-loss", "test-error"]',
        "log-y": "true or false",
        "smoothing": f"a number in 0..{MAX_SMOOTHING}",
        "keys": 'a table such as [keys] with "home.new" = "ctrl+n" in it',
    }
    return f"{name} must be {takes[name]}, got {value!r}"


def check_theme(theme: str) -> None:
    """Raise ValueError unless there is such a theme."""
    if theme in THEMES:
        return
    from textual.theme import BUILTIN_THEMES

    known = [*THEMES, *BUILTIN_THEMES]
    if theme not in known:
        near = hint(theme, [*known, *SHORT_THEMES], SHORT_THEMES)
        raise ValueError(f"theme must be one of {', '.join(THEMES)}, or a Textual theme, got {theme!r}{near}")


def check_charts(charts: tuple[str, str]) -> None:
    """Raise ValueError unless both are metrics."""
    for name in charts:
        if name not in METRICS:
            raise ValueError(f"charts must name two of {', '.join(METRICS)}, got {name!r}{hint(name, list(METRICS))}")


def check_smoothing(smoothing: float) -> None:
    """Raise ValueError unless it is a weight below one."""
    if not 0 <= smoothing <= MAX_SMOOTHING:
        raise ValueError(f"smoothing must be in 0..{MAX_SMOOTHING}, got {smoothing}")


CHECKS: dict[str, Callable[[Any], None]] = {
    "theme": check_theme,
    "charts": check_charts,
    "smoothing": check_smoothing,
}
