"""Help screen: what the focused panel shows, and every key that works there."""

from __future__ import annotations

import time
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from console.text.formatting import table
from console.tui.session import Session


class KeysScreen(ModalScreen[None]):
    """Help for the focused panel of the screen beneath."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "close", id="keys.close"),
    ]

    def __init__(self, beneath: Screen[object]) -> None:
        super().__init__()
        self._beneath = beneath

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="keys-panel", classes="panel") as panel:
            panel.border_title = "Keys"
            yield Static(self.text(), markup=False)

    def text(self) -> str:
        """Return the focused panel's help, its keys, and the keys of the screen and the app."""
        beneath, app = self._beneath, self.app
        rows: dict[str, list[str]] = {}
        for active in beneath.active_bindings.values():
            binding = active.binding
            if binding.id:
                rows.setdefault(binding.description, []).append(app.get_key_display(binding))
        keys = table(["key", "does"], [[" or ".join(keys), does] for does, keys in rows.items()], align="<<")
        focused = beneath.focused
        words = getattr(focused, "HELP", None) or getattr(beneath, "HELP", None) or ""
        about = f"{words}\n\n" if words else ""
        return (
            f"{about}{keys}\n\nAll of these are in the command palette too, and config.toml can give them other keys."
        )


class MessagesScreen(ModalScreen[None]):
    """The latest messages, newest first, each in full."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,exclamation_mark,q,enter", "dismiss", "close", id="messages.close"),
    ]

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def compose(self) -> ComposeResult:
        lines = [f"{time.strftime('%H:%M:%S', time.localtime(one.at))}  {one.text}" for one in self._session.notices]
        with VerticalScroll(id="keys-panel", classes="panel") as panel:
            panel.border_title = "Messages"
            yield Static("\n".join(reversed(lines)) or "No messages yet", markup=False)
