"""Outside names, errors and logs are only labels: never file names or terminal commands."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.control.protocol import MAX_LINE_BYTES
from engine.runs.directory import ExitReason, Labels, RunDirectory
from engine.runs.journal import JournalWriter, Notice
from tests.conftest import TestHome
from tests.console.test_terminal import SCRIPT, terminal_env
from tests.engine.scripted import spec_of
from tests.samples import a_start, an_epoch
from tests.terminal import Terminal

EVIL = (
    "\x1b]52;c;ZXZpbA==\x07"  # the clipboard
    "\x1b]0;EVILTITLE\x07\x1b]8;;http://evil.example\x1b\\"
    "\x1b[4242;666H\x1b[?4242h\x9b4242;1m\x9d52;c;ZXZpbA==\x9c"
    "\x1bP4242q\x1b\\\x1bc\r\b\x07"
    "\u202e\u2066"
)
FOREIGN = (b"\x1b]52;", b"EVILTITLE\x07", b"\x1b]8;;http://evil", b"\x1b[4242", b"\x1b[?4242h", b"\x1bP4242", b"\x1bc")
FOREIGN += (b"\x08", "\x9b".encode(), "\x9d".encode(), "\u202e".encode(), "\u2066".encode(), b"\x9b4242")
"""As bytes; escaped, as by Python and JSON, they are plain text."""
NAMES = ("../x", "-rf", "n" * 300, "null\0name", f"colour{EVIL}ed", "[red]markup[/red]", "a/b/../../c", " ")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestHome]:
    """A home about to read another user's runs for the first time."""
    home = TestHome(tmp_path_factory.mktemp("names") / "home")
    for number, name in enumerate(NAMES):
        fill(home.directory(f"{number:010x}"), number, name)
    home.home.engine_log.write_text(f"2026 INFO {EVIL} visible\n")
    home.cli("engine", "start")
    yield home
    home.end_everything()


def fill(directory: RunDirectory, number: int, name: str) -> None:
    directory.create(
        spec_of(number, "cpu"),
        Labels(
            name=name,
            experiment=f"exp{EVIL}eriment",
            position=number,
            created_at=time.time(),
            tags=(f"tag{EVIL}",),
            notes=f"note{EVIL}",
        ),
    )
    journal = JournalWriter.open(directory.journal)
    host = {"host": EVIL, "device_name": f"processor{EVIL}", "torch": EVIL}
    journal.append(a_start(**host, total_steps=10))
    for epoch in (1, 2):
        journal.append(an_epoch(epoch, step=5 * epoch))
    journal.append(Notice(text=f"notice{EVIL}"))
    journal.sync()
    journal.close()
    directory.write_exit(ExitReason.FAILED, step=10, error=f"Traceback\nError: wrong{EVIL}thing")
    directory.log.write_bytes(f"before{EVIL}after\n".encode() + b"\x1b]52;c;eA==\x07\xff\xfe\x9b4242m raw\n")


def check(output: bytes) -> None:
    found = {sequence: output[max(0, output.find(sequence) - 60) :][:120] for sequence in FOREIGN if sequence in output}
    assert not found, found


def on_terminal(home: TestHome, *words: str) -> bytes:
    """Return what a command writes to a real terminal."""
    with Terminal(home.command(*words), terminal_env(home), columns=400, lines=60) as terminal:
        assert terminal.wait(patience_seconds=90) is not None
        return terminal.output


COMMANDS = [
    ("ls", "--all"),
    ("ls", "--all", "--json"),
    ("show", "0000000004"),
    ("logs", "0000000004"),
    ("logs", "-f", "0000000004"),
    ("follow", "0000000004"),
    ("wait", "0000000004"),
    ("stop", "0000000004"),
    ("pause", "0000000004"),
    ("show", "0"),
    ("show", f"none{EVIL}"),
    ("note", "0000000004"),
    ("tag", "0000000004"),
    ("plot", "0000000004", "0000000001"),
    ("compare", f"exp{EVIL}eriment"),
    ("report", f"exp{EVIL}eriment"),
    ("queue",),
    ("engine", "logs"),
    ("engine", "status"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:24].encode("ascii", "ignore").decode())
def test_no_foreign_escape_reaches_a_terminal(home: TestHome, words: tuple[str, ...], tmp_path: Path):
    """No command passes them on."""
    # execve accepts no argument with NUL.
    if words[0] == "report":
        words = (*words, "--out", str(tmp_path / "report")) if "--out" in home.cli("report", "--help") else words
    output = on_terminal(home, *words)

    check(output)
    assert len(output) > 4
    if words[:2] == ("ls", "--all"):
        for visible in (b"../x", b"-rf", b"[red]markup[/red]", b"colour"):
            assert visible in output


def test_the_control_a_careless_program_would_be_seen(home: TestHome):
    """Control: a program that prints such a name unchanged is detected."""
    path = home.directory("0000000004").labels_file
    command = [sys.executable, "-c", f"import json; print(json.load(open({str(path)!r}))['name'])"]
    with Terminal(command, terminal_env(home)) as terminal:
        terminal.wait()
        with pytest.raises(AssertionError):
            check(terminal.output)


def test_the_console_shows_such_runs_and_no_foreign_escape(home: TestHome):
    """On every screen with names: home, all tabs of a run, comparison, filter, palette."""
    with Terminal([SCRIPT], terminal_env(home), columns=160, lines=40) as terminal:
        terminal.read_until(lambda seen: b"../x" in seen)
        for keys, visible in (
            (b"\r", b"Curves"),
            (b"3", b"he-plain"),
            (b"4", b"before"),
            (b"5", b"notice"),
            (b"\x1b", b"../x"),
        ):
            terminal.type(keys)
            terminal.read_until(lambda seen, wanted=visible: wanted in seen)
        for keys in (b"c", b"\x1b", b"/colour\r", b"g", b"s", b"?"):
            terminal.type(keys)
            terminal.drain(0.5)
        assert b"colour" in terminal.output
        terminal.type(b"\x03")
        terminal.wait()
    # Textual's own terminal sequences are not in the list.
    check(terminal.output)


def test_a_saved_copy_holds_no_escape_either(home: TestHome):
    """It may be printed with cat."""
    output = home.cli("export", "--help")
    assert "export" in output
    listed = home.json("ls")
    assert {run["name"] for run in listed["runs"]} >= {name for name in NAMES if name.strip()}
    assert "\x9b" not in home.cli("ls", "--json")


@pytest.mark.parametrize("name", ["../x", "-rf", "n" * 300])
def test_names_are_only_labels_and_no_path(name: str, home: TestHome, tmp_path: Path):
    """An experiment may have such a name, but its directories are named by ids."""
    before = {path.name for path in home.home.root.parent.iterdir()}
    options = ("-a", "he-plain", "-d", "8", "--width", "4", "--data", "synthetic", "--device", "cpu")
    home.cli("queue", "hold")
    made = home.json("train", *options, f"--experiment={name}", "--detach")
    (run,) = made["runs"]

    assert made["experiment"] == name
    assert len(run["id"]) == 10
    assert home.directory(run["id"]).path.is_dir()
    assert {path.name for path in home.home.root.parent.iterdir()} == before
    home.cli("rm", run["id"])
    listed = json.loads(home.cli("ls", "--all", "--json", "--", name))
    assert [each["id"] for each in listed["runs"]] == [run["id"]]


@pytest.mark.parametrize("name", ["a\x1b[31mb", f"x{EVIL}", "n" * 301, " x", "", "a\nb", "a\x7fb"])
def test_names_that_no_line_can_hold_are_refused_when_asked_for(name: str, home: TestHome):
    """One line with the value, and nothing is queued."""
    options = ("-a", "he-plain", "-d", "8", "--width", "4", "--data", "synthetic", "--device", "cpu")
    said = home.cli("train", *options, f"--experiment={name}", "--detach", status=2)

    assert "experiment" in said
    assert said.count("\n") == 1
    check(said.encode())


def test_a_name_with_nul_is_refused_by_the_engine(home: TestHome):
    """No command line can carry one, a request can."""
    from engine.base.errors import UsageError
    from engine.client import submit
    from engine.control.protocol import NewRun

    with pytest.raises(UsageError, match="must be printable"):
        submit(home.home, [NewRun(name="a\0b", spec=spec_of(0, "cpu"))], experiment=None)
    assert len(msgspec.json.encode("n" * 300)) < MAX_LINE_BYTES


def test_exported_files_are_named_within_their_directory(home: Any, tmp_path: Path):
    """Names become parts of file names there, none of which leads out of the directory."""
    from console.report.export_formats import file_name

    for name in NAMES:
        assert "/" not in file_name(name)
        assert file_name(name) not in ("", ".", "..")
        assert file_name(name).isprintable()
        assert len(file_name(name).encode()) <= 255
