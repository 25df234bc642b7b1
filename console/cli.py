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
            from console.opening import open_console

            status = open_console()
            # Nothing is left to be put in order, which would keep the user from the shell for a tenth of a second.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        from console.command_line import app

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


if __name__ == "__main__":
    main()
