"""The console ended at every moment: it exits at once and leaves the terminal as it was."""

from __future__ import annotations

import signal
import sys
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.terminal import Terminal, goes_on, terminal_env

SCRIPT = [str(Path(sys.executable).with_name("depthscope"))]
HANGUP_IGNORED = ["sh", "-c", f"trap '' HUP; exec {SCRIPT[0]}"]
LOADING = "loads"
UNGUARDED_PROGRAM = f"print('{LOADING}', flush=True); from console.cli import open_console; open_console()"
UNGUARDED = [sys.executable, "-P", "-c", UNGUARDED_PROGRAM]
"""The console without `console.cli`'s handling of Ctrl-C during imports, for the control."""
ENDS_WITHIN_SECONDS = 2.0
SECONDS_BEFORE_QUITTING = 0.3
WAYS: dict[str, tuple[list[str], Callable[[Terminal], None]]] = {
    "Ctrl-C": (SCRIPT, lambda terminal: terminal.type(b"\x03")),
    "SIGTERM": (SCRIPT, lambda terminal: terminal.signal(signal.SIGTERM)),
    "SIGHUP": (SCRIPT, lambda terminal: terminal.signal(signal.SIGHUP)),
    "pty closed": (SCRIPT, lambda terminal: terminal.close()),
    "pty closed, SIGHUP ignored": (HANGUP_IGNORED, lambda terminal: terminal.close()),
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How one console ended."""

    offset_seconds: float
    """Time from its start to the signal."""
    seconds: float
    """Time from the signal to its exit."""
    was_gone: bool
    """Whether it had quit already."""
    in_pythons_start: bool
    """Whether that was before depthscope's first line, when Python itself prints a traceback for Ctrl-C."""
    complaints: tuple[str, ...]


def end_at(
    home: Any, command: list[str], end: Callable[[Terminal], None], *, offset_seconds: float, quit_seconds: float
) -> Ending:
    """Start a console, quit it at one time, and signal it at another."""
    with Terminal(command, terminal_env(home)) as terminal:
        before = termios.tcgetattr(terminal.descriptor)
        for instant, act in sorted(
            ((quit_seconds, lambda terminal: terminal.type(b"q")), (offset_seconds, end)), key=lambda pair: pair[0]
        ):
            while (left := terminal.began + instant - time.perf_counter()) > 0 and terminal.status is None:
                terminal.read(min(left, 0.02))
                terminal.wait(patience_seconds=0.0)
            was_gone = terminal.status is not None
            began = time.perf_counter()
            if not was_gone:
                act(terminal)
            if act is end:
                break
        status = terminal.wait(patience_seconds=10.0)
        taken = time.perf_counter() - began
        found = [] if status is not None else ["still there"]
        if status is not None and taken > ENDS_WITHIN_SECONDS:
            found.append(f"took {taken:.2f} s")
        if terminal.descriptor >= 0:
            terminal.drain(0.05)
            found += unrestored(terminal, before)
        in_pythons_start, traced = tracebacks(terminal.output)
    return Ending(offset_seconds, taken, was_gone, in_pythons_start, (*found, *traced))


def tracebacks(output: bytes) -> tuple[bool, list[str]]:
    """Return whether Python printed one before depthscope's first line, and depthscope's own tracebacks."""
    traced = b"Traceback" in output or b"KeyboardInterrupt" in output
    in_pythons_start = b"KeyboardInterrupt" in output and b"cli.py" not in output and b"opening.py" not in output
    return in_pythons_start, [f"traceback: {output[-2000:]!r}"] if traced and not in_pythons_start else []


def unrestored(terminal: Terminal, before: list[Any]) -> list[str]:
    """Differences in the terminal's state after the console has ended."""
    found = []
    for what, entered, left in (
        ("alternate screen", b"\x1b[?1049h", b"\x1b[?1049l"),
        ("hidden cursor", b"\x1b[?25l", b"\x1b[?25h"),
        ("mouse reports", b"\x1b[?1000h", b"\x1b[?1000l"),
        ("bracketed paste", b"\x1b[?2004h", b"\x1b[?2004l"),
    ):
        if terminal.output.rfind(entered) > terminal.output.rfind(left):
            found.append(what)
    if termios.tcgetattr(terminal.descriptor) != before:
        found.append("modes of the terminal")
    return found


def one_life(home: Any) -> tuple[float, float]:
    """Measure the seconds from a console's start to its first frame, and to its exit after quitting then."""
    with Terminal(SCRIPT, terminal_env(home)) as terminal:
        first_frame = terminal.read_until(lambda seen: b"depthscope" in seen)
        terminal.drain(SECONDS_BEFORE_QUITTING)
        terminal.type(b"q")
        assert terminal.wait() == 0
        return first_frame, time.perf_counter() - terminal.began


def sweep(home: Any, how: str, life: tuple[float, float], *, num_offsets: int) -> tuple[list[Ending], str]:
    """End consoles at times spread evenly over a lifetime; return the results and a line of figures."""
    first_frame, whole = life
    command, end = WAYS[how]
    endings = [
        end_at(
            home,
            command,
            end,
            offset_seconds=whole * index / num_offsets,
            quit_seconds=first_frame + SECONDS_BEFORE_QUITTING,
        )
        for index in range(num_offsets)
    ]
    return endings, figures(how, endings, whole)


def figures(how: str, endings: Sequence[Ending], whole: float) -> str:
    ended = [ending for ending in endings if not ending.was_gone]
    taken = sorted(ending.seconds for ending in ended)
    return (
        f"{how} at {len(endings)} offsets over {whole:.2f} s ({len(endings) - len(ended)} behind its end, "
        f"{sum(ending.in_pythons_start for ending in ended)} in the interpreter's own start): gone within"
        f" {taken[len(taken) // 2]:.2f} s in the median, {taken[-1]:.2f} s at most;"
        f" {sum(bool(ending.complaints) for ending in endings)} not restored, traced or late"
    )


def check(endings: Sequence[Ending]) -> None:
    bad = [(f"{ending.offset_seconds:.3f} s", ending.complaints) for ending in endings if ending.complaints]
    assert not bad, bad


@pytest.mark.slow
def test_a_console_ended_at_any_moment_leaves_the_terminal_as_it_was(
    home: Any, training: str, wait_until: Callable[..., Any], figure: Callable[[str], None]
):
    """Loading, drawing the first frame, showing runs, quitting: it exits within two seconds; training continues."""
    life = one_life(home)
    for how in WAYS:
        endings, line = sweep(home, how, life, num_offsets=10 if how == "Ctrl-C" else 3)
        figure(line)
        check(endings)
    goes_on(home, training, wait_until)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("how", "share"), [("Ctrl-C", 5), *((how, 20) for how in WAYS if how != "Ctrl-C")])
def test_a_console_ended_at_every_moment_leaves_the_terminal_as_it_was(
    how: str,
    share: int,
    home: Any,
    training: str,
    wait_until: Callable[..., Any],
    num_kills: int,
    figure: Callable[[str], None],
):
    """Full version: of a thousand kills, Ctrl-C at 200 offsets, every other way at 50."""
    endings, line = sweep(home, how, one_life(home), num_offsets=max(1, num_kills // share))
    figure(line)

    check(endings)
    goes_on(home, training, wait_until)


@pytest.mark.parametrize("seconds", [0.02, 0.05])
def test_a_console_ended_while_a_screen_opens_leaves_no_traceback(seconds: float, bare_home: Any):
    """The screen finishes composing first; otherwise lookups of missing widgets would fail."""
    with Terminal(SCRIPT, terminal_env(bare_home)) as terminal:
        terminal.read_until(lambda seen: b"engine up" in seen)
        terminal.type(b"n")
        terminal.drain(seconds)
        terminal.signal(signal.SIGTERM)

        assert terminal.wait() == 128 + signal.SIGTERM
        assert b"Traceback" not in terminal.output


@pytest.mark.slow
def test_a_console_that_cannot_restore_its_terminal_would_be_seen(bare_home: Any):
    """Control: a console killed by SIGKILL leaves the terminal changed, and the check detects it."""
    first_frame, _ = one_life(bare_home)
    ending = end_at(
        bare_home,
        SCRIPT,
        lambda terminal: terminal.signal(signal.SIGKILL),
        offset_seconds=2 * first_frame,
        quit_seconds=4 * first_frame,
    )

    assert set(ending.complaints) == {
        "alternate screen",
        "hidden cursor",
        "mouse reports",
        "bracketed paste",
        "modes of the terminal",
    }


@pytest.mark.slow
def test_without_the_safeguard_ctrl_c_during_imports_would_print_a_traceback(bare_home: Any):
    """Control: without the entry point's handling, Ctrl-C during imports prints a traceback."""

    def interrupted(delay_seconds: float) -> list[str]:
        with Terminal(UNGUARDED, terminal_env(bare_home)) as terminal:
            terminal.read_until(lambda seen: LOADING.encode() in seen)
            terminal.drain(delay_seconds)
            terminal.type(b"\x03")
            assert terminal.wait() is not None
            terminal.drain(0.05)
            return tracebacks(terminal.output)[1]

    # Usually the first attempt hits; import times vary between starts.
    assert any(interrupted(delay_seconds) for delay_seconds in (0.05, 0.03, 0.08, 0.1, 0.02, 0.15, 0.2, 0.01))
