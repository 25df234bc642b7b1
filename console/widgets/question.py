"""A line that asks for words and hands them on; hidden while nobody is asked."""

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
"""Of the width that the question takes at most; the rest is for the answer."""


class Answer(Field):
    """The field of a question; escape leaves it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave", show=False)]

    def action_leave(self) -> None:
        """Ask for nothing any more."""
        assert isinstance(self.parent, Question), "an answer stands in a question"
        self.parent.close()


class Question(Horizontal):
    """What is asked on the left, and the field on the right."""

    def __init__(self) -> None:
        super().__init__()
        self.display = False
        self._hand_on: Callable[[str], None] | None = None
        self._focused_before: Widget | None = None

    def compose(self) -> ComposeResult:
        yield Static("", markup=False, classes="question")
        # Selected later than focused, and what was typed meanwhile would be overwritten.
        yield Answer(compact=True, select_on_focus=False)

    def ask(self, question: str, hand_on: Callable[[str], None], *, value: str = "", hint: str = "") -> None:
        """Ask; a question that stands there is replaced.

        Args:
            question: What is asked.
            hand_on: Is given the answer, not where the user leaves without one.
            value: What stands in the field at first.
            hint: What stands in the field while it is empty.
        """
        field = self.query_one(Answer)
        if not self.display:
            self._focused_before = self.screen.focused
        self._hand_on, self.display = hand_on, True
        self.query_one(".question", Static).update(cut(clean(question), int(self.screen.size.width * QUESTION_SHARE)))
        field.value, field.placeholder = value, hint
        field.cursor_position = len(value)
        # At once: `focus` waits for a turn of the message loop, and letters typed ahead would be taken for commands.
        self.screen.set_focus(field)

    def close(self) -> None:
        """Ask for nothing any more."""
        self._hand_on, self.display = None, False
        self.screen.set_focus(self._focused_before)

    @on(Input.Submitted)
    def answer(self, message: Input.Submitted) -> None:
        message.stop()
        hand_on = self._hand_on
        self.close()
        if hand_on is not None:
            hand_on(message.value)

    @on(Input.Changed)
    def keep(self, message: Input.Changed) -> None:
        # Of no concern to the screen, which listens to fields of its own.
        message.stop()
