"""All keys of the console by id; config.toml can rebind each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from textual.binding import Binding

from console.app import ConsoleApp
from console.screens.away import AwayScreen
from console.screens.comparison import ComparisonScreen
from console.screens.help import KeysScreen, MessagesScreen
from console.screens.home import HomeScreen
from console.screens.new_experiment import NewExperimentScreen
from console.screens.run import RunScreen
from console.tui.config import Config
from console.widgets.chart import Chart
from console.widgets.layer_map import LayerMap
from console.widgets.log_view import LogView
from console.widgets.run_table import RunTable
from engine.base.errors import UsageError
from engine.base.paths import Home

OWNERS = (
    ConsoleApp,
    HomeScreen,
    RunScreen,
    ComparisonScreen,
    AwayScreen,
    NewExperimentScreen,
    KeysScreen,
    MessagesScreen,
    RunTable,
    Chart,
    LayerMap,
    LogView,
)


def own_bindings() -> Iterator[Binding]:
    """Iterate over all bindings with an id."""
    for owner in OWNERS:
        bindings: list[Any] = list(vars(owner).get("BINDINGS", ()))
        yield from (binding for binding in bindings if isinstance(binding, Binding) and binding.id)


def all_keys(config: Config) -> list[tuple[str, str, str]]:
    """Rows of id, key and action, sorted by id, with the user's keys from config.toml."""
    found = {binding.id or "": (binding.key, binding.description) for binding in own_bindings()}
    return [(id, config.keys.get(id, key), does) for id, (key, does) in sorted(found.items())]


def check_keys(home: Home, config: Config) -> None:
    """Check the key ids in config.toml.

    Raises:
        UsageError: an id does not exist.
    """
    known = {binding.id for binding in own_bindings()}
    for id in config.keys:
        if id not in known:
            raise UsageError(f"{home.config}: unknown key id {id!r}; `depthscope config keys` lists all ids")
