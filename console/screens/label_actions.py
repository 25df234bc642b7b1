"""Actions that label runs: star, tags, note, names."""

from __future__ import annotations

from collections.abc import Sequence

from console.screens.run_actions import Chosen, RunAction, counted_runs
from console.text.formatting import clean
from console.text.listing import parse_tags
from engine.base.errors import UsageError
from engine.control.protocol import Relabel, RenameExperiment
from engine.runs.run import Run
from engine.spec.labels import check_run_name


def star(chosen: Chosen) -> None:
    """Star runs, or unstar them if all are starred."""
    if ids := chosen.ids:
        starred = not all(run.starred for run in chosen.runs)
        done = f"{'Starred' if starred else 'Unstarred'} {counted_runs(ids)}"
        chosen.request(Relabel(runs=ids, starred=starred), done)


def tag(chosen: Chosen) -> None:
    """Ask for tags to add (+tag or tag) and remove (-tag)."""
    if chosen.runs:
        ask_for_tags(chosen, chosen.runs, words_of(chosen.runs))


def tag_experiment(chosen: Chosen) -> None:
    """Ask for tags to add to, and remove from, all runs of the experiment of the run under the cursor."""
    if chosen.current is not None:
        experiment = chosen.current.experiment
        runs = [run for run in chosen.session.feed.runs.values() if run.experiment == experiment]
        ask_for_tags(chosen, runs, f"{experiment} ({counted_runs([run.id for run in runs])})")


def ask_for_tags(chosen: Chosen, runs: Sequence[Run], whose: str) -> None:
    """Ask for tags to add to some runs and remove from them."""
    ids = tuple(run.id for run in runs)

    def set_tags(answer: str) -> None:
        words = [word if word[0] in "+-" else f"+{word}" for word in answer.replace(",", " ").split()]
        if not words:
            return
        try:
            add, remove = parse_tags(words)
        except UsageError as error:
            refuse(chosen, error)
            return
        chosen.request(Relabel(runs=ids, add_tags=add, remove_tags=remove), f"Tagged {counted_runs(ids)}")

    had = " ".join(f"+{tag}" for tag in dict.fromkeys(tag for run in runs for tag in run.tags))
    question = f"Tags of {whose}{f' ({had})' if had else ''}, +add -remove:"
    chosen.question.ask(question, set_tags, hint="separated by spaces or commas")


def refuse(chosen: Chosen, error: UsageError) -> None:
    """Notify the user that an answer is invalid."""
    chosen.session.app.notify(clean(str(error)), title="refused", severity="error", markup=False)


def note(chosen: Chosen) -> None:
    """Ask for a note on runs; an empty one deletes it."""
    if not chosen.runs:
        return

    def set_note(answer: str) -> None:
        done = f"Note saved on {counted_runs(chosen.ids)}" if answer.strip() else "Note deleted"
        chosen.request(Relabel(runs=chosen.ids, note=clean(answer)), done)

    value = chosen.runs[0].notes if len(chosen.runs) == 1 else ""
    chosen.question.ask(f"Note on {words_of(chosen.runs)}:", set_note, value=value)


def rename(chosen: Chosen) -> None:
    """Ask for a new name for the run under the cursor."""
    if (run := chosen.current) is None:
        return

    def set_name(answer: str) -> None:
        name = answer.strip()
        if name in ("", run.name):
            return
        try:
            check_run_name(name)
        except UsageError as error:
            refuse(chosen, error)
            return
        chosen.request(Relabel(runs=(run.id,), name=name), f"Renamed {clean(run.name)} to {clean(name)}")

    chosen.question.ask(f"New name of {run.name}:", set_name, value=run.name)


def rename_experiment(chosen: Chosen) -> None:
    """Ask for a new name for the experiment of the run under the cursor."""
    if chosen.current is None:
        return
    old = chosen.current.experiment

    def set_name(name: str) -> None:
        if name.strip() not in ("", old):
            request = RenameExperiment(experiment=old, name=name.strip())
            chosen.request(request, f"Renamed experiment {clean(old)} to {clean(name)}")

    chosen.question.ask(f"New name of experiment {old}:", set_name, value=old)


def words_of(runs: Sequence[Run]) -> str:
    """Describe runs: one by its name, several by their number."""
    return runs[0].name if len(runs) == 1 else f"{len(runs)} runs"


LABEL_ACTIONS = (
    RunAction("label.star", "asterisk", star, "star or unstar", key_display="*"),
    RunAction("label.tag", "t", tag, "tags", asks=True),
    RunAction("label.tag-experiment", "L", tag_experiment, "tags of the experiment", asks=True),
    RunAction("label.note", "i", note, "note", asks=True),
    RunAction("label.rename", "R", rename, "rename", asks=True),
    RunAction("label.rename-experiment", "G", rename_experiment, "rename the experiment", asks=True),
)
