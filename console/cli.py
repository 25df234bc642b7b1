"""Entry point of `depthscope`: the console on a terminal, the command line for everything else."""

from __future__ import annotations

# What is beneath `signal`, which is loaded for ten milliseconds: Ctrl-C in these would print a traceback.
import _signal  # type: ignore[import-not-found]
import os
import sys


def main() -> None:
    """Run what was asked for; an error that a user can act on is one line and an exit code, never a traceback."""
    # Ctrl-C while modules are loaded ends the process without a word; nothing has begun that could be left half done.
    is_pythons = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    if is_pythons:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from engine.base.errors import DepthscopeError

    try:
        if len(sys.argv) == 1 and sys.stdin.isatty() and sys.stdout.isatty():
            # Before typer is loaded, which the first frame does not need.
            status = open_console()
            # Nothing is left to be put in order, which would keep the user from the shell for a tenth of a second.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        from console.commands.app import app

        if is_pythons:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        app()
    except DepthscopeError as error:
        # Only where there is something to say; the first frame does not wait for it.
        from console.text.formatting import clean_lines

        print(f"depthscope: {clean_lines(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except PermissionError as error:
        # A home, or something in it, that is not ours to read or write.
        print(f"depthscope: {error.filename}: {error.strerror}: is it yours?", file=sys.stderr)
        sys.exit(1)


def open_console() -> int:
    """Run the console until the user leaves it; returns the exit status.

    Raises:
        DepthscopeError: the home or config.toml cannot be used; the text says why.
    """
    from console.app import ConsoleApp
    from console.text.output import narrate
    from console.tui.config import read_config
    from console.tui.terminal_guard import TerminalGuard
    from console.tui.view_state import save_view
    from engine.base.paths import find_home

    home = find_home().create()
    config = read_config(home)
    if config.keys:
        from console.keymap import check_keys

        check_keys(home, config)
    # From here to the end of the process, since the screen may be another at any instant between.
    app = ConsoleApp(home, config, guard=TerminalGuard())
    app.run()
    # However it was left: what is on screen has been seen.
    save_view(home, app.session.view)
    app.session.feed.close()
    if app.return_code == 0 and sys.stderr.isatty():
        narrate(f"depthscope: {app.parting_words()}")
    return app.return_code or 0


if __name__ == "__main__":
    main()
