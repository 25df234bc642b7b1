"""What can be asked of runs from any screen that has runs: one key each, and nothing of it loses anything."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import Binding

from console.text.formatting import clean
from console.widgets.question import Question
from engine.control.protocol import Hold, Pause, Remove, Restore, Resume, Retry, Stop
from engine.runs.run import Run, RunStatus

if TYPE_CHECKING:
    from console.app import ConsoleApp
    from console.screens.base import ConsoleScreen
    from engine.control.protocol import ChangeRequest


class RunActions:
    """Keys for stop, pause, resume, remove, restore and clone."""

    RUN_BINDINGS: ClassVar[list[Binding]] = [
        Binding("p", "pause", "pause", id="run.pause"),
        Binding("s", "stop", "stop", id="run.stop"),
        Binding("r", "resume", "resume", id="run.resume"),
        # Before all others, so that an answer typed right behind it reaches the question.
        Binding("d", "remove", "remove", show=False, priority=True, id="run.remove"),
        Binding("u", "restore", "undo remove", show=False, id="run.restore"),
        Binding("a", "clone", "again, changed", show=False, id="run.clone"),
    ]

    def chosen_runs(self) -> list[Run]:
        """The runs that an action is for."""
        raise NotImplementedError

    def current_runs(self) -> list[Run]:
        """The one run that a single action is for, if there is one."""
        raise NotImplementedError

    def tell_nothing(self, verb: str) -> None:
        """Say that no run stands where the action makes sense."""
        runs = self.chosen_runs()
        text = f"nothing to {verb}"
        if len(runs) == 1:
            text += f": {runs[0].name} is {runs[0].outcome or runs[0].status}"
        elif runs:
            text += f" among {len(runs)} runs"
        _app(self).notify(clean(text), severity="warning", markup=False)

    def action_pause(self) -> None:
        """Let runs rest, with a checkpoint, until they are resumed."""
        ids = ids_of(self.chosen_runs(), (RunStatus.QUEUED, RunStatus.RUNNING))
        if ids:
            _app(self).request(Pause(runs=ids), f"pausing {count_words(ids)}: r goes on from the checkpoint")
        else:
            self.tell_nothing("pause")

    def action_stop(self) -> None:
        """End runs, with a checkpoint."""
        ids = ids_of(self.chosen_runs(), (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED))
        if ids:
            _app(self).request(Stop(runs=ids), f"stopping {count_words(ids)}: r goes on from the checkpoint")
        else:
            self.tell_nothing("stop")

    def action_resume(self) -> None:
        """Go on with paused runs, and try again those that did not succeed, from their checkpoints."""
        runs = self.chosen_runs()
        paused = ids_of(runs, (RunStatus.PAUSED,))
        ended = tuple(run.id for run in runs if run.is_finished and not run.succeeded)
        if paused:
            _app(self).request(Resume(runs=paused), f"{count_words(paused)} back in the queue")
        if ended:
            _app(self).request(Retry(runs=ended), f"{count_words(ended)} back in the queue")
        if not paused and not ended:
            self.tell_nothing("resume")

    def action_remove(self) -> None:
        """Hide runs that are not being trained; asks first where that cancels one."""
        runs = tuple(run for run in self.chosen_runs() if run.status is not RunStatus.RUNNING)
        unfinished = [run for run in runs if not run.is_finished]
        if not runs:
            self.tell_nothing("remove")
        elif unfinished:
            question = f"Cancel and hide {unfinished_runs(unfinished)}? y/n"
            _screen(self).query_one(Question).ask(question, partial(self.hide_if_yes, runs), hint="n")
        else:
            self.hide(runs)

    def hide_if_yes(self, runs: tuple[Run, ...], answer: str) -> None:
        """Hide runs if the answer to "Cancel and hide?" is yes."""
        if answer.strip().lower() in ("y", "yes"):
            self.hide(runs)

    def hide(self, runs: tuple[Run, ...]) -> None:
        """Hide runs and remember how they were, for undo; those that are not finished are cancelled."""
        ids = tuple(run.id for run in runs)
        _app(self).removed.append(runs)
        num_cancelled = sum(not run.is_finished for run in runs)
        cancelled = f" ({num_cancelled} cancelled)" if num_cancelled else ""
        _app(self).request(Remove(runs=ids), f"Hid {count_words(ids)}{cancelled}; u undoes this")

    def action_restore(self) -> None:
        """Undo the last hiding in this console: runs are shown, queued, held and paused as they were."""
        if not _app(self).removed:
            _app(self).notify("Nothing to restore. `depthscope ls --all` also lists hidden runs", markup=False)
            return
        runs = _app(self).removed.pop()
        ids = tuple(run.id for run in runs)
        requests: list[ChangeRequest] = [Restore(runs=ids)]
        if cancelled := tuple(run.id for run in runs if not run.is_finished):
            requests.append(Resume(runs=cancelled))
        if paused := ids_of(runs, (RunStatus.PAUSED,)):
            requests.append(Pause(runs=paused))
        if held := tuple(run.id for run in runs if run.held and run.status is RunStatus.QUEUED):
            requests.append(Hold(runs=held))
        _app(self).request(requests, f"Restored {count_words(ids)}")

    def action_clone(self) -> None:
        """Open the form of a new experiment with everything as this run has it."""
        for run in self.current_runs():
            _app(self).open_new(run.spec)


def unfinished_runs(runs: Sequence[Run]) -> str:
    """Runs that hiding would cancel: one by status and name, several by their number."""
    return f"{runs[0].status} run {runs[0].name}" if len(runs) == 1 else f"{len(runs)} queued or paused runs"


def _screen(screen: RunActions) -> ConsoleScreen:
    return cast("ConsoleScreen", screen)


def _app(screen: RunActions) -> ConsoleApp:
    return _screen(screen).console_app


def ids_of(runs: Sequence[Run], statuses: Sequence[RunStatus]) -> tuple[str, ...]:
    """Ids of the runs that stand in one of these."""
    return tuple(run.id for run in runs if run.status in statuses)


def count_words(ids: Sequence[str]) -> str:
    return "1 run" if len(ids) == 1 else f"{len(ids)} runs"
