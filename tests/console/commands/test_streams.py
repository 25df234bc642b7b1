"""Closed, full and narrow streams: one line or nothing on stderr, never a traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import pytest

from console import cli
from console.text import streams
from tests.console.commands.test_help import ALL
from tests.terminal import Terminal, terminal_env

NOTE = "四つの層"
FULL = Path("/dev/full")
FEW = ("depthscope", "depthscope train", "depthscope queue move")
"""Commands tried in the quick suite."""
needs_full = pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")


def shell(script: str, home: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script of a shell in which $D is the command."""
    command = f"{sys.executable} -P -m console.cli"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=home,
        env={**os.environ, "D": command, "DEPTHSCOPE_HOME": str(home), **env},
        capture_output=True,
        text=True,
        encoding=env.get("PYTHONIOENCODING"),
        timeout=60,
        check=False,
    )


def status_with(words: list[str], err: Path, **patched: Any) -> int:
    """Run a command here with other streams and return its exit status; stderr goes into a file."""
    with err.open("w", encoding="utf-8") as stderr:
        names = {"stderr": stderr, **patched}
        with mock.patch.multiple(sys, argv=["depthscope", *words], **names), pytest.raises(SystemExit) as left:
            cli.main()
    assert isinstance(left.value.code, int)
    return left.value.code


@needs_full
@pytest.mark.parametrize("path", [path if path in FEW else pytest.param(path, marks=pytest.mark.slow) for path in ALL])
def test_help_on_full_disk(path: str, tmp_path: Path):
    """Every command says in one line that its help cannot be written, and fails."""
    words = [*path.split()[1:], "--help"]
    with FULL.open("w") as full:
        assert status_with(words, tmp_path / "err", stdout=full) == 1

    assert (tmp_path / "err").read_text() == "depthscope: cannot write to stdout: No space left on device\n"


@needs_full
@pytest.mark.parametrize(
    "words", [["ls"], ["config", "show"], ["config", "keys", "--json"], ["data", "ls"]], ids=" ".join
)
def test_data_on_full_disk(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A command with data fails when they cannot be written; one that prints none succeeds."""
    monkeypatch.setenv("DEPTHSCOPE_HOME", str(tmp_path / "home"))
    with FULL.open("w") as full:
        status = status_with(words, tmp_path / "err", stdout=full)

    said = (tmp_path / "err").read_text()
    if words == ["ls"]:
        assert (status, said.startswith("no runs yet")) == (0, True)
    else:
        assert (status, said) == (1, "depthscope: cannot write to stdout: No space left on device\n")


@needs_full
def test_full_stderr_changes_nothing(tmp_path: Path):
    """A command goes on without its narration, and an error keeps its status."""
    done = shell(
        "$D ls 2>/dev/full; echo $?; $D show nothing 2>/dev/full; echo $?; $D nothing 2>/dev/full; echo $?", tmp_path
    )

    assert done.stdout.split() == ["0", "2", "2"]
    assert done.stderr == ""


def test_closed_streams(tmp_path: Path):
    """Closed streams read as empty and swallow what is written; narration never lands among the data."""
    done = shell(
        "$D <&- >/dev/null; echo $?; $D config show >&-; echo $?; $D ls --json >&-; echo $?;"
        " $D show nothing 2>&-; echo $?; $D nothing 2>&-; echo $?; $D data ls <&- >&- 2>&-; echo $?",
        tmp_path,
    )

    assert done.stdout.split() == ["2", "0", "0", "2", "2", "0"]
    assert "Traceback" not in done.stderr


def test_reader_gone(tmp_path: Path):
    """A command whose reader has left ends with status 1 and says nothing."""
    for words in (["--help"], ["config", "keys"]):
        reading, writing = os.pipe()
        os.close(reading)
        with open(writing, "w") as gone:  # noqa: PTH123
            assert status_with(words, tmp_path / "err", stdout=gone) == 1
        assert (tmp_path / "err").read_text() == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_narrow_encoding(encoding: str, tmp_path: Path):
    """What an encoding lacks is written as an escape, in typer's errors too."""
    done = shell(f"$D {NOTE}; $D show {NOTE}; $D ls é", tmp_path, PYTHONIOENCODING=encoding)

    assert done.stderr.count(NOTE.encode("ascii", "backslashreplace").decode()) == 2
    assert ("\\xe9" in done.stderr) == (encoding == "ascii")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["show $'\\xff'", "note x $'\\xff'", "ls --where $'name:\\xff'", "ls $'\\xff'"])
def test_argument_that_is_not_text(words: str, tmp_path: Path):
    """Arguments that are not UTF-8 give an error in a line."""
    done = shell(f"$D {words}", tmp_path)

    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 1, "depthscope: /x: No space left on device: `depthscope prune` shows what can be deleted\n"),  # noqa: E501
        (OSError(errno.EMFILE, "Too many open files"), 1, "depthscope: Too many open files\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "depthscope: /x: Permission denied (does it belong to another user?)\n"),  # noqa: E501
        (MemoryError(), 1, "depthscope: out of memory\n"),
        (streams.ReaderGone("nobody reads stdout"), 1, ""),
        (SystemExit(130), 130, ""),
    ],
)  # fmt: skip
def test_errors_of_the_environment(error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]):
    """Each error of the environment that no command handled is one line."""

    def command() -> int:
        raise error

    assert cli.guarded(command) == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("~nobody-of-this-name/x", "DEPTHSCOPE_HOME=~nobody-of-this-name/x: "),
        ("/tmp/\udcff", "DEPTHSCOPE_HOME must be UTF-8, got '/tmp/\\udcff'"),
    ],
)
def test_homes_that_cannot_be(value: str, said: str, tmp_path: Path):
    """One line, before anything is created."""
    done = shell("$D ls", tmp_path, DEPTHSCOPE_HOME=value)

    assert done.returncode == 2
    assert done.stderr.startswith(f"depthscope: {said}")
    assert done.stderr.count("\n") == 1


def test_current_directory_that_is_gone(tmp_path: Path):
    """A relative path leads nowhere."""
    words = "eval --weights x.pt -a he-resnet -d 8 --data synthetic"
    done = shell(f"mkdir gone; cd gone; rmdir ../gone; $D {words}", tmp_path)

    assert (done.returncode, done.stderr) == (1, "depthscope: the current directory is gone: cd to another\n")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/null"])
def test_console_is_drawn_without_stderr(redirection: str, bare_home: Any):
    """Textual draws on stderr; the console draws on the terminal that it has."""
    script = f'exec "{sys.executable}" -P -m console.cli {redirection}'
    with Terminal(["bash", "-c", script], terminal_env(bare_home)) as terminal:
        terminal.read_until(lambda seen: b"depthscope" in seen and b"\x1b[?1049h" in seen)
        terminal.type(b"q")
        assert terminal.wait() == 0


def test_nonblocking_pipe(tmp_path: Path):
    """Output waits for a pipe that someone made non-blocking instead of failing when it is full."""
    program = (
        "import os, sys; from console.text import streams; os.set_blocking(1, False); streams.open_streams();"
        " print('x' * 300_000); sys.exit(streams.finish(0))"
    )
    with subprocess.Popen([sys.executable, "-P", "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert len(process.stdout.read()) == 300_001
    assert process.returncode == 0


def test_ctrl_c_while_writing_repeats_nothing():
    """Interrupted when a write has just returned: the same bytes are not written again."""
    reading, writing = os.pipe()
    with open(writing, "w") as pipe:  # noqa: PTH123
        output = streams.wrapped(pipe, "stderr")

        def interrupt(frame: FrameType, event: str, _arg: object) -> Any:
            if event == "return" and frame.f_code.co_filename == streams.__file__:
                sys.settrace(None)
                raise KeyboardInterrupt
            return interrupt

        before = sys.gettrace()
        sys.settrace(interrupt)
        with pytest.raises(KeyboardInterrupt):
            output.write("once\n")
        sys.settrace(before)
        output.flush()
        assert os.read(reading, 100) == b"once\n"
    os.close(reading)
