"""`depthscope config show`: every setting, its value and where the value comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from console.tui.config import Config
from engine.base.errors import UsageError
from engine.base.paths import Home
from engine.spec.config_file import Problem, parse, read_text
from engine.spec.settings import AUTO_SLOTS


def explain(
    home: Home, environ: Mapping[str, str], config: Config, problems: Sequence[Problem]
) -> list[tuple[str, str, str]]:
    """Rows of every setting: name, value and source of the value; an invalid value counts as left out."""
    try:
        in_file = parse(read_text(home))
    except UsageError:
        in_file = {}
    wrong = {problem.key for problem in problems}
    rows = [("home", str(home.root), "DEPTHSCOPE_HOME" if environ.get("DEPTHSCOPE_HOME") else "default")]
    rows.append(("config file", str(home.config), "exists" if home.config.exists() else "does not exist"))
    for field in msgspec.structs.fields(Config):
        value = getattr(config, field.name)
        is_used = field.encode_name in in_file and (field.encode_name,) not in wrong
        source = "config.toml" if is_used else "default"
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
