"""Actions on runs, shared by all screens that show runs; none loses data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from textual.binding import Binding

from console.text.formatting import clean
from console.tui.session import Session
from console.widgets.question import Question
from engine.control.protocol import ChangeRequest, Pause, Remove, Restore, Resume, Retry, Stop
from engine.runs.run import Run, RunOutcome, RunStatus

VERBS = {
    RunStatus.QUEUED: "is queued",
    RunStatus.RUNNING: "is running",
    RunStatus.PAUSED: "is paused",
    RunStatus.FINISHED: "is finished",
    RunOutcome.SUCCEEDED: "has succeeded",
    RunOutcome.DIVERGED: "has diverged",
    RunOutcome.FAILED: "has failed",
    RunOutcome.CANCELLED: "was cancelled",
    RunOutcome.LOST: "is lost",
    RunOutcome.STOPPED_EARLY: "was stopped early",
}
"""What a run does or did, after its name."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Context of an action when its key is pressed.

    Args:
        session: Sends requests to the engine and shows their outcome.
        runs: Marked runs, or the one under the cursor.
        current: Run under the cursor; None if there is none.
        question: Prompt for text input.
    """

    session: Session
    runs: Sequence[Run]
    current: Run | None
    question: Question

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(run.id for run in self.runs)

    def request(self, request: ChangeRequest | Sequence[ChangeRequest], done: str) -> None:
        """Send one or more changes to the engine in turn, and show the outcome."""
        self.session.engine.request(request, done)

    def ids_in(self, *statuses: RunStatus) -> tuple[str, ...]:
        """Return the ids of the runs with one of these statuses."""
        return tuple(run.id for run in self.runs if run.status in statuses)

    def notify_nothing_to_do(self, verb: str) -> None:
        """Notify the user that the action applies to none of the runs."""
        text = f"Nothing to {verb}"
        if len(self.runs) == 1:
            text += f": {self.runs[0].name} {VERBS[self.runs[0].outcome or self.runs[0].status]}"
        elif self.runs:
            text += f" among {len(self.runs)} marked runs"
        self.session.app.notify(clean(text), severity="warning", markup=False)


@dataclass(frozen=True, slots=True)
class RunAction:
    """A key bound to an action on runs.

    Args:
        id: Id for rebinding the key in config.toml.
        key: Textual's name for the key.
        act: Performs the action.
        description: For the key bar, the help and the command palette.
        show: Whether to list it in the key bar.
        asks: Whether it prompts. Its binding then has priority, so that an answer typed ahead reaches the prompt,
            and is off while an input has the focus.
        key_display: Label of the key; None uses its name.
    """

    id: str
    key: str
    act: Callable[[Chosen], None]
    description: str
    show: bool = False
    asks: bool = False
    key_display: str | None = None

    @property
    def binding(self) -> Binding:
        act = f"act('{self.id}')"
        return Binding(self.key, act, self.description, self.show, self.key_display, self.asks, id=self.id)


def pause(chosen: Chosen) -> None:
    """Pause runs, saving a checkpoint."""
    if ids := chosen.ids_in(RunStatus.QUEUED, RunStatus.RUNNING):
        chosen.request(Pause(runs=ids), f"Pausing {counted_runs(ids)}; r resumes")
    else:
        chosen.notify_nothing_to_do("pause")


def stop(chosen: Chosen) -> None:
    """Stop runs, saving a checkpoint."""
    if ids := chosen.ids_in(RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED):
        chosen.request(Stop(runs=ids), f"Stopping {counted_runs(ids)}; r resumes")
    else:
        chosen.notify_nothing_to_do("stop")


def resume(chosen: Chosen) -> None:
    """Resume paused runs and retry unsuccessful ones, from their checkpoints."""
    paused = chosen.ids_in(RunStatus.PAUSED)
    ended = tuple(run.id for run in chosen.runs if run.is_finished and not run.succeeded)
    if paused:
        chosen.request(Resume(runs=paused), f"Queued {counted_runs(paused)}")
    if ended:
        chosen.request(Retry(runs=ended), f"Queued {counted_runs(ended)}")
    if not paused and not ended:
        chosen.notify_nothing_to_do("resume")


def remove(chosen: Chosen) -> None:
    """Hide runs that are not training; confirm first if that cancels any."""
    runs = tuple(run for run in chosen.runs if run.status is not RunStatus.RUNNING)
    unfinished = [run for run in runs if not run.is_finished]

    def hide() -> None:
        ids = tuple(run.id for run in runs)
        chosen.session.removed.append(ids)
        cancelled = f" ({len(unfinished)} cancelled)" if unfinished else ""
        chosen.request(Remove(runs=ids), f"Hid {counted_runs(ids)}{cancelled}; u undoes this")

    def hide_if_yes(answer: str) -> None:
        if answer.strip().lower() in ("y", "yes"):
            hide()

    if not runs:
        chosen.notify_nothing_to_do("hide")
    elif unfinished:
        first = unfinished[0]
        words = (
            f"{first.status} run {first.name}" if len(unfinished) == 1 else f"{len(unfinished)} queued or paused runs"
        )
        chosen.question.ask(f"Cancel and hide {words}? y/n", hide_if_yes, hint="n")
    else:
        hide()


def restore(chosen: Chosen) -> None:
    """Undo the last removal of this session; the engine also undoes what hiding cancelled."""
    session = chosen.session
    if not session.removed:
        session.app.notify("Nothing to restore. `depthscope ls --all` also lists hidden runs", markup=False)
        return
    ids = session.removed.pop()
    chosen.request(Restore(runs=ids), f"Restored {counted_runs(ids)}")


def clone(chosen: Chosen) -> None:
    """Open the form of a new experiment, filled from the run under the cursor."""
    from console.screens.new_experiment import NewExperimentScreen

    if chosen.current is not None:
        chosen.session.app.push_screen(NewExperimentScreen(chosen.session, chosen.current.spec))


RUN_ACTIONS = (
    RunAction("run.pause", "p", pause, "pause", show=True),
    RunAction("run.stop", "s", stop, "stop", show=True),
    RunAction("run.resume", "r", resume, "resume", show=True),
    RunAction("run.remove", "d", remove, "hide", asks=True),
    RunAction("run.restore", "u", restore, "undo hide"),
    RunAction("run.clone", "a", clone, "copy into a new experiment"),
)


def counted_runs(ids: Sequence[str]) -> str:
    return "1 run" if len(ids) == 1 else f"{len(ids)} runs"
