"""Settings: values, their sources, and errors."""

from __future__ import annotations

from typing import Any

import pytest


def write(home: Any, text: str) -> None:
    home.home.config.write_text(text)


def test_show_names_each_value_and_where_it_comes_from(bare_home: Any):
    """Users can see where to change a value."""
    write(bare_home, 'theme = "high-contrast"\n[keys]\n"home.new" = "ctrl+n"\n')

    rows = {row["name"]: row for row in bare_home.json("config", "show")["settings"]}

    assert rows["home"] == {"name": "home", "value": str(bare_home.home.root), "source": "DEPTHSCOPE_HOME"}
    assert rows["theme"] == {"name": "theme", "value": "high-contrast", "source": "config.toml"}
    assert rows["smoothing"]["source"] == "default"
    assert rows["keys.home.new"]["value"] == "ctrl+n"
    assert rows["colour"] == {"name": "colour", "value": "no", "source": "NO_COLOR"}


def test_keys_shows_ids_that_config_takes(bare_home: Any):
    """It shows the user's keys from config.toml."""
    write(bare_home, '[keys]\n"home.new" = "ctrl+n"\n')

    rows = {row["id"]: row for row in bare_home.json("config", "keys")["keys"]}

    assert rows["home.new"]["key"] == "ctrl+n"
    assert rows["run.pause"] == {"id": "run.pause", "key": "p", "does": "pause"}
    assert len(rows) > 40


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('thme = "x"', "did you mean theme?"),
        ("smoothing = 2", "smoothing must be in 0..0.99, got 2"),
        ('charts = ["train-loss", "nothing"]', "got 'nothing'"),
        ("x-axis = 3", "$.x-axis"),
        ("not toml at all", "is not TOML"),
        ('keep-checkpoints = "no"', "keep-checkpoints must be true or false, got 'no'"),
        ('[keys]\n"home.nothing" = "n"', "unknown key id 'home.nothing'"),
    ],
)
def test_wrong_settings_are_named(text: str, says: str, bare_home: Any):
    """One line with the file's path, and exit code 2."""
    write(bare_home, text)

    told = bare_home.cli("config", "keys", status=2)

    assert says in told
    assert str(bare_home.home.config) in told
    assert len(told.strip().splitlines()) == 1
