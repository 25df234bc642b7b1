"""`depthscope` without a command: the console on a terminal."""

from __future__ import annotations

import sys

from console.text.output import narrate
from console.tui.config import read_config
from engine.base.paths import find_home


def open_console() -> int:
    """Run the console until the user leaves it; returns the exit status.

    Raises:
        DepthscopeError: the home or config.toml cannot be used; the text says why.
    """
    from console.app import ConsoleApp
    from console.tui.terminal_guard import TerminalGuard
    from console.tui.view_state import save_view

    home = find_home().create()
    config = read_config(home)
    if config.keys:
        from console.keymap import check_keys

        check_keys(home, config)
    # From here to the end of the process, since the screen may be another at any instant between.
    app = ConsoleApp(home, config, guard=TerminalGuard())
    app.run()
    # However it was left: what is on screen has been seen.
    save_view(home, app.view)
    app.feed.close()
    if app.return_code == 0 and sys.stderr.isatty():
        narrate(f"depthscope: {app.parting_words()}")
    return app.return_code or 0
