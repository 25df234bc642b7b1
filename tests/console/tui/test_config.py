"""Settings: values, their sources, and errors."""

from __future__ import annotations

from typing import Any

import pytest

from console.app import ConsoleApp
from console.keymap import read_checked
from console.programs.checks import Level, examine_config
from engine.spec.config_file import sentence


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
        ("smoothing = 2", "smoothing must be in 0..0.99, got 2 (line 1)"),
        ('charts = ["train-loss", "nothing"]', "got 'nothing'"),
        ("x-axis = 3", "x-axis must be one of epoch, step, time, got 3 (line 1)"),
        (
            'theme = "lighty"',
            "high-contrast, or a Textual theme, got 'lighty'; did you mean depthscope-light?",
        ),
        ('[keys]\n"home.new" = "q"', "'home.new' (new) cannot use q, the key of 'app.quit' (quit)"),
        ('[keys]\n"home.new" = "nokey"', "must be a key such as n, ctrl+n or f2, got 'nokey' (line 2)"),
        ("not toml at all", "is not TOML"),
        ('keep-checkpoints = "no"', "keep-checkpoints must be true or false, got 'no'"),
        ('[keys]\n"home.nothing" = "n"', "unknown key id 'home.nothing'"),
    ],
)
def test_wrong_settings_are_named(text: str, says: str, bare_home: Any):
    """One line with the file's path, and exit code 2."""
    write(bare_home, text)

    told = bare_home.cli("config", "keys", status=2)

    (error,) = [line for line in told.splitlines() if line.startswith("depthscope: ")]
    assert says in error
    assert str(bare_home.home.config) in error


def test_each_problem_is_told_with_its_line_and_the_rest_applies(bare_home: Any):
    """A wrong setting has its default; the right ones beside it count."""
    write(bare_home, 'thme = "x"\nlog-y = true\n[keys]\n"home.new" = "f9"\n"home.sort" = "f9"\n[slots]\ncpu = 0\n')

    config, problems = read_checked(bare_home.home)
    texts = [sentence(bare_home.home, problem) for problem in problems]

    assert (config.log_y, config.slots, config.keys) == (True, {}, {"home.new": "f9"})
    assert [problem.line for problem in problems] == [1, 5, 7]
    assert "'home.sort' (sort) cannot use f9, the key of 'home.new' (new)" in texts[1]
    assert "config.toml: slots.cpu must be a whole number" in texts[2]


def test_doctor_tells_what_is_wrong_in_config(bare_home: Any):
    """One finding for each problem, so that `doctor` and `config show` agree."""
    write(bare_home, 'theme = "lighty"\nx-axis = "epochs"\n')

    _, problems = read_checked(bare_home.home)
    findings = examine_config(bare_home.home, problems)

    assert [finding.level for finding in findings] == [Level.BAD, Level.BAD]
    assert "did you mean epoch? (line 2)" in findings[1].text


async def test_the_console_starts_with_defaults_and_says_so_in_a_line(bare_home: Any):
    """A mistake in config.toml does not end it."""
    write(bare_home, 'theme = "lighty"\n')
    config, problems = read_checked(bare_home.home)
    app = ConsoleApp(bare_home.home, config, starts_engine=False, problems=problems)

    async with app.run_test(size=(80, 24)):
        told = [notice.text for notice in app.session.notices]

    assert told == ["config.toml: theme ignored; `depthscope doctor` says why"]
    assert app.theme == "depthscope-dark"
