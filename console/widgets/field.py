"""A line of text to fill in, in which keys act in the order in which they were typed."""

from __future__ import annotations

from textual.events import Key
from textual.widgets import Input


class Field(Input):
    """Textual's Input, whose keys that are no text act here and at once.

    As bindings they would travel to the app and come back behind letters typed after them: over a slow line, where
    keys arrive in bursts, "backspace 1 2" would take away the 2.
    """

    async def on_key(self, event: Key) -> None:
        if event.is_printable:
            return
        for binding in self._bindings.key_to_bindings.get(event.key, ()):
            event.stop()
            event.prevent_default()
            await self.run_action(binding.action)
            return
