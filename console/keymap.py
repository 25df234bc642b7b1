"""All keys of the console by id; config.toml can rebind each."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
from textual.binding import Binding
from textual.keys import KEY_NAME_REPLACEMENTS, KEY_TO_UNICODE_NAME, Keys, _normalize_key_list

from console.app import ConsoleApp
from console.screens.away import AwayScreen
from console.screens.comparison import ComparisonScreen
from console.screens.help import KeysScreen, MessagesScreen
from console.screens.home import HomeScreen
from console.screens.new_experiment import NewExperimentScreen
from console.screens.run import RunScreen
from console.tui.config import Config, config_of, read_config
from console.widgets.chart import Chart
from console.widgets.layer_map import LayerMap
from console.widgets.log_view import LogView
from console.widgets.run_table import RunTable
from engine.base.near_names import hint
from engine.base.paths import Home
from engine.spec.config_file import Problem, in_order, parse, read_text

PANELS: dict[type, tuple[type, ...]] = {
    HomeScreen: (RunTable, Chart),
    RunScreen: (Chart, LayerMap, LogView),
    ComparisonScreen: (Chart,),
    AwayScreen: (),
    NewExperimentScreen: (),
    KeysScreen: (),
    MessagesScreen: (),
}
"""Screens, and the panels in them with keys of their own."""
OWNERS = (ConsoleApp, *PANELS, RunTable, Chart, LayerMap, LogView)


def own_bindings() -> Iterator[Binding]:
    """Iterate over all bindings with an id."""
    for owner in OWNERS:
        bindings: list[Any] = list(vars(owner).get("BINDINGS", ()))
        yield from (binding for binding in bindings if isinstance(binding, Binding) and binding.id)


def all_keys(config: Config) -> list[tuple[str, str, str]]:
    """Rows of id, key and action, sorted by id, with the user's keys from config.toml."""
    found = {binding.id or "": (binding.key, binding.description) for binding in own_bindings()}
    return [(id, config.keys.get(id, key), does) for id, (key, does) in sorted(found.items())]


def read_checked(home: Home) -> tuple[Config, list[Problem]]:
    """Read and check all of config.toml; invalid settings and keys are problems, by line, and have their defaults."""
    config, problems = read_config(home)
    keys, wrong = usable_keys(config.keys)
    if not wrong:
        return config, problems
    return msgspec.structs.replace(config, keys=keys), in_order(read_text(home), [*problems, *wrong])


def problems_in(text: str) -> list[Problem]:
    """Check the text of a config.toml with the same checks.

    Raises:
        UsageError: it is not TOML.
    """
    config, problems = config_of(parse(text))
    return in_order(text, [*problems, *usable_keys(config.keys)[1]])


def usable_keys(chosen: Mapping[str, str]) -> tuple[dict[str, str], list[Problem]]:
    """Separate the user's keys that can be used from those that cannot, each with the reason."""
    bindings = {binding.id or "": binding for binding in own_bindings()}
    problems: list[Problem] = []
    usable: dict[str, str] = {}

    def refuse(id: str, text: str) -> None:
        problems.append(Problem(key=("keys", id), text=text))

    for id, keys in chosen.items():
        unknown = [key for key in split_keys(keys) if not is_key(key)]
        if id not in bindings:
            near = hint(id, list(bindings))
            refuse(id, f"keys: unknown key id {id!r}{near}; `depthscope config keys` lists all ids")
        elif not split_keys(keys) or unknown:
            refuse(id, f"keys: {id!r} must be a key such as n, ctrl+n or f2, got {', '.join(unknown) or keys!r}")
        else:
            usable[id] = keys
    # Only a key given up by another action is free, so a refused key can make a further one clash.
    while clash := find_clash(bindings, usable):
        id, key, other = clash
        does, other_does = bindings[id].description, bindings[other].description
        where = "set here too" if other in usable else f"set another key for {other!r} as well, or leave {id!r} out"
        refuse(id, f"keys: {id!r} ({does}) cannot use {key}, the key of {other!r} ({other_does}); {where}")
        del usable[id]
    return usable, problems


def find_clash(bindings: Mapping[str, Binding], chosen: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Find the last of the user's keys that another action on the same screen has: id, key and the other id."""
    order = list(chosen)
    for id in reversed(order):
        defaults = split_keys(bindings[id].key)
        for other, binding in bindings.items():
            if other == id or not meet(id, other):
                continue
            # Of two keys that the user chose, the later gives way.
            if other in chosen and order.index(other) > order.index(id):
                continue
            shared = [key for key in split_keys(chosen[id]) if key in split_keys(chosen.get(other, binding.key))]
            # Panels may share a key with their screen by design.
            if shared and not (other not in chosen and set(shared) <= set(defaults)):
                return id, shared[0], other
    return None


def meet(id: str, other: str) -> bool:
    """Whether two actions can be reached from the same screen."""
    return any(id in ids and other in ids for ids in ids_by_screen())


@cache
def ids_by_screen() -> list[set[str]]:
    """Ids of the bindings of each screen, its panels and the app."""

    def ids(owner: type) -> set[str]:
        bindings: list[Any] = list(vars(owner).get("BINDINGS", ()))
        return {binding.id for binding in bindings if isinstance(binding, Binding) and binding.id}

    return [set().union(*map(ids, (ConsoleApp, screen, *panels))) for screen, panels in PANELS.items()]


def split_keys(keys: str) -> list[str]:
    """Names of the keys in a list as Textual writes it, in their long form."""
    return [key for key in _normalize_key_list(keys).split(",") if key] if keys else []


def is_key(name: str) -> bool:
    """Whether a terminal has such a key: a character, or one of Textual's names, after ctrl+, shift+ or alt+."""
    *modifiers, key = name.split("+")
    if not set(modifiers) <= {"ctrl", "shift", "alt", "super", "hyper", "meta"}:
        return False
    if len(key) == 1 or key in {one.value for one in Keys} or key in KEY_NAME_REPLACEMENTS.values():
        return True
    try:
        unicodedata.lookup(KEY_TO_UNICODE_NAME.get(key, key.replace("_", " ").upper()))
    except KeyError:
        return False
    return True
