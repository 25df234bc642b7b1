"""One-line prompt for text, hidden when not in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input, Static

from console.text.formatting import clean, cut
from console.widgets.fields import Field

QUESTION_SHARE = 0.6
"""Largest share of the width for the question; the answer gets the rest."""


class Answer(Field):
    """Input of a prompt; escape cancels it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave", show=False)]

    def action_leave(self) -> None:
        """Cancel the question."""
        assert isinstance(self.parent, Question), "an answer stands in a question"
        self.parent.close()


class Question(Horizontal):
    """A question on the left, and an input for the answer on the right."""

    def __init__(self) -> None:
        super().__init__()
        self.display = False
        self._on_answer: Callable[[str], None] | None = None
        self._focused_before: Widget | None = None

    def compose(self) -> ComposeResult:
        yield Static("", markup=False, classes="question")
        # Selecting happens after focusing, and text typed in between would be overwritten.
        yield Answer(compact=True, select_on_focus=False)

    def ask(self, question: str, on_answer: Callable[[str], None], *, value: str = "", hint: str = "") -> None:
        """Ask a question, replacing any current one.

        Args:
            question: Text of the question.
            on_answer: Called with the answer; not called if the user cancels.
            value: Initial text of the input.
            hint: Placeholder of the empty input.
        """
        field = self.query_one(Answer)
        if not self.display:
            self._focused_before = self.screen.focused
        self._on_answer, self.display = on_answer, True
        self.query_one(".question", Static).update(cut(clean(question), int(self.screen.size.width * QUESTION_SHARE)))
        field.value, field.placeholder = value, hint
        field.cursor_position = len(value)
        # `focus` would act one turn of the message loop later, and letters typed ahead would act as commands.
        self.screen.set_focus(field)

    def close(self) -> None:
        """Hide the prompt and restore the focus."""
        self._on_answer, self.display = None, False
        self.screen.set_focus(self._focused_before)

    @on(Input.Submitted)
    def answer(self, message: Input.Submitted) -> None:
        message.stop()
        on_answer = self._on_answer
        self.close()
        if on_answer is not None:
            on_answer(message.value)

    @on(Input.Changed)
    def keep(self, message: Input.Changed) -> None:
        # Keep it from the screen, which handles changes of its own inputs.
        message.stop()
