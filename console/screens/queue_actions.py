"""What can be asked of the queue: which run goes first, which waits until it is released, and whether any start."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import Binding

from console.screens.run_actions import count_words, ids_of
from engine.control.protocol import Hold, Move, Release, SetQueue
from engine.control.queue_state import QueueState
from engine.runs.run import Run, RunStatus

if TYPE_CHECKING:
    from console.app import ConsoleApp


class QueueActions:
    """Keys for the order of the queue, and to hold and release runs or the whole of it."""

    QUEUE_BINDINGS: ClassVar[list[Binding]] = [
        Binding("f", "run_first", "run first", show=False, id="queue.first"),
        Binding("h", "hold", "hold or release", show=False, id="queue.hold"),
        Binding("H", "hold_queue", "hold or release the queue", show=False, id="queue.hold-all"),
        Binding("D", "drain_queue", "drain the queue, or release it", show=False, id="queue.drain"),
    ]

    def chosen_runs(self) -> list[Run]:
        """The runs that an action is for."""
        raise NotImplementedError

    def tell_nothing(self, verb: str) -> None:
        """Say that no run stands where the action makes sense."""
        raise NotImplementedError

    def action_run_first(self) -> None:
        """Give queued runs the first places, in the order in which they are listed."""
        if ids := ids_of(self.chosen_runs(), (RunStatus.QUEUED,)):
            _app(self).request(Move(runs=ids), f"{count_words(ids)} first in the queue")
        else:
            self.tell_nothing("run first")

    def action_hold(self) -> None:
        """Keep queued runs from being started; release them where all of them are held."""
        queued = [run for run in self.chosen_runs() if run.status is RunStatus.QUEUED]
        free = tuple(run.id for run in queued if not run.held)
        ids = tuple(run.id for run in queued)
        if free:
            _app(self).request(Hold(runs=free), f"{count_words(free)} held: h releases, the place is kept")
        elif ids:
            _app(self).request(Release(runs=ids), f"{count_words(ids)} released")
        else:
            self.tell_nothing("hold")

    def action_hold_queue(self) -> None:
        """Start nothing more, or go on."""
        self.switch_queue(QueueState.HELD, "queue held: what runs goes on, H releases it")

    def action_drain_queue(self) -> None:
        """Finish what runs and start nothing else, or go on."""
        self.switch_queue(QueueState.DRAINING, "queue drains: what runs is finished, D releases it")

    def switch_queue(self, state: QueueState, done: str) -> None:
        """Bring the queue into a state, or open it where it is in that state."""
        app = _app(self)
        if app.queue_state is state:
            app.request(SetQueue(state=QueueState.OPEN), "queue released: runs are started in order")
        else:
            app.request(SetQueue(state=state), done)


def _app(screen: QueueActions) -> ConsoleApp:
    return cast("ConsoleApp", screen.app)  # type: ignore[attr-defined]
