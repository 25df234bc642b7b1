"""Banner of current problems, and headline with engine and device status."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from console.text.formatting import clean
from console.tui.status import EngineState, Pulse, engine_label, gpu_label, host_label, queue_label
from engine.runs.run import Run, RunStatus


class Banner(Static):
    """Current problems and their remedies; hidden if there are none."""

    def __init__(self) -> None:
        super().__init__("", markup=False)
        self.display = False
        self._problems: list[str] = []

    def show(self, problems: list[str]) -> None:
        """Show problems; hide the banner if there are none."""
        if problems != self._problems:
            self._problems = problems
            self.update("\n".join(clean(problem) for problem in problems))
            self.display = bool(problems)


MAX_GPU_LINES = 8


class Headline(Horizontal):
    """Status of the engine and the devices; only changed parts are repainted."""

    def __init__(self, *, unicode: bool) -> None:
        super().__init__()
        self._unicode = unicode
        self._texts = {"headline-engine": "", "headline-devices": ""}

    def compose(self) -> ComposeResult:
        yield Static("depthscope", id="headline-name", markup=False)
        yield Static("", id="headline-engine", markup=False)
        yield Static("", id="headline-devices", markup=False)

    def show(self, pulse: Pulse, runs: list[Run]) -> None:
        """Show a pulse and the numbers of running and queued runs."""
        num = {status: sum(run.status is status for run in runs) for status in RunStatus}
        queued = f"{num[RunStatus.QUEUED]} queued{queue_label(pulse)}"
        parts = [engine_label(pulse), f"{num[RunStatus.RUNNING]} running", queued]
        self.set_part("headline-engine", (" · " if self._unicode else " | ").join(parts))
        devices = [gpu_label(gpu) for gpu in pulse.gpus[:MAX_GPU_LINES]]
        if not devices and pulse.host is not None:
            devices = [host_label(pulse.host)]
        if self.app.size.height < 30 and len(devices) > 1:
            # Small terminals show only the first GPU and the number of others.
            devices = [f"{devices[0]}  (+{len(devices) - 1} GPUs)"]
        text = "\n".join(devices)
        self.set_part("headline-devices", text if self._unicode else text.replace("°", " "))
        self.set_class(pulse.engine not in (EngineState.UP, EngineState.STARTING), "-trouble")

    def set_part(self, id: str, text: str) -> None:
        """Set a part's text, avoiding a repaint if it is unchanged."""
        if self._texts[id] != text:
            self._texts[id] = text
            self.query_one(f"#{id}", Static).update(text)
