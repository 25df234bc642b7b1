"""`depthscope digest`: what happened since a moment."""

from __future__ import annotations

from typing import Annotated

import typer

from console.commands.options import JsonOption


def digest(
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="12h, 3d, 08:00, 2026-11-24 or '2026-11-24 08:00'; left out, when the console was last open.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What ended and how, what stood idle, what is left; the console tells the same when it is opened."""
    import time
    from datetime import datetime

    from console.comparison import digest
    from console.text.output import print_json
    from console.text.times import parse_since
    from console.tui.config import read_config
    from console.tui.view_state import load_view
    from engine import client
    from engine.base.paths import find_home

    home = find_home()
    if since is not None:
        begin = parse_since(since, datetime.now().astimezone()).timestamp()
    else:
        looked_at = load_view(home, read_config(home)).looked_at
        begin = time.time() - 3600 * digest.HOURS_WITHOUT_A_LOOK if looked_at is None else looked_at
    # Whatever ended while no engine was there to see it is seen first.
    client.read_fresh(home).close()
    found = digest.read_away(home, since=begin)
    if as_json:
        print_json(digest.away_document(found))
    else:
        typer.echo("\n".join(digest.away_lines(found)))
