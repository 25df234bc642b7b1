"""A line for what is wrong, above everything else; gone when all is well."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from console.text.formatting import clean
from console.tui.status import EngineState, Pulse, engine_label, gpu_label, host_label, queue_label
from engine.runs.run import Run, RunStatus


class Banner(Static):
    """What is wrong just now and what to do about it."""

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self.display = False
        self._said: list[str] = []

    def show(self, troubles: list[str]) -> None:
        """Say what is wrong; nothing where the list is empty."""
        if troubles != self._said:
            self._said = troubles
            self.update("\n".join(clean(trouble) for trouble in troubles))
            self.display = bool(troubles)


MAX_GPU_LINES = 8


class Headline(Horizontal):
    """How the engine and the devices are; a part is painted again when its words have changed."""

    def __init__(self, *, unicode: bool) -> None:
        super().__init__()
        self._unicode = unicode
        self._words = {"headline-engine": "", "headline-devices": ""}

    def compose(self) -> ComposeResult:
        yield Static("depthscope", id="headline-name", markup=False)
        yield Static("", id="headline-engine", markup=False)
        yield Static("", id="headline-devices", markup=False)

    def show(self, pulse: Pulse, runs: list[Run]) -> None:
        """Show another pulse, or other runs."""
        num = {status: sum(run.status is status for run in runs) for status in RunStatus}
        queued = f"{num[RunStatus.QUEUED]} queued{queue_label(pulse)}"
        parts = [engine_label(pulse), f"{num[RunStatus.RUNNING]} running", queued]
        self.set_part("headline-engine", (" · " if self._unicode else " | ").join(parts))
        devices = [gpu_label(gpu) for gpu in pulse.gpus[:MAX_GPU_LINES]]
        if not devices and pulse.host is not None:
            devices = [host_label(pulse.host)]
        if self.app.size.height < 30 and len(devices) > 1:
            # On a small screen the first GPU stands for all; the number of the others is said.
            devices = [f"{devices[0]}  (+{len(devices) - 1} GPUs)"]
        text = "\n".join(devices)
        self.set_part("headline-devices", text if self._unicode else text.replace("°", " "))
        self.set_class(pulse.engine not in (EngineState.UP, EngineState.STARTING), "-trouble")

    def set_part(self, id: str, text: str) -> None:
        """Change one part, if its words differ."""
        if self._words[id] != text:
            self._words[id] = text
            self.query_one(f"#{id}", Static).update(text)
