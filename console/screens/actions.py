"""What can be asked of runs from any screen that has runs: one key each, and nothing of it loses anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import Binding

from console.formatting import clean
from engine.protocol import Pause, Remove, Restore, Resume, Retry, Stop
from engine.run import Run, RunStatus

if TYPE_CHECKING:
    from console.app import ConsoleApp


class RunActions:
    """Keys for stop, pause, resume, remove, restore and clone."""

    RUN_BINDINGS: ClassVar[list[Binding]] = [
        Binding("p", "pause", "pause", id="run.pause"),
        Binding("s", "stop", "stop", id="run.stop"),
        Binding("r", "resume", "resume", id="run.resume"),
        Binding("d", "remove", "remove", show=False, id="run.remove"),
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
        """Hide runs that are not being trained; nothing is deleted from disk."""
        ids = tuple(run.id for run in self.chosen_runs() if run.status is not RunStatus.RUNNING)
        if ids:
            _app(self).removed.append(ids)
            _app(self).request(Remove(runs=ids), f"removed {count_words(ids)}: u brings back, nothing is deleted")
        else:
            self.tell_nothing("remove")

    def action_restore(self) -> None:
        """Bring back what was removed last from this console."""
        removed = _app(self).removed
        if removed:
            ids = removed.pop()
            _app(self).request(Restore(runs=ids), f"{count_words(ids)} back")
        else:
            _app(self).notify("nothing was removed here: `depthscope ls --all` shows all that ever was", markup=False)

    def action_clone(self) -> None:
        """Open the form of a new experiment with everything as this run has it."""
        for run in self.current_runs():
            _app(self).open_new(run.spec)


def _app(screen: RunActions) -> ConsoleApp:
    return cast("ConsoleApp", screen.app)  # type: ignore[attr-defined]


def ids_of(runs: Sequence[Run], statuses: Sequence[RunStatus]) -> tuple[str, ...]:
    """Ids of the runs that stand in one of these."""
    return tuple(run.id for run in runs if run.status in statuses)


def count_words(ids: Sequence[str]) -> str:
    return "1 run" if len(ids) == 1 else f"{len(ids)} runs"
