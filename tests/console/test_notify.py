"""Runs that finish while the console is open: notified on screen and by the terminal, per config.toml."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import console.notify
from console.app import ConsoleApp
from console.tui.config import Config, Ring
from engine.index.writer import Store
from engine.runs.run import RunOutcome, RunStatus
from tests.console.driving import notifications, settle, until


def end(app: ConsoleApp, number: int, outcome: RunOutcome) -> None:
    """Finish a run of the sample, as the engine does."""
    store = Store(app.session.home.database)
    with store.transaction():
        store.set_status(f"{number:010x}", RunStatus.FINISHED, outcome=outcome, finished_at=0.0)
    store.close()


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (Ring.OFF, []),
        (Ring.BELL, ["bell"]),
        (Ring.OSC9, ["\x1b]9;depthscope: resnet110-s0 succeeded, test error 10.95 %\x07"]),
        (Ring.BOTH, ["bell", "\x1b]9;depthscope: resnet110-s0 succeeded, test error 10.95 %\x07"]),
    ],
)
async def test_the_end_of_a_run_rings_once(
    way: Ring, expected: list[str], make_app: Callable[..., ConsoleApp], monkeypatch: pytest.MonkeyPatch
):
    """Not for runs that had finished before, nor for one stopped by the user."""
    rung: list[str] = []
    monkeypatch.setattr(ConsoleApp, "bell", lambda _self: rung.append("bell"))
    monkeypatch.setattr(console.notify, "write_to_terminal", lambda _app, sequence: rung.append(sequence))
    app = make_app(config=Config(notify=way))
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        end(app, 9, RunOutcome.CANCELLED)
        await until(pilot, lambda: app.session.feed.runs[f"{9:010x}"].is_finished)
        assert not rung

        end(app, 7, RunOutcome.SUCCEEDED)
        await until(pilot, lambda: notifications(app))
        assert notifications(app) == "resnet110-s0 succeeded, test error 10.95 %"
        assert rung == expected
