"""Entry point of `depthscope`: the console on a terminal, the command line for everything else."""

from __future__ import annotations

import sys

from engine.errors import DepthscopeError


def main() -> None:
    """Run what was asked for; an error that a user can act on is one line and an exit code, never a traceback."""
    try:
        if len(sys.argv) == 1 and sys.stdin.isatty() and sys.stdout.isatty():
            # Before typer is loaded, which the first frame does not need.
            from console.opening import open_console

            sys.exit(open_console())
        from console.command_line import app

        app()
    except DepthscopeError as error:
        print(f"depthscope: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
