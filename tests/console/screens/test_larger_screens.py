"""Text snapshots of every screen on larger terminals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from console.app import ConsoleApp
from tests.console.driving import keys
from tests.console.screens.test_screens import DEGRADATION, STATES
from tests.samples import fill_depths

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("size", [(120, 36), (200, 50)], ids=lambda size: f"{size[0]}x{size[1]}"),
]


@pytest.mark.parametrize("state", STATES)
async def test_screen(
    state: str, size: tuple[int, int], make_app: Callable[..., ConsoleApp], text_compare: Callable[..., Awaitable[bool]]
):
    """The states of test_screens, with more space."""
    assert await text_compare(make_app(), terminal_size=size, run_before=keys(*STATES[state]))


@pytest.mark.parametrize("name", DEGRADATION)
async def test_degradation(
    name: str, size: tuple[int, int], make_app: Callable[..., ConsoleApp], text_compare: Callable[..., Awaitable[bool]]
):
    """Bars and tables that are cut on the smallest terminal."""
    assert await text_compare(make_app(fill=fill_depths), terminal_size=size, run_before=keys("c", DEGRADATION[name]))


async def test_nothing_yet(
    size: tuple[int, int], make_app: Callable[..., ConsoleApp], text_compare: Callable[..., Awaitable[bool]]
):
    """The middle of the screen says what to do."""
    assert await text_compare(make_app(fill=None), terminal_size=size, run_before=keys())
