"""What can be said about runs from any screen that has runs: star, tags, note, names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import Binding
from textual.widgets import Input

from console.screens.run_actions import count_words
from console.text.formatting import clean
from console.text.listing import parse_tags
from console.widgets.question import Question
from engine.base.errors import UsageError
from engine.control.protocol import Relabel, RenameExperiment
from engine.runs.run import Run

if TYPE_CHECKING:
    from console.app import ConsoleApp
    from console.screens.base import ConsoleScreen

ASKING = frozenset({"tag", "note", "rename", "rename_experiment", "remove"})
"""Actions whose keys are letters where text is typed."""


class LabelActions:
    """Keys for star, tags, note and names; those that ask for words do so in the screen's Question."""

    LABEL_BINDINGS: ClassVar[list[Binding]] = [
        Binding("asterisk", "star", "star or unstar", key_display="*", show=False, id="label.star"),
        # Before all others, so that letters typed right behind them reach the field.
        Binding("t", "tag", "tags", show=False, priority=True, id="label.tag"),
        Binding("i", "note", "note", show=False, priority=True, id="label.note"),
        Binding("R", "rename", "rename", show=False, priority=True, id="label.rename"),
        Binding(
            "G", "rename_experiment", "rename the experiment", show=False, priority=True, id="label.rename-experiment"
        ),
    ]

    def chosen_runs(self) -> list[Run]:
        """The runs that an action is for."""
        raise NotImplementedError

    def current_runs(self) -> list[Run]:
        """The one run that a single action is for, if there is one."""
        raise NotImplementedError

    def is_letter(self, action: str) -> bool:
        """Whether the key of an action is only a letter now, since a field has the focus."""
        return action in ASKING and isinstance(_screen(self).focused, Input)

    def action_star(self) -> None:
        """Star runs; take the stars away where all of them have one."""
        runs = self.chosen_runs()
        if not runs:
            return
        starred = not all(run.starred for run in runs)
        ids = tuple(run.id for run in runs)
        _app(self).request(Relabel(runs=ids, starred=starred), f"{count_words(ids)} {'' if starred else 'not '}starred")

    def action_tag(self) -> None:
        """Add tags to runs and take some away."""
        if runs := self.chosen_runs():
            had = " ".join(f"+{tag}" for tag in dict.fromkeys(tag for run in runs for tag in run.tags))
            question = f"tags of {words_of(runs)}{f' ({had})' if had else ''}, +add -remove:"
            self.ask(question, self.set_tags, hint="separated by spaces or commas")

    def set_tags(self, answer: str) -> None:
        """Change tags as was typed; a word without a sign is added."""
        ids = tuple(run.id for run in self.chosen_runs())
        words = [word if word[0] in "+-" else f"+{word}" for word in answer.replace(",", " ").split()]
        if not words or not ids:
            return
        try:
            add, remove = parse_tags(words)
        except UsageError as error:
            _app(self).notify(clean(str(error)), title="refused", severity="error", markup=False)
            return
        _app(self).request(Relabel(runs=ids, add_tags=add, remove_tags=remove), f"{count_words(ids)} tagged")

    def action_note(self) -> None:
        """Write a line about runs."""
        if runs := self.chosen_runs():
            self.ask(f"note on {words_of(runs)}:", self.set_note, value=runs[0].notes if len(runs) == 1 else "")

    def set_note(self, answer: str) -> None:
        """Keep the line; an empty one takes the note away."""
        if ids := tuple(run.id for run in self.chosen_runs()):
            done = f"{count_words(ids)} noted" if answer.strip() else "note taken away"
            _app(self).request(Relabel(runs=ids, note=clean(answer)), done)

    def action_rename(self) -> None:
        """Give the run another name."""
        for run in self.current_runs():
            self.ask(f"another name for {run.name}:", partial(self.set_name, run), value=run.name)

    def set_name(self, run: Run, name: str) -> None:
        """Rename a run."""
        if name.strip() not in ("", run.name):
            _app(self).request(Relabel(runs=(run.id,), name=name.strip()), f"{clean(run.name)} is {clean(name)} now")

    def action_rename_experiment(self) -> None:
        """Give the run's experiment another name."""
        for run in self.current_runs():
            old = run.experiment
            self.ask(f"another name for the experiment {old}:", partial(self.set_experiment_name, old), value=old)

    def set_experiment_name(self, old: str, name: str) -> None:
        """Rename an experiment."""
        if name.strip() not in ("", old):
            request = RenameExperiment(experiment=old, name=name.strip())
            _app(self).request(request, f"{clean(old)} is {clean(name)} now")

    def ask(self, question: str, hand_on: Callable[[str], None], *, value: str = "", hint: str = "") -> None:
        """Ask in the screen's own line."""
        _screen(self).query_one(Question).ask(question, hand_on, value=value, hint=hint)


def words_of(runs: list[Run]) -> str:
    """A run by its name, several by their number."""
    return runs[0].name if len(runs) == 1 else count_words([run.id for run in runs])


def _screen(screen: LabelActions) -> ConsoleScreen:
    return cast("ConsoleScreen", screen)


def _app(screen: LabelActions) -> ConsoleApp:
    return _screen(screen).console_app
