"""`depthscope config set` and `config unset`."""

from __future__ import annotations

from typing import Any

import pytest

WRITTEN = """# mine
theme = "depthscope-dark"  # at night

[slots]
# the laptop has four cores
cpu = 2
"""


def test_set_changes_one_setting_and_keeps_comments(bare_home: Any):
    """Values are TOML or else text; dots and colons of keys and devices need no quotes."""
    config = bare_home.home.config
    config.write_text(WRITTEN)

    said = bare_home.cli("config", "set", "theme", "depthscope-light")
    bare_home.cli("config", "set", "slots.cuda:0", "3")
    bare_home.cli("config", "set", "keys.home.new", "ctrl+n")

    assert f'theme = "depthscope-light" in {config}\na console that is open' in said
    changed = WRITTEN.replace("depthscope-dark", "depthscope-light")
    assert config.read_text() == changed + '"cuda:0" = 3\n\n[keys]\n"home.new" = "ctrl+n"\n'


def test_unset_gives_the_default_back(bare_home: Any):
    """A file is created by the first setting; a table goes with its last."""
    bare_home.home.config.unlink(missing_ok=True)
    bare_home.cli("config", "set", "smoothing", "0.5")
    bare_home.cli("config", "set", "slots.cpu", "2")

    bare_home.cli("config", "unset", "slots.cpu")
    said = bare_home.cli("config", "unset", "log-y")

    assert bare_home.home.config.read_text() == "smoothing = 0.5\n"
    assert "log-y is not set" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("set", "theme", "lighty"), "did you mean depthscope-light?\n"),
        (("set", "thme", "x"), "did you mean theme?"),
        (("set", "smoothing", "2"), "smoothing must be in 0..0.99, got 2\n"),
        (("set", "keys.home.new", "q"), "cannot use q, the key of 'app.quit'"),
        (("unset", "thme"), "did you mean theme?"),
    ],
)
def test_a_refused_change_leaves_the_file_as_it_was(words: tuple[str, ...], says: str, bare_home: Any):
    """Status 2, and the reason."""
    bare_home.home.config.write_text(WRITTEN)

    said = bare_home.cli("config", *words, status=2)

    assert says in said
    assert bare_home.home.config.read_text() == WRITTEN


def test_a_wrong_setting_can_be_mended_beside_another(bare_home: Any, tmp_path: Any):
    """A linked file stays linked, and its other problem does not stand in the way."""
    elsewhere = tmp_path / "dotfiles.toml"
    elsewhere.write_text('thme = "x"\nx-axis = "epochs"\n')
    bare_home.home.config.unlink(missing_ok=True)
    bare_home.home.config.symlink_to(elsewhere)

    bare_home.cli("config", "set", "x-axis", "step")
    bare_home.cli("config", "unset", "thme")

    assert elsewhere.read_text() == 'x-axis = "step"\n'
    assert bare_home.home.config.is_symlink()
