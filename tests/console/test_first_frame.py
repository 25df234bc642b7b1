"""What is put off for the console's first frame."""

from __future__ import annotations

import gc
from collections.abc import Callable

from console.app import ConsoleApp
from tests.console.driving import settle


async def test_garbage_is_collected_again_after_the_first_frame(make_app: Callable[..., ConsoleApp]):
    """The command line turns it off while modules load."""
    gc.disable()
    try:
        async with make_app().run_test() as pilot:
            await settle(pilot)

            assert gc.isenabled()
    finally:
        gc.enable()
