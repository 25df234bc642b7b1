"""What a screen reader is given: words, without drawings and escape sequences."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

from tests.recorded_runs import recorded_home
from tests.terminal import Terminal

COMMANDS = ("ls", "describe exp1", "compare exp1", "follow exp1")
"""The commands of the page for screen readers, on an experiment that has ended."""
DRAWN = re.compile(r"[\u2500-\u25ff\u2800-\u28ff]")
"""Box drawing, blocks, geometric shapes and Braille."""


@pytest.fixture
def recorded(bare_home: Any) -> Any:
    recorded_home(bare_home.home.root, "quickstart")
    return bare_home


@pytest.mark.parametrize("words", COMMANDS)
def test_output_without_a_terminal_is_words(recorded: Any, words: str):
    done = subprocess.run(recorded.command(*words.split()), env=recorded.env, capture_output=True, timeout=60)
    assert done.returncode == 0
    text = (done.stdout + done.stderr).decode()

    assert "he-resnet" in text
    assert not DRAWN.search(text)
    assert "\x1b" not in text


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS)
def test_output_on_a_dumb_terminal_is_words(recorded: Any, words: str):
    env = {**recorded.env, "TERM": "dumb", "LANG": "C.UTF-8"}
    with Terminal(recorded.command(*words.split()), env) as terminal:
        assert terminal.wait(patience_seconds=60) == 0
        terminal.read(0.5)
    text = terminal.output.decode()

    assert "he-resnet" in text
    assert not DRAWN.search(text)
    assert "\x1b" not in text
