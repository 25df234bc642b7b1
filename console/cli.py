"""Entry point of `depthscope`: the console on a terminal, the command line for everything else."""

from __future__ import annotations

# `_signal` because importing `signal` takes ten milliseconds, in which Ctrl-C would print a traceback.
import _signal  # type: ignore[import-not-found]
import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Run the console or a command; an error the user can act on prints one line, never a traceback."""
    # Ctrl-C while modules load ends the process silently; nothing has started yet.
    is_pythons = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    if is_pythons:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from console.text import streams

    streams.open_streams()
    if len(sys.argv) == 1 and sys.stdin.isatty() and sys.stdout.isatty():
        # Before importing typer, which the first frame does not need.
        status = streams.finish(guarded(open_console))
        # Skip the interpreter's teardown, which takes a tenth of a second and has nothing left to clean up.
        os._exit(status)
    from console.commands.app import app

    if is_pythons:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    sys.exit(streams.finish(guarded(app)))


def guarded(command: Callable[[], int]) -> int:
    """Run a command and return its exit status; report what went wrong in a line."""
    from console.text import streams
    from engine.base.errors import FULL, PRUNE_ADVICE, DepthscopeError

    try:
        return command()
    except SystemExit as leaving:
        # typer leaves every command this way.
        return leaving.code if isinstance(leaving.code, int) else 0
    except streams.ReaderGone:
        return 1
    except DepthscopeError as error:
        streams.report(str(error))
        return error.exit_code
    except PermissionError as error:
        # The home, or something in it, belongs to another user.
        streams.report(f"{error.filename}: {error.strerror} (does it belong to another user?)")
        return 1
    except FileNotFoundError as error:
        streams.report(
            f"{error.filename}: {error.strerror}" if error.filename else "the current directory is gone: cd to another"
        )
        return 1
    except OSError as error:
        advice = PRUNE_ADVICE if error.errno in FULL else None
        parts = (error.filename, error.strerror or error, advice)
        streams.report(": ".join(str(part) for part in parts if part is not None))
        return 1
    except UnicodeEncodeError as error:
        streams.report(f"{error.object!r} is not valid text: it cannot be encoded as {error.encoding}")
        return 2
    except MemoryError:
        streams.report("out of memory")
        return 1


def open_console() -> int:
    """Run the console until the user leaves and return the exit status.

    Raises:
        DepthscopeError: the home cannot be used.
    """
    # Collecting garbage among what is only being loaded would delay the first frame; the app enables it again.
    gc.disable()
    from console.app import ConsoleApp
    from console.text.output import narrate
    from console.tui.config import read_config
    from console.tui.terminal_guard import TerminalGuard
    from console.tui.view_state import save_view
    from engine.base.paths import find_home

    if sys.__stderr__ is None or not sys.__stderr__.isatty():
        # Textual draws on stderr, which shows nothing after `2>log` or `2>&-`.
        sys.__stderr__ = sys.__stdout__  # type: ignore[misc]
    home = find_home().create()
    config, problems = read_config(home)
    if config.keys:
        # It loads every screen, which the first frame otherwise does without.
        from console.keymap import read_checked

        config, problems = read_checked(home)
    # Guarded until the process ends, since the terminal may vanish at any time.
    app = ConsoleApp(home, config, guard=TerminalGuard(), problems=problems)
    app.run()
    # Saved however the console ended, so that the next digest starts from here.
    save_view(home, app.session.view)
    app.session.feed.close()
    if app.return_code == 0 and sys.stderr.isatty():
        narrate(f"depthscope: {app.exit_message()}")
    return app.return_code or 0


if __name__ == "__main__":
    main()
