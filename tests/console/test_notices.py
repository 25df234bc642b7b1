"""Notices: one line in place of the keys, never over the status line, the verdict or a chart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from console.app import ConsoleApp
from console.tui.notices import Notices
from engine.runs.run import RunOutcome
from tests.console.driving import press, settle, text_of, until
from tests.console.test_notify import end

SIZES = [(80, 24), (120, 36), (200, 50)]


async def lines_with_notice(pilot: Pilot[None], app: ConsoleApp, text: str) -> tuple[list[str], list[str]]:
    """Return the screen's lines before and after a notice appears."""
    await settle(pilot)
    before = text_of(app).splitlines()
    app.notify(text, severity="error")
    await settle(pilot)
    return before, text_of(app).splitlines()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "keys", [[], ["enter"], ["c"], ["n"], ["W"]], ids=["home", "run", "comparison", "form", "away"]
)
async def test_a_notice_changes_the_line_of_keys_alone(
    size: tuple[int, int], keys: list[str], make_app: Callable[..., ConsoleApp]
):
    """Everything else on the screen stays where it was."""
    app = make_app()
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        await press(pilot, *keys)
        before, after = await lines_with_notice(pilot, app, "the engine does not respond")

        differing = [row for row, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
        assert differing == [size[1] - 1]
        assert "! the engine does not respond" in after[-1]
        assert "? help" in after[-1]


async def test_a_notice_ends_and_the_keys_return(make_app: Callable[..., ConsoleApp], monkeypatch: pytest.MonkeyPatch):
    """Without a key; nothing is left of it."""
    monkeypatch.setattr("console.tui.notices.SECONDS_SHOWN", 0.05)
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        before, _ = await lines_with_notice(pilot, app, "the engine does not respond")
        await until(pilot, lambda: text_of(app).splitlines() == before)


async def test_a_long_notice_is_cut_and_shown_in_full_on_request(make_app: Callable[..., ConsoleApp]):
    """By key and by click; a line too long for the screen says how to read the rest."""
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        path = "/home/someone/" + "a-long-directory/" * 8 + "chart.svg"
        _, after = await lines_with_notice(pilot, app, f"cannot write {path}")
        assert after[-1].endswith("(! shows all)")
        for show in (lambda: press(pilot, "!"), lambda: pilot.click("KeyBar", offset=(10, 0))):
            await show()
            await settle(pilot)
            assert path in "".join(line.strip(" │") for line in text_of(app).splitlines())
            await press(pilot, "escape")


async def test_runs_that_finish_in_turn_share_one_line(make_app: Callable[..., ConsoleApp]):
    """While the line lasts, a run that finishes is added to it; failures come first."""
    app = make_app()
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        end(app, 7, RunOutcome.SUCCEEDED)
        await until(pilot, lambda: text_of(app).splitlines()[-1].startswith(" resnet110-s0 succeeded"))
        end(app, 9, RunOutcome.FAILED)
        await until(pilot, lambda: "2 runs finished" in text_of(app))
        names = [app.session.feed.runs[f"{number:010x}"].name for number in (9, 7)]

        assert text_of(app).splitlines()[-1].startswith(f" ! 2 runs finished, 1 failed: {', '.join(names)}")
        assert len(app.session.notices.active()) == 1


def test_a_severe_notice_is_not_replaced_by_a_lesser_one():
    """The other is counted, and both can be read."""
    notices = Notices()
    error = notices.add("cannot write", "error")
    notices.add("1 run finished")

    assert notices.shown() == (error, 1)
    newest = notices.add("refused", "error")
    assert notices.shown() == (newest, 2)
    assert [one.text for one in notices] == ["cannot write", "1 run finished", "refused"]


def test_the_same_notice_twice_is_kept_once():
    """It only lasts longer."""
    notices = Notices()
    notices.add("already succeeded", "warning", seconds=10.0)
    again = notices.add("already succeeded", "warning", seconds=20.0)

    assert list(notices) == [again]
